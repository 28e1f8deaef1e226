defmodule Tidepool.Namespaces.TurnsTest do
  # Whose turn it is: how many have one, who is next, and what becomes of turns whose processes were killed.
  use Tidepool.Case, async: true

  alias Tidepool.Namespaces.Turns

  setup do
    {most, _waiting} = Turns.bounds(:keyvalue)
    {:ok, function: unique_name("space") <> "/function", most: most}
  end

  # A process that has a turn, once there is one, until it is told to go on.
  defp holder(function) do
    test = self()

    work = fn ->
      send(test, {:has, self()})
      receive do: (:go_on -> :done)
    end

    pid = spawn(fn -> send(test, {:over, self(), Turns.run(:keyvalue, function, :infinity, work)}) end)
    on_exit(fn -> Process.exit(pid, :kill) end)
    pid
  end

  # As many processes that have a turn or wait for one, and are not heard of. A turn is over with the process that has asked for it.
  defp crowd(function, kind, many) do
    caller = fn ->
      pid = self()
      Turns.run(kind, function, :infinity, fn -> outlast(pid) end)
    end

    pids = for _caller <- 1..many, do: spawn(caller)
    on_exit(fn -> for pid <- pids, do: Process.exit(pid, :kill) end)
    pids
  end

  defp outlast(pid) do
    monitor = Process.monitor(pid)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :over)
  end

  # What the process has done so far.
  defp steps, do: Turns |> Process.whereis() |> Process.info(:reductions) |> elem(1)

  defp has!(pid), do: assert_receive({:has, ^pid}, 20_000)

  # As many as have a turn, and one after the other as many as wait.
  defp holders(function, most, waiting) do
    have = for _turn <- 1..most, do: holder(function)
    Enum.each(have, &has!/1)

    wait =
      for number <- 1..waiting//1 do
        pid = holder(function)
        eventually(fn -> Turns.count(:keyvalue, function) == {most, number} end)
        pid
      end

    {have, wait}
  end

  test "a namespace has no more of them at a time than it may, and the next one gets it who has waited for the longest time",
       %{function: function, most: most} do
    {have, wait} = holders(function, most, 10)
    another = unique_name("space") <> "/function"
    assert Turns.run(:keyvalue, another, :now, fn -> :at_once end) == {:ok, :at_once}
    assert Turns.run(:images, function, :now, fn -> :of_another_kind end) == {:ok, :of_another_kind}
    # Functions of a namespace have them together, however they are called.
    assert Turns.run(:keyvalue, String.replace(function, "/function", "/other"), :now, fn -> :no end) == :late

    for {pid, next} <- Enum.zip(have ++ wait, wait) do
      refute_received {:has, ^next}
      send(pid, :go_on)
      assert_receive {:over, ^pid, {:ok, :done}}, 20_000
      has!(next)
    end

    for pid <- Enum.take(have ++ wait, -most), do: send(pid, :go_on)
    eventually(fn -> Turns.count(:keyvalue, function) == {0, 0} end)
  end

  test "a turn whose process was killed is given back, to who waits or to who comes, and one that waits and is killed gets none",
       %{function: function, most: most} do
    {have, [killed | wait]} = holders(function, most, most + 1)
    Process.exit(killed, :kill)
    eventually(fn -> Turns.count(:keyvalue, function) == {most, most} end)
    for pid <- have, do: Process.exit(pid, :kill)
    Enum.each(wait, &has!/1)
    assert Turns.count(:keyvalue, function) == {most, 0}
    refute_received {:has, ^killed}

    # Nobody waits, and nobody watches.
    for pid <- wait do
      monitor = Process.monitor(pid)
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 20_000
    end

    assert Turns.count(:keyvalue, function) == {0, 0}
    for _turn <- 1..most, do: assert(Turns.run(:keyvalue, function, :now, fn -> :free end) == {:ok, :free})
  end

  test "who has a time is told when that is over, and has no turn after it", %{function: function, most: most} do
    {have, [last]} = holders(function, most, 1)
    assert Turns.run(:keyvalue, function, :now, fn -> :no end) == :late
    assert Turns.run(:keyvalue, function, System.monotonic_time(:millisecond) + 20, fn -> :no end) == :late
    assert Turns.count(:keyvalue, function) == {most, 1}
    for pid <- have, do: send(pid, :go_on)
    has!(last)
    send(last, :go_on)
    assert_receive {:over, ^last, {:ok, :done}}, 20_000
    eventually(fn -> Turns.count(:keyvalue, function) == {0, 0} end)
  end

  for kind <- [:records, :images, :recordings, :replays, :names] do
    test "what goes on when its caller was killed keeps its turn until it is over (#{kind})", %{function: function} do
      {most, _waiting} = Turns.bounds(unquote(kind))
      test = self()

      work = fn ->
        send(test, {:works, self()})
        receive do: (:go_on -> :done)
      end

      callers = for _turn <- 1..most, do: spawn(fn -> Turns.run(unquote(kind), function, :infinity, work) end)

      workers =
        for _turn <- 1..most do
          assert_receive {:works, worker}, 20_000
          worker
        end

      on_exit(fn -> for pid <- callers ++ workers, do: Process.exit(pid, :kill) end)

      for pid <- callers do
        monitor = Process.monitor(pid)
        Process.exit(pid, :kill)
        assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 20_000
      end

      assert Turns.count(unquote(kind), function) == {most, 0}
      assert Turns.run(unquote(kind), function, :now, fn -> :no end) == :late
      next = Task.async(fn -> Turns.run(unquote(kind), function, :infinity, fn -> :next end) end)
      eventually(fn -> Turns.count(unquote(kind), function) == {most, 1} end)
      send(hd(workers), :go_on)
      assert Task.await(next, 60_000) == {:ok, :next}
      for worker <- tl(workers), do: send(worker, :go_on)
      eventually(fn -> Turns.count(unquote(kind), function) == {0, 0} end)
    end
  end

  for kind <- [:keyvalue, :records] do
    test "where too many wait the next one is told so, and who has begun waits in any case (#{kind})", %{
      function: function
    } do
      {most, waiting} = Turns.bounds(unquote(kind))
      crowd(function, unquote(kind), most + waiting)
      eventually(fn -> Turns.count(unquote(kind), function) == {most, waiting} end, 20_000)
      assert Turns.run(unquote(kind), function, :infinity, fn -> :no end) == :busy
      soon = System.monotonic_time(:millisecond) + 20
      assert Turns.run(unquote(kind), function, soon, fn -> :no end, :always) == :late
      another = unique_name("space") <> "/function"
      assert Turns.run(unquote(kind), another, :now, fn -> :at_once end) == {:ok, :at_once}
    end
  end

  test "one that leaves a line has the others not looked at, however long that is", %{function: function} do
    {most, :infinity} = Turns.bounds(:images)
    have = crowd(function, :images, most)
    eventually(fn -> Turns.count(:images, function) == {most, 0} end, 20_000)
    many = 20_000
    wait = crowd(function, :images, many)
    eventually(fn -> Turns.count(:images, function) == {most, many} end, 60_000)
    before = steps()
    for pid <- wait, do: Process.exit(pid, :kill)
    eventually(fn -> Turns.count(:images, function) == {most, 0} end, 60_000)
    # A look at each of the others would be many more.
    assert div(steps() - before, many) < 5_000
    for pid <- have, do: Process.exit(pid, :kill)
  end

  for kind <- [:keyvalue, :records] do
    test "a turn is given back by who fails (#{kind})", %{function: function} do
      {most, _waiting} = Turns.bounds(unquote(kind))
      fail = fn -> raise ArgumentError end

      for _time <- 1..(2 * most),
          do: assert_raise(ArgumentError, fn -> Turns.run(unquote(kind), function, :now, fail) end)

      assert Turns.count(unquote(kind), function) == {0, 0}
    end
  end

  for kind <- [:keyvalue, :records] do
    test "however many come, go and are killed at once, all turns are free again and nobody waits (#{kind})", %{
      function: function
    } do
      callers =
        for _caller <- 1..100 do
          spawn(fn ->
            for _turn <- 1..50, do: Turns.run(unquote(kind), function, :infinity, fn -> :erlang.yield() end)
          end)
        end

      for pid <- Enum.take_every(callers, 3), do: Process.exit(pid, :kill)
      for pid <- callers, do: eventually(fn -> not Process.alive?(pid) end, 20_000)
      eventually(fn -> Turns.count(unquote(kind), function) == {0, 0} end)
    end
  end
end
