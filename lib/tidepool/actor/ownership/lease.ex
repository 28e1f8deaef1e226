defmodule Tidepool.Actor.Ownership.Lease do
  @moduledoc """
  Until when this node owns its shards, as it counts that itself: from before it asked, and a part less than others wait for that
  it is not renewed, on a clock that goes on while the machine sleeps. So it ends here before it ends for them.

  A lease that has run out stays so: what is owned afterwards is owned under another one. An owner without an end has `nil`.
  """

  alias Tidepool.Native

  # How long others wait, and how much of that counts.
  @lease_ms 5_000
  @counted 0.95

  @typedoc "When a lease ends: each process that answers reads it, at no more than the price of a clock."
  @type t :: :atomics.atomics_ref() | nil

  @doc "How long a lease lasts for other nodes, in ms."
  @spec lasts_ms :: pos_integer
  def lasts_ms, do: @lease_ms

  @doc "One that has not begun."
  @spec new :: t
  def new, do: :atomics.new(1, signed: true)

  @doc "Has it last, counted from when it was asked for."
  @spec renew(t, asked_ms :: integer) :: :ok
  def renew(lease, asked_ms), do: :atomics.put(lease, 1, asked_ms + trunc(@lease_ms * @counted))

  @doc "Ends it, for good."
  @spec finish(t) :: :ok
  def finish(lease), do: :atomics.put(lease, 1, 0)

  @doc "Does it last?"
  @spec lasts?(t) :: boolean
  def lasts?(nil), do: true
  def lasts?(lease), do: left_ms(lease) > 0

  @doc "How long it lasts from now on, in ms."
  @spec left_ms(t) :: integer
  def left_ms(lease), do: :atomics.get(lease, 1) - now()

  @doc "The time that leases are counted by, in ms."
  @spec now :: integer
  def now, do: Native.boottime_ms()
end
