defmodule Tidepool.Catalog.Clock do
  @moduledoc """
  A hybrid logical clock: stamps that order changes, near wall time and never against cause and effect.

  A stamp is `{wall_ms, counter, replica}`, and Erlang's term order is the order of stamps. The replica says who made it
  (see `replica/2`) and decides between stamps of the same moment. A change that was made by somebody who had seen another
  one has the later stamp, even when their clocks disagree, since a clock never goes behind what it has observed.

  A stamp further ahead than the limit is refused, and then leaves no trace: a node with a broken clock can't pull the
  others' clocks along. Within the limit a node's stamps may be ahead of its own time by as much.

  After Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks" (OPODIS 2014).
  """

  @max_counter 0xFFFF_FFFF

  @enforce_keys [:replica]
  defstruct [:replica, wall_ms: 0, counter: 0]

  @type wall_ms :: non_neg_integer
  @type stamp :: {wall_ms, counter :: non_neg_integer, replica :: String.t()}
  @type t :: %__MODULE__{replica: String.t(), wall_ms: wall_ms, counter: non_neg_integer}

  @doc "A clock that has observed nothing yet."
  @spec new(String.t()) :: t
  def new(replica), do: %__MODULE__{replica: replica}

  @doc """
  The name under which a node makes stamps: the node's, and the moment at which its data folder began.

  A node that lost its disk is another replica, so that nobody takes what it does now for what it did before.

      iex> Tidepool.Catalog.Clock.replica("a@host", 1_700_000_000_000)
      "a@host#LOYW3V28"
  """
  @spec replica(String.t(), wall_ms) :: String.t()
  def replica(node, wall_ms), do: node <> "#" <> Integer.to_string(wall_ms, 36)

  @doc """
  The node of a replica.

      iex> Tidepool.Catalog.Clock.node_of("a@host#LOYW3V28")
      "a@host"
  """
  @spec node_of(String.t()) :: String.t()
  def node_of(replica), do: replica |> String.split("#", parts: 2) |> hd()

  @doc """
  A stamp for a change made now: later than all stamps made and observed before.

      iex> {first, clock} = Tidepool.Catalog.Clock.next(Tidepool.Catalog.Clock.new("a@host#1"), 1_000)
      iex> {second, _clock} = Tidepool.Catalog.Clock.next(clock, 999)
      iex> {first, second}
      {{1_000, 0, "a@host#1"}, {1_000, 1, "a@host#1"}}
  """
  @spec next(t, wall_ms) :: {stamp, t}
  def next(clock, wall_ms) do
    clock = advance(clock, wall_ms)
    {{clock.wall_ms, clock.counter, clock.replica}, clock}
  end

  @doc """
  By how many ms a time that came from elsewhere is ahead of `wall_ms`, if that is more than the limit; `nil` if it is not.
  """
  @spec ahead(wall_ms, wall_ms, max_skew_ms :: non_neg_integer) :: pos_integer | nil
  def ahead(made_ms, wall_ms, max_skew_ms), do: if(made_ms > wall_ms + max_skew_ms, do: made_ms - wall_ms)

  @doc "Takes note of a stamp that was made elsewhere, and is not too far `ahead/3`."
  @spec observe(t, stamp) :: t
  def observe(clock, {wall_ms, counter, _replica}),
    do: if({wall_ms, counter} > {clock.wall_ms, clock.counter}, do: put(clock, wall_ms, counter), else: clock)

  defp advance(clock, wall_ms) when wall_ms > clock.wall_ms, do: put(clock, wall_ms, 0)
  defp advance(clock, _wall_ms) when clock.counter == @max_counter, do: put(clock, clock.wall_ms + 1, 0)
  defp advance(clock, _wall_ms), do: put(clock, clock.wall_ms, clock.counter + 1)

  defp put(clock, wall_ms, counter), do: %{clock | wall_ms: wall_ms, counter: counter}
end
