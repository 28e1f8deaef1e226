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
  @max_wall_ms 0xFFFF_FFFF_FFFF

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
  Takes note of a stamp that came from elsewhere. One that is more than `max_skew_ms` ahead of `wall_ms` is refused, with
  the ms that it is ahead, and the clock stays as it is.
  """
  @spec observe(t, stamp, wall_ms, max_skew_ms :: non_neg_integer) :: {:ok, t} | {:error, {:ahead, pos_integer}}
  def observe(_clock, {stamp_ms, _counter, _replica}, wall_ms, max_skew_ms) when stamp_ms > wall_ms + max_skew_ms,
    do: {:error, {:ahead, stamp_ms - wall_ms}}

  def observe(clock, {stamp_ms, counter, _replica}, _wall_ms, _max_skew_ms),
    do: {:ok, if({stamp_ms, counter} > {clock.wall_ms, clock.counter}, do: put(clock, stamp_ms, counter), else: clock)}

  @doc "Can this be a stamp? Its numbers are within what `Tidepool.Cluster.Wire` carries."
  @spec stamp?(term) :: boolean
  def stamp?({wall_ms, counter, replica}),
    do: wall_ms in 0..@max_wall_ms and counter in 0..@max_counter and is_binary(replica)

  def stamp?(_other), do: false

  defp advance(clock, wall_ms) when wall_ms > clock.wall_ms, do: put(clock, wall_ms, 0)
  defp advance(clock, _wall_ms) when clock.counter == @max_counter, do: put(clock, clock.wall_ms + 1, 0)
  defp advance(clock, _wall_ms), do: put(clock, clock.wall_ms, clock.counter + 1)

  defp put(clock, wall_ms, counter), do: %{clock | wall_ms: wall_ms, counter: counter}
end
