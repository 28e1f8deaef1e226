defmodule Tidepool.Processes.TiesTest do
  # What programs may have of links and monitors, and what becomes of those that had many.
  use Tidepool.Case, async: true

  alias Tidepool.Process, as: Guest
  alias Tidepool.Process.Ties
  alias Tidepool.{Error, Growth, Puppets}

  @moduletag :lunatic
  @patience 60_000
  # What a puppet is counted as on the host, and how much of that is for its links, monitors and messages.
  @puppet 5 * 1024
  @own 4096
  # What their program may have there: four of them, and more. It is memory of four, too.
  @total 5 * 1024 * 1024 + 4 * @puppet
  # What one of four has of that: as many monitors, and room for one link beside them.
  @most div(@total - 4 * @puppet + @own, 512) - 2

  setup do
    name = deploy!("lunatic", "puppet", limits: [total_memory: @total])
    first = Puppets.start(name)
    {:ok, name: name, first: first, down: Process.monitor(first)}
  end

  test "a link tells in short how a process failed: where, and what it has printed last", %{first: first, down: down} do
    {_id, child} = Puppets.spawn(first, 7)
    seen = Process.monitor(child)
    Puppets.ask(child, ?C)
    assert_receive {:DOWN, ^seen, :process, ^child, {error, []}}, @patience
    assert %Error{reason: {:trap, :unreachable}, details: %{backtrace: [%{function: "" <> _} | _] = frames}} = error
    assert length(frames) <= 8
    assert Enum.any?(error.details.console, &(&1 =~ "a command"))
    assert_receive {:DOWN, ^down, :process, ^first, {^error, []}}, @patience
  end

  test "a program of one process tells all of how it failed", %{first: first, down: down} do
    Puppets.ask(first, ?C)
    assert_receive {:DOWN, ^down, :process, ^first, {%Error{details: %{backtrace: frames}}, []}}, @patience
    assert length(frames) > 8
  end

  test "what a process watches is its program's until it doesn't any more, or that has died",
       %{first: first} = context do
    {_id, child} = Puppets.spawn(first)
    ids = watch!(first, @most)
    for id <- ids, do: assert(Puppets.tell(first, ?N, id) == 0)
    # All of it is another's to have, and then the first one's again.
    others = watch!(child, @most, first)
    for {_id, pid} <- Process.get(:watched), do: Process.exit(pid, :kill)
    for _id <- others, do: assert({^child, {:process_died, _id}} = Puppets.hear())
    watch!(first, @most)

    assert %Error{reason: {:limit, :total_memory}, details: %{allowed: @total, unit: "bytes"}} =
             error = overflow!(context)

    assert Exception.message(error) =~ "links, monitors"
  end

  test "a process that is watched again and again is watched once", %{first: first} do
    [id | _] = watch!(first, @most)
    for _time <- 1..1_000, do: assert(Puppets.tell(first, ?M, id) == 0)
    # As it is when it is not there any more.
    for _time <- 1..1_000, do: assert(Puppets.tell(first, ?N, id) == 0 and Puppets.tell(first, ?M, id) == 0)
  end

  test "links and monitors of a function's processes are figures of it until they are gone", context do
    figures = fn -> Map.take(Growth.held(context.name), ["links", "monitors"]) end
    assert figures.() == %{}
    [one | _others] = watch!(context.first, 10)
    {child, _pid} = Puppets.spawn(context.first, 5)
    assert figures.() == %{"links" => 2, "monitors" => 10}
    assert Puppets.tell(context.first, ?N, one) == 0 and Puppets.tell(context.first, ?U, child) == 0
    eventually(fn -> figures.() == %{"monitors" => 9} end)
    Process.exit(context.first, :kill)
    eventually(fn -> figures.() == %{} end)
  end

  test "links that are removed, or end in either way, make room for others", %{first: first} do
    {child, pid} = Puppets.spawn(first)
    watch!(first, @most)
    # The child has room for what it is told of a few, until it takes note.
    noted? = fn -> Puppets.tell(pid, ?P, 1) == 1 end

    for _time <- 1..100,
        do: assert(Puppets.tell(first, ?L, child, 5) == 0 and Puppets.tell(first, ?U, child) == 0 and noted?.())

    for _time <- 1..100, do: assert(Puppets.tell(first, ?L, child, 5) == 0 and noted?.())
    # Nobody tells of the end of one that returns.
    down = Process.monitor(pid)
    Puppets.ask(pid, ?R)
    assert_receive {:DOWN, ^down, :process, ^pid, :normal}, @patience

    for _time <- 1..20 do
      {_child, pid} = Puppets.spawn(first, 7)
      down = Process.monitor(pid)
      Puppets.ask(pid, ?R)
      assert_receive {:DOWN, ^down, :process, ^pid, :normal}, @patience
    end

    flush()
    assert Puppets.tell(first, ?D, 0) == 0

    for tag <- 1..20 do
      {_child, pid} = Puppets.spawn(first, tag)
      Puppets.ask(pid, ?C)
      hear!(first, {:link_died, tag})
    end
  end

  test "a link more than there is room for ends who makes it, and no other", %{first: first, down: down} do
    {child, pid} = Puppets.spawn(first)
    {other, _pid} = Puppets.spawn(first)
    {_third, watcher} = Puppets.spawn(first)
    [watched, linked] = for pid <- [watcher, pid], do: Process.monitor(pid)
    assert Puppets.tell(watcher, ?L, child, 5) == 0
    watch!(watcher, @most, first)
    Puppets.ask(watcher, ?L, other, 5)
    assert_receive {:DOWN, ^watched, :process, ^watcher, {%Error{reason: {:limit, :total_memory}}, []}}, @patience
    assert Puppets.tell(first, ?P, 1) == 1
    refute_received {:DOWN, ^down, :process, ^first, _reason}
    # The one that it was linked to has died of that.
    assert_receive {:DOWN, ^linked, :process, ^pid, {%Error{reason: {:limit, :total_memory}}, []}}, @patience
  end

  test "what a process is told of links is its program's until it takes note, and without room who tells it ends",
       %{first: first, down: down} do
    {child, pid} = Puppets.spawn(first)
    # It takes note of nothing.
    true = :erlang.suspend_process(pid)
    for _time <- 1..100, do: assert(Puppets.tell(first, ?U, child) == 0)
    true = :erlang.resume_process(pid)
    assert Puppets.tell(pid, ?P, 1) == 1
    # What that took is there again: nearly all of it, for some is kept for the next ones.
    watch!(first, @most - 20)
    true = :erlang.suspend_process(pid)
    for _time <- 1..60, do: Puppets.ask(first, ?U, child)
    assert_receive {:DOWN, ^down, :process, ^first, {%Error{reason: {:limit, :total_memory}}, []}}, @patience
  end

  test "who ends without room for a link is told of by a link that the other one has made", %{first: first} do
    {_other, pid} = Puppets.spawn(first)
    {full, watcher} = Puppets.spawn(first)
    {fourth, _pid} = Puppets.spawn(first)
    assert Puppets.tell(pid, ?D, 0) == 0
    # There is room for one link, or word of one, and for a command.
    watch!(watcher, @most - 1, first)
    # It is told what to do before it is told of the link that the other one makes meanwhile.
    true = :erlang.suspend_process(watcher)
    Puppets.ask(watcher, ?L, fourth, 7)
    assert Puppets.tell(pid, ?L, full, 5) == 0
    down = Process.monitor(watcher)
    true = :erlang.resume_process(watcher)
    assert_receive {:DOWN, ^down, :process, ^watcher, {%Error{reason: {:limit, :total_memory}}, []}}, @patience
    hear!(pid, {:link_died, 5})
  end

  test "a link is one although its other end had removed others before and that is noted later", %{first: first} do
    {child, pid} = Puppets.spawn(first)
    assert Puppets.tell(first, ?D, 0) == 0
    # It is told to make the link before it takes note of anything.
    true = :erlang.suspend_process(first)
    Puppets.ask(first, ?L, child, 5)
    # More than a process takes at one step to its host.
    for _number <- 1..20, do: send(first, :nothing)
    for _time <- 1..2, do: assert(Puppets.tell(pid, ?U, 1) == 0)
    assert Puppets.tell(pid, ?L, 1, 6) == 0 and Puppets.tell(pid, ?U, 1) == 0
    true = :erlang.resume_process(first)
    assert_receive {:tidepool, ^first, 0, <<2, 0::64>>}, @patience
    assert Puppets.tell(first, ?P, 1) == 1
    Puppets.ask(pid, ?C)
    hear!(first, {:link_died, 5})
  end

  test "a link that is removed before it is noted is none at either end", %{name: name, first: first} do
    {child, pid} = Puppets.spawn(first)
    assert Puppets.tell(first, ?D, 0) == 0
    true = :erlang.suspend_process(first)
    Puppets.ask(first, ?U, child)
    for _number <- 1..20, do: send(first, :nothing)
    assert Puppets.tell(pid, ?L, 1, 6) == 0
    true = :erlang.resume_process(first)
    assert_receive {:tidepool, ^first, 0, <<2, 0::64>>}, @patience
    assert Puppets.tell(first, ?P, 1) == 1 and Puppets.tell(pid, ?P, 1) == 1
    refute Map.has_key?(Growth.held(name), "links")
  end

  test "a process has no link with itself, and tells itself of none" do
    ties = Ties.new(nil)
    assert Ties.serve({:unlink, self(), true}, nil, ties) == ties
    refute_received _nothing
  end

  test "one that is to make a linked process without room for the link is told so", %{first: first, down: down} do
    # Where there are two, those of two others are free.
    watch!(first, @most + div(2 * @puppet, 512))
    Puppets.spawn(first, 5)
    Puppets.ask(first, ?S, 0, 6)
    assert_receive {:DOWN, ^down, :process, ^first, {%Error{reason: {:trap, _kind}} = error, []}}, @patience
    assert Enum.any?(error.details.console, &(&1 =~ "a process"))
  end

  test "processes of a program that ends are taken down a few at a time" do
    first = "lunatic" |> deploy!("puppet") |> Puppets.start()
    children = for _child <- 1..60, do: Puppets.spawn(first)
    # The end of the first takes long.
    {_id, slow} = hd(children)
    watch!(slow, 20_000, first)
    order = for({_id, pid} <- children, do: pid)
    for pid <- order, do: Process.monitor(pid)
    Process.exit(first, :kill)

    ended =
      for _pid <- order do
        assert_receive {:DOWN, _monitor, :process, pid, :killed} when pid != first, @patience
        pid
      end

    # Others of its piece, and some of the next whose word comes before its own.
    assert Enum.find_index(ended, &(&1 == slow)) < 20
  end

  # Has a puppet watch so many processes, which the first one of its program gets to know; their numbers.
  defp watch!(puppet, count, first \\ nil) do
    watched =
      for _number <- 1..count do
        pid = spawn(fn -> Process.sleep(:infinity) end)
        {:ok, id} = Guest.introduce(first || puppet, pid)
        {id, pid}
      end

    on_exit(fn -> for {_id, pid} <- watched, do: Process.exit(pid, :kill) end)
    Process.put(:watched, watched)

    for {id, _pid} <- watched do
      assert Puppets.tell(puppet, ?M, id) == 0
      id
    end
  end

  # Watches more, until that ends it: the error.
  defp overflow!(%{first: first, down: down}) do
    {:ok, id} = Guest.introduce(first, spawn(fn -> Process.sleep(:infinity) end))
    Puppets.ask(first, ?M, id)

    receive do
      {:tidepool, ^first, 0, <<2, 0::64>>} -> overflow!(%{first: first, down: down})
      {:DOWN, ^down, :process, ^first, {error, []}} -> error
    after
      @patience -> flunk("it goes on")
    end
  end

  defp hear!(puppet, what) do
    case Puppets.hear() do
      {^puppet, ^what} -> :ok
      _other -> hear!(puppet, what)
    end
  end

  defp flush do
    receive do
      {:tidepool, _pid, _tag, _bytes} -> flush()
    after
      0 -> :ok
    end
  end
end
