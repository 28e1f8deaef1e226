defmodule Tidepool.Resource.KeeperTest do
  # Not async: ends are counted for the whole node, and lines of the log, too.
  #
  # What is told of the ends of the host's resources: how much may wait, what the log has of it, and what is left afterwards.
  use Tidepool.Case

  alias Tidepool.Log.Budget
  alias Tidepool.{LogWatch, Native, Resource}
  alias Tidepool.Resource.Keeper

  setup do
    Budget.drop(Keeper)
    on_exit(fn -> Budget.drop(Keeper) end)
  end

  defp over!(resource), do: :ok = Native.resource_end(resource)

  # Has a function be told of an end, until it is through with that.
  defp told!(fun) do
    test = self()

    over!(
      Resource.new(:term, fn term ->
        send(test, {:told, self()})
        receive(do: (:go_on -> fun.(term)))
      end)
    )

    assert_receive {:told, teller}
    monitor = Process.monitor(teller)
    send(teller, :go_on)
    assert_receive {:DOWN, ^monitor, :process, ^teller, _reason}
  end

  test "what a function fails with is in the log's line and metadata, whatever kind of failure it is" do
    LogWatch.watch(nil)

    for {fun, text, reason} <- [
          {fn :term -> raise "no end" end, "** (RuntimeError) no end", %RuntimeError{message: "no end"}},
          {fn :term -> throw(:tide) end, "** (throw) :tide", {:nocatch, :tide}},
          {fn :term -> exit(:gone) end, "** (exit) :gone", :gone}
        ] do
      told!(fun)
      assert_received {:logged, nil, :error, "what a resource's end was told to failed: " <> line, metadata}
      assert line =~ text
      refute line =~ "not logged"
      assert {^reason, [_entry | _stacktrace]} = metadata.crash_reason
    end
  end

  test "a function that fails again and again fills no log, and the next line says how many were left out" do
    LogWatch.watch(nil)
    {lines, window_ms} = Budget.limits()
    now = System.monotonic_time(:millisecond)
    # As many as there may be, and three more: some time ago, and in a window that is not over yet.
    for _line <- 1..(lines + 3), do: Budget.take(Keeper, now - 2 * window_ms)
    told!(fn :term -> raise "no end" end)
    assert_received {:logged, nil, :error, "what a resource's end" <> line, _metadata}
    assert line =~ " (3 more before this were not logged)"

    Budget.drop(Keeper)
    for _line <- 1..lines, do: Budget.take(Keeper, now + 100 * window_ms)
    told!(fn :term -> raise "no end" end)
    refute_received {:logged, nil, :error, "what a resource's end" <> _line, _metadata}
  end

  test "one that is killed while it is told of an end is named in the log, and its place is another's" do
    LogWatch.watch(nil)
    told!(fn :term -> Process.exit(self(), :kill) end)
    assert_receive {:logged, nil, :error, line, _metadata}
    assert line =~ "was told of a resource's end in #PID<" and line =~ ", and killed"
    assert line =~ inspect(__MODULE__)
    eventually(fn -> :ets.info(Keeper, :size) == 0 end)
  end

  test "ten thousand ends wait for a function, one that would be more is refused, and when all are told nothing is left" do
    held = spawn(fn -> receive(do: (:over -> :ok)) end)

    tell = fn _number ->
      monitor = Process.monitor(held)
      receive(do: ({:DOWN, ^monitor, :process, ^held, _reason} -> :ok))
    end

    # 32 are told at a time.
    for number <- 1..(32 + 9_999), do: number |> Resource.new(tell) |> over!()
    eventually(fn -> Keeper.waiting() == 9_999 end)
    last = Resource.new(0, tell)
    over!(last)
    eventually(fn -> Keeper.waiting() == 10_000 end)
    assert_raise RuntimeError, ~r/ends of resources to be told of/, fn -> Resource.new(1, tell) end
    # Others are given theirs.
    over!(Resource.new(1, fn 1 -> :ok end))
    over!(Resource.new(1))
    send(held, :over)
    eventually(fn -> :ets.info(Keeper, :size) == 0 end, 60_000)
    assert %{queues: queues, running: running} = :sys.get_state(Keeper)
    assert {queues, running} == {%{}, %{}}
  end

  test "what a resource was made for is noted once, and is known as long as it is there" do
    resource = Resource.new(:term)
    id = Native.resource_id(resource)
    assert Keeper.made_for(id) == nil
    assert Keeper.made(resource, {:type, "a:b/c#d"}) == :ok
    assert Keeper.made(resource, {:interface, "a:b/e"}) == :ok
    assert Keeper.made_for(id) == {:type, "a:b/c#d"}
    assert Keeper.find(id) == {:ok, :term}
    over!(resource)
    eventually(fn -> Keeper.find(id) == :error end)
    assert Keeper.made_for(id) == nil
    assert Keeper.made_for(nil) == nil
  end
end
