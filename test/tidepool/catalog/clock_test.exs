defmodule Tidepool.Catalog.ClockTest do
  use ExUnit.Case, async: true

  import Tidepool.Property

  alias Tidepool.Catalog.Clock

  doctest Clock

  @max_skew_ms 100

  # Steps of wall time, forward and back, each with a stamp made or one observed.
  defp steps do
    seen =
      map(types().tuple([types().integer(0, 3_000), types().integer(0, 5)]), fn {ms, counter} ->
        {ms, counter, "b@host#1"}
      end)

    types().list(types().tuple([types().integer(900, 1_100), types().union([:next, seen])]))
  end

  defp run(steps) do
    Enum.map_reduce(steps, Clock.new("a@host#1"), fn
      {now, :next}, clock ->
        {stamp, clock} = Clock.next(clock, now)
        {{:made, stamp}, clock}

      {now, {wall_ms, _counter, _replica} = stamp}, clock ->
        case Clock.ahead(wall_ms, now, @max_skew_ms) do
          nil -> {{:observed, stamp}, Clock.observe(clock, stamp)}
          ms -> {{:refused, stamp, now, ms}, clock}
        end
    end)
  end

  test "a stamp is later than all that were made or observed before, however the wall clock jumps" do
    assert_holds(
      steps(),
      fn steps ->
        {events, _clock} = run(steps)
        known = for {kind, stamp} <- events, do: {kind, stamp}

        known
        |> Enum.with_index()
        |> Enum.all?(fn
          {{:made, stamp}, index} -> known |> Enum.take(index) |> Enum.all?(fn {_kind, before} -> before < stamp end)
          _observed -> true
        end)
      end,
      300
    )
  end

  test "a stamp that is ahead by more than the limit is refused, says by how much, and leaves the clock as it was" do
    assert_holds(
      steps(),
      fn steps ->
        {events, clock} = run(steps)

        refused_right? =
          Enum.all?(events, fn
            {:refused, {wall_ms, _counter, _replica}, now, ms} -> ms == wall_ms - now and ms > @max_skew_ms
            _other -> true
          end)

        # Never further ahead than the latest wall time and the limit.
        refused_right? and clock.wall_ms <= 1_100 + @max_skew_ms
      end,
      300
    )
  end

  test "a counter that is full moves on to the next millisecond" do
    clock = Clock.observe(Clock.new("a"), {1_000, 0xFFFF_FFFF, "b"})
    assert {{1_001, 0, "a"}, clock} = Clock.next(clock, 1_000)
    assert {{1_001, 1, "a"}, _clock} = Clock.next(clock, 1_000)
  end
end
