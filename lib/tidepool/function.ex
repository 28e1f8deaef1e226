defmodule Tidepool.Function do
  @moduledoc """
  What a deployed function is.

  - `:version` counts the deploys of the name, from 1; it goes on where it was when a removed name is deployed again.
  - `:sha256` of the module's bytes, in lower-case hex; `:size` in bytes.
  - `:abi` is `:wapc` or `:wasi`; `:imports` lists what the module asks of the host as `"module.name"`.
  - `:operation` is what a call without one means.
  - `:instances` is `:fresh` or `{:warm, max_idle}`.
  - `:engine` is `:fast` or `:dense`.
  - `:start` is what happens before an instance serves its first call: `:nothing`; `:snapshot`, when start functions have
    run at the deploy and instances begin where they ended; or `:initialiser`, when each instance runs them, and
    `:start_reason` says why.
  - `:tier` is `:optimised`, or `:baseline` while the optimised code of a large module is being compiled: see the setting
    `baseline` in `Tidepool.Config`.
  - `:limits`: see `Tidepool.Limits`.
  - `:compile_us` is how long this node took to compile the module until it could be called, or to read what it had
    compiled before, in µs.
  - `:deployed_at` is the time of the deploy, in seconds since 1970 (UTC).
  - `:admitted` is what admitted the deploy: see `Tidepool.Origin`.

  It is inspected as a line, `#Tidepool.Function<"greeter" v3 wapc, warm 4>`; `inspect(function, structs: false)` has all of
  it.
  """

  @type tier :: :baseline | :optimised

  @type t :: %__MODULE__{
          name: String.t(),
          version: pos_integer,
          sha256: String.t(),
          size: non_neg_integer,
          abi: :wapc | :wasi,
          imports: [String.t()],
          operation: String.t(),
          instances: :fresh | {:warm, pos_integer},
          engine: Tidepool.Engine.kind(),
          start: :nothing | :snapshot | :initialiser,
          start_reason: String.t() | nil,
          tier: tier,
          limits: Tidepool.Limits.t(),
          compile_us: non_neg_integer,
          deployed_at: integer,
          admitted: Tidepool.Origin.admitted()
        }

  @enforce_keys [:name, :version, :sha256, :size, :abi, :imports, :operation, :instances, :limits]
  defstruct @enforce_keys ++
              [
                engine: :fast,
                start: :nothing,
                start_reason: nil,
                tier: :optimised,
                compile_us: 0,
                deployed_at: 0,
                admitted: :unknown
              ]

  @max_name_bytes 128
  @max_operation_bytes 1_024

  @doc "How long a name may be."
  @spec max_name_bytes :: pos_integer
  def max_name_bytes, do: @max_name_bytes

  @doc "How long an operation may be that a bare `/call/NAME` means."
  @spec max_operation_bytes :: pos_integer
  def max_operation_bytes, do: @max_operation_bytes

  @doc """
  Can a function have this name? It is used in URLs, file names and metrics.

      iex> Enum.map(["hello_world", "a.b-c", "", "a/b", "..", "é"], &Tidepool.Function.valid_name?/1)
      [true, true, false, false, false, false]
  """
  @spec valid_name?(term) :: boolean
  def valid_name?(name) do
    is_binary(name) and byte_size(name) <= @max_name_bytes and name =~ ~r/\A[A-Za-z0-9_][A-Za-z0-9_.-]*\z/
  end

  @doc """
  Can a bare `/call/NAME` mean this operation?

      iex> Enum.map(["greet", "", <<255>>, String.duplicate("a", 1_025)], &Tidepool.Function.valid_operation?/1)
      [true, false, false, false]
  """
  @spec valid_operation?(term) :: boolean
  def valid_operation?(operation) do
    is_binary(operation) and byte_size(operation) in 1..@max_operation_bytes and String.valid?(operation)
  end
end

defimpl Inspect, for: Tidepool.Function do
  def inspect(function, _options) do
    traits = [instances(function.instances), engine(function.engine), tier(function.tier)]
    traits = for trait <- traits, trait, do: ", #{trait}"
    "#Tidepool.Function<#{Kernel.inspect(function.name)} v#{function.version} #{function.abi}#{traits}>"
  end

  # What most functions are is not said.
  defp instances({:warm, idle}), do: "warm #{idle}"
  defp instances(:fresh), do: nil

  defp engine(:dense), do: "dense"
  defp engine(:fast), do: nil

  defp tier(:baseline), do: "baseline"
  defp tier(:optimised), do: nil
end
