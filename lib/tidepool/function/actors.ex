defmodule Tidepool.Function.Actors do
  @schema [
    durability: [
      type: {:one_of, [:commit, :idle]},
      default: :commit,
      doc:
        "`:commit` answers a call when what it did is on disk. `:idle` answers at once, and writes when the actor goes to " <>
          "sleep and every `flush` ms: what came after the last write is lost with the node."
    ],
    idle: [
      type: {:integer, 1, 86_400_000},
      default: 30_000,
      doc: "how long an actor that nobody calls stays awake, in ms."
    ],
    frozen: [
      since: 8,
      type: {:integer, 0, 86_400_000},
      default: 600_000,
      doc:
        "how long an actor that sleeps stays in memory, compressed, from where it wakes faster than from disk, in ms; less when " <>
          "there is more of that than the setting `max_frozen`."
    ],
    flush: [
      type: {:integer, 1, 86_400_000},
      default: 1_000,
      doc: "how often an actor is written whose durability is `:idle`, in ms."
    ],
    queue: [
      type: {:integer, 1, 100_000},
      default: 1_000,
      doc: "most calls that wait for one actor; further ones are refused as `:overloaded`."
    ],
    queue_bytes: [
      type: {:integer, 1, 1_073_741_824},
      default: 4_194_304,
      doc: "most bytes of their payloads together; one call alone may have more."
    ],
    values: [
      since: 8,
      type: {:integer, 0, 1_099_511_627_776},
      default: 16_777_216,
      doc: "most bytes of the values that an actor keeps by host calls, with their keys."
    ],
    versions: [
      since: 8,
      type: {:one_of, [:pin, :migrate, :kv, :reset]},
      default: :pin,
      doc:
        "what actors do that there are when another module is deployed. `:pin` has them stay on theirs. `:migrate` has the old module " <>
          "save what it has by `actor_save`, and the new one load it by `actor_load` (of components `actor-save` and `actor-load`). `:kv` drops their memory and keeps their values, and " <>
          "`:reset` drops everything."
    ]
  ]

  # Options that deploys of releases before could give.
  @former [:consistency, :copies]

  @moduledoc """
  What a deploy says of a function's actors.

  Releases before had two options more, `consistency` and `copies`. A deploy may still say `consistency: :strict`, which is what all actors
  are, and means nothing (`current/1`). Functions of such releases are read without both (`without_former/1`), and nodes of such releases
  read functions without both as strict ones.

  ## Options

  #{Tidepool.Options.docs(@schema)}
  """

  alias Tidepool.{Error, Options}

  @type option :: unquote(Tidepool.Options.pair(@schema))
  @type options :: [option] | %{optional(atom) => term}

  @type t :: %{
          durability: :commit | :idle,
          idle: pos_integer,
          frozen: non_neg_integer,
          flush: pos_integer,
          queue: pos_integer,
          queue_bytes: pos_integer,
          values: non_neg_integer,
          versions: :pin | :migrate | :kv | :reset
        }

  @doc "The schema of these options."
  @spec schema :: Tidepool.Options.schema()
  def schema, do: @schema

  @doc "Options that deploys of releases before could give."
  @spec former :: [atom]
  def former, do: @former

  @doc """
  A deploy's options without those of releases before. One that asks for what there is not any more is an error.

      iex> Tidepool.Function.Actors.current(actor: [idle: 5, consistency: :strict])
      {:ok, [actor: %{idle: 5}]}
      iex> {:error, error} = Tidepool.Function.Actors.current(actor: %{copies: 1})
      iex> {error.reason, error.message =~ "TIDEPOOL_ACTORS=replicated:"}
      {:invalid_option, true}
  """
  @spec current(term) :: {:ok, term} | {:error, Error.t()}
  def current(options) do
    case Enum.reject(former_of(options), &strict?/1) do
      [] -> {:ok, without_former(options)}
      asked -> {:error, gone(asked)}
    end
  end

  # A form has texts.
  defp strict?({:consistency, strict}), do: strict in [:strict, "strict"]
  defp strict?(_copies), do: false

  defp gone(asked) do
    names = Enum.map_join(asked, " and ", fn {key, value} -> "#{key} #{Options.show(value)}" end)

    Error.new(
      :invalid_option,
      "actors have no #{names} any more: there is never more than one of each. Leave out `consistency` and `copies`; in a cluster set " <>
        "actors: {:replicated, nodes} on all nodes (TIDEPOOL_ACTORS=replicated:a@host1,b@host2,c@host3), and they keep their actors together"
    )
  end

  @doc "Options that a release before has written, without those of them that there are not any more."
  @spec without_former(options) :: options when options: term
  def without_former(options) do
    if former_of(options) == [],
      do: options,
      else: Keyword.update!(options, :actor, &(&1 |> Map.new() |> Map.drop(@former)))
  end

  # Of whatever was given as options.
  defp former_of(options) do
    actor = if Keyword.keyword?(options), do: options[:actor]
    actor = if is_map(actor) and not is_struct(actor), do: Map.to_list(actor), else: actor
    if Keyword.keyword?(actor), do: Keyword.take(actor, @former), else: []
  end

  @doc "The operation by which a module saves what an actor has for another; of a component an export of this name, as WIT has names."
  @spec save(:module | :component) :: String.t()
  def save(:module), do: "actor_save"
  def save(:component), do: "actor-save"

  @doc "The one by which that takes it over."
  @spec load(:module | :component) :: String.t()
  def load(:module), do: "actor_load"
  def load(:component), do: "actor-load"

  @doc "Is this one of them? They are the host's own; of a component in whichever interface."
  @spec handover?(operation :: String.t()) :: boolean
  def handover?(operation) do
    export = operation |> :binary.split("#", [:global]) |> List.last()
    operation in [save(:module), load(:module)] or export in [save(:component), load(:component)]
  end

  @doc "Does a function with this option have actors?"
  @spec class?(t | nil) :: boolean
  def class?(actor), do: actor != nil
end
