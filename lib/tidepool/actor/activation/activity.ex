defmodule Tidepool.Actor.Activation.Activity do
  @moduledoc """
  How busy an actor is: its calls since it woke, how long it has been idle, whether it leaves this node, and bytes beside its heap since
  garbage was collected. Times are in ms of the VM's monotonic clock.
  """

  # How long the actor waits for a caller that has a place in its queue and sends nothing.
  @lingering_ms 5_000
  # Garbage is collected after so many bytes that are beside the heap: an image of more counts for its namespace as long as it is there.
  @collected_bytes 65_536

  @enforce_keys [:called_at]
  defstruct @enforce_keys ++ [calls: 0, seen_bytes: 0, lingers_since: nil, leaving?: false]

  @type t :: %__MODULE__{
          called_at: integer,
          calls: non_neg_integer,
          seen_bytes: non_neg_integer,
          lingers_since: integer | nil,
          leaving?: boolean
        }

  @doc "Of an actor that wakes."
  @spec new :: t
  def new, do: %__MODULE__{called_at: now()}

  @doc "A call has run."
  @spec ran(t) :: t
  def ran(activity), do: %{activity | calls: activity.calls + 1}

  @doc "A call is over: the actor is idle from now on."
  @spec called(t) :: t
  def called(activity), do: %{activity | called_at: now(), lingers_since: nil}

  @doc "Notes bytes beside the heap."
  @spec saw(t, bytes :: non_neg_integer) :: t
  def saw(activity, bytes), do: %{activity | seen_bytes: activity.seen_bytes + bytes}

  @doc "Is garbage to be collected? A process that waits collects none of its own accord, and an actor may wait for long."
  @spec collect?(t) :: boolean
  def collect?(%{seen_bytes: bytes}), do: bytes > @collected_bytes

  @doc "Garbage is collected."
  @spec collected(t) :: t
  def collected(activity), do: %{activity | seen_bytes: 0}

  @doc "Its shard is about to be another node's."
  @spec leaves(t) :: t
  def leaves(activity), do: %{activity | leaving?: true}

  @doc "It could not sleep, for a caller has a place in its queue."
  @spec lingers(t) :: t
  def lingers(activity), do: %{activity | lingers_since: activity.lingers_since || now()}

  @doc "Has it waited for such a caller for too long? One that was killed on the way never sends."
  @spec lingered?(t) :: boolean
  def lingered?(%{lingers_since: nil}), do: false
  def lingered?(%{lingers_since: since}), do: now() - since > @lingering_ms

  @doc "After which time it looks next whether it can sleep, with this idle time of its class, or with none."
  @spec pause(t, idle :: non_neg_integer) :: non_neg_integer
  def pause(%{leaving?: true} = activity, idle) when idle > 0, do: pause(activity, 0)
  # The caller that it waits for comes with a message.
  def pause(%{lingers_since: since}, 0) when since != nil, do: max(since + @lingering_ms + 1 - now(), 0)
  def pause(_activity, idle), do: idle

  @doc "What of that is left: who looks at it, or what it has written, keeps it awake no longer."
  @spec left(t, idle :: non_neg_integer) :: non_neg_integer
  def left(%{leaving?: true} = activity, idle), do: pause(activity, idle)
  def left(%{called_at: called_at}, idle), do: max(called_at + idle - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)
end
