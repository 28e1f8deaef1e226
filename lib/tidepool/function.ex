defmodule Tidepool.Function do
  alias Tidepool.Function.Spec

  @moduledoc """
  What a deployed function is.

  - `:version` counts the deploys of the name, from 1; it goes on where it was when a removed name is deployed again.
  - `:sha256` of the module's bytes, in lower-case hex; `:size` in bytes.
  - `:abi` is `:wapc`, `:wasi`, `:lunatic`, `:extism` of a plug-in, `:exports` of a plain module, or of a component `:http`, `:command` or `:typed`; `:imports` lists what the module asks of the host as `"module.name"`, the first 1,000.
  - `:imports_omitted` says how many more there are.
  - `:asks` are targets of the first 1,000 imports that handlers are asked for (64 KiB of their names): `Tidepool.Host.unanswered/1` says for which there is none.
  - `:interface` is what can be called by name, as JSON: exports with the types of what they take and return, of a component as WIT,
    too. `nil` of an ABI whose operations are no exports.
  - `:start` is what happens before an instance serves its first call: `:nothing`; `:snapshot`, when start functions have
    run at the deploy and instances begin where they ended; or `:initialiser`, when each instance runs them, and
    `:start_reason` says why.
  - `:instances_reason` says, of the answer to a deploy alone, why instances are fresh where it asked for warm ones.
  - `:tier` is `:optimised`, or `:baseline` while the optimised code of a large module is being compiled: see the setting
    `baseline` in `Tidepool.Config`.
  - `:compile_us` is how long this node took to compile the module until it could be called, or to read what it had
    compiled before, in µs.
  - `:deployed_at` is the time of the deploy, in seconds since 1970 (UTC).
  - `:admitted` is what admitted the deploy: see `Tidepool.Catalog.Origin`.

  And as deployed, defaults filled in (see `Tidepool.deploy/2`): #{Enum.map_join(Spec.kept(), ", ", fn {key, _spec} -> "`:#{key}`" end)}.

  It is inspected as a line, `#Tidepool.Function<"greeter" v3 wapc, warm 4>`; `inspect(function, structs: false)` has all of
  it.
  """

  @type abi :: :wapc | :wasi | :lunatic | :extism | :exports | :typed | :http | :command

  @type tier :: :baseline | :optimised

  @type t :: %__MODULE__{
          unquote_splicing(Keyword.delete(Spec.types(), :abi)),
          version: pos_integer,
          sha256: String.t(),
          size: non_neg_integer,
          abi: abi,
          imports: [String.t()],
          imports_omitted: non_neg_integer,
          asks: [Tidepool.Host.target()],
          interface: String.t() | nil,
          start: :nothing | :snapshot | :initialiser,
          start_reason: String.t() | nil,
          instances_reason: String.t() | nil,
          tier: tier,
          compile_us: non_neg_integer,
          deployed_at: integer,
          admitted: Tidepool.Catalog.Origin.admitted()
        }

  @enforce_keys [:name, :version, :sha256, :size, :abi, :imports, :operation, :instances, :limits]
  defstruct @enforce_keys ++
              Keyword.drop(Spec.defaults(), @enforce_keys) ++
              [
                imports_omitted: 0,
                asks: [],
                interface: nil,
                start: :nothing,
                start_reason: nil,
                instances_reason: nil,
                tier: :optimised,
                compile_us: 0,
                deployed_at: 0,
                admitted: :unknown
              ]
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
