defmodule Tidepool.Limits do
  @max_bytes 1024 * 1024 * 1024 * 4
  @max_total_bytes 1024 * 1024 * 1024 * 1024 * 16

  @schema [
    memory: [
      type: {:integer, 65_536, @max_bytes},
      default: 67_108_864,
      doc: "largest linear memory of an instance, in bytes."
    ],
    table: [type: {:integer, 0, 1_048_576}, default: 65_536, doc: "most elements of one table of an instance."],
    time: [
      type: {:integer, 1, 86_400_000},
      default: 5_000,
      doc: "wall time of a call from start to reply, in ms, waiting and host calls included."
    ],
    cpu_time: [
      type: {:integer, 1, 86_400_000},
      default: 1_000,
      doc: "time that a call may compute, in ms. A process has the `cpu_time` of its program's start instead."
    ],
    payload: [
      type: {:integer, 0, @max_bytes},
      default: 8_388_608,
      doc: "largest message into the guest (a call's payload, a host call's reply), in bytes."
    ],
    reply: [
      type: {:integer, 0, @max_bytes},
      default: 8_388_608,
      doc: "largest message out of the guest (its reply, a host call's payload), in bytes."
    ],
    depth: [
      type: {:integer, 1, 10_000},
      default: 64,
      doc: "how many calls may be nested through host calls, the outermost counted as 1."
    ],
    instances: [
      type: {:integer, 1, 1_000_000},
      default: 1_000_000,
      doc:
        "most live instances of the function. Further calls wait. All programs of the function have as many processes " <>
          "together; a further start is refused."
    ],
    queue: [
      type: {:integer, 0, 10_000_000},
      default: 1_000,
      doc: "most calls that wait for one of `instances`; further ones are refused as `:overloaded`."
    ],
    total_memory: [
      type: {:integer, 65_536, @max_total_bytes},
      default: @max_total_bytes,
      doc:
        "most linear memory of all live instances of the function, in bytes. Its programs and calls may have as much again on the host."
    ],
    client_idle: [
      since: 11,
      type: {:integer, 1_000, 86_400_000},
      default: 86_400_000,
      doc:
        "longest time in which the client of a handler takes nothing of a ready response, or sends nothing of a body that " <>
          "the handler waits for, in ms."
    ]
  ]

  @first for {key, spec} <- @schema, !spec[:since], do: key

  @moduledoc """
  What one instance of a function may use, and what its callers may ask of it. Bytes and milliseconds.

      Tidepool.deploy(wasm, name: "thumbnail", limits: [memory: 16 * 1024 * 1024, time: 500])

  A node has defaults (`config :tidepool, limits: […]`); a deploy overrides those it names.

  ## Limits

  #{Tidepool.Options.docs(@schema)}

  A call over one of them ends with the reason `{:limit, limit}`; over `:time` with `:timeout`, and over `:instances` and
  `:queue` with `:overloaded`. A client over `:client_idle` is given up: the call ends as if it had gone, or its handler reads an
  error.
  """

  alias Tidepool.Options

  @typedoc "All limits of a function."
  @type t :: %{unquote_splicing(for {key, spec} <- @schema, do: {key, Options.typespec(spec)})}

  @typedoc "One limit, as a deploy names it."
  @type option :: unquote(Options.pair(@schema))

  @typedoc "Some of the limits, as a keyword list or a map."
  @type options :: [option] | %{optional(atom) => non_neg_integer}

  @doc false
  # For `Tidepool.Options`.
  @spec schema :: Options.schema()
  def schema, do: @schema

  @doc false
  # `limits` with what functions have that were deployed before a limit existed.
  @spec complete(map) :: t
  def complete(limits), do: Map.merge(Map.new(@schema, fn {key, spec} -> {key, spec[:default]} end), limits)

  @doc false
  # Those that functions had from the beginning. Any other has in the schema a `:since`, as options have (`Tidepool.Function.Spec`).
  @spec first :: [atom]
  def first, do: @first

  @doc false
  # Where those that are left out are nobody's.
  @spec part :: Options.schema()
  def part, do: Enum.map(@schema, fn {key, spec} -> {key, Keyword.put(spec, :default, nil)} end)

  @doc false
  # With other defaults.
  @spec schema(t) :: Options.schema()
  def schema(defaults) do
    Enum.map(@schema, fn {key, spec} -> {key, Keyword.put(spec, :default, Map.fetch!(defaults, key))} end)
  end
end
