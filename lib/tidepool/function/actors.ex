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
          "save what it has by `actor_save`, and the new one load it by `actor_load`. `:kv` drops their memory and keeps their values, and " <>
          "`:reset` drops everything."
    ],
    consistency: [
      since: 8,
      type: {:one_of, [:strict, :available]},
      default: :strict,
      doc:
        "what an actor is in a cluster. `:strict`: one at any time, which needs a store that nodes share. `:available`: one on each " <>
          "side of a network that is parted, without such a store; where both were written, the later one wins and the other " <>
          "is kept as `NAME@conflict`."
    ],
    copies: [
      since: 8,
      type: {:integer, 0, 4},
      default: 1,
      doc:
        "to how many other nodes of a cluster what a call did is sent before it is answered, with the consistency `:available`."
    ]
  ]

  @moduledoc """
  What a deploy says of a function's actors.

  ## Options

  #{Tidepool.Options.docs(@schema)}
  """

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
          versions: :pin | :migrate | :kv | :reset,
          consistency: :strict | :available,
          copies: 0..4
        }

  @doc "The schema of these options."
  @spec schema :: Tidepool.Options.schema()
  def schema, do: @schema

  @doc "The operation by which a module saves what an actor has for another."
  @spec save :: String.t()
  def save, do: "actor_save"

  @doc "The one by which that takes it over."
  @spec load :: String.t()
  def load, do: "actor_load"

  @doc "Is this one of them? They are the host's own."
  @spec handover?(operation :: String.t()) :: boolean
  def handover?(operation), do: operation in [save(), load()]

  @doc "Does a function with this option have actors?"
  @spec class?(t | nil) :: boolean
  def class?(actor), do: actor != nil
end
