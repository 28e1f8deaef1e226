defmodule Tidepool.Processes.LinksTest do
  # Random programs of links, monitors and deaths, beside a model of them: every notice comes, and no other.
  use Tidepool.Case, async: true

  import Tidepool.Property

  alias Tidepool.Process, as: Guest
  alias Tidepool.Process.Remote
  alias Tidepool.Puppets

  @moduletag :lunatic
  @patience 60_000
  @most 8
  @commands ~w(spawn spawn_link link unlink monitor stop_monitoring trap die return crash kill exists)a

  # What is known of a program's processes: who lives, who is told of deaths instead of dying, links as
  # {process, other} => tag, and monitors as {watcher, watched}.
  defmodule Model do
    defstruct living: [], dead: [], trapping: MapSet.new(), links: %{}, monitors: MapSet.new()

    def spawn(model, _parent, child, 0), do: %{model | living: model.living ++ [child]}

    def spawn(model, parent, child, tag) do
      # The child is told nothing by its parent's tag.
      links = Map.merge(model.links, %{{parent, child} => tag, {child, parent} => 0})
      %{model | living: model.living ++ [child], links: links}
    end

    def link(model, a, b, tag), do: %{model | links: Map.merge(model.links, %{{a, b} => tag, {b, a} => tag})}
    def unlink(model, a, b), do: %{model | links: Map.drop(model.links, [{a, b}, {b, a}])}
    def monitor(model, a, b), do: %{model | monitors: MapSet.put(model.monitors, {a, b})}
    def stop_monitoring(model, a, b), do: %{model | monitors: MapSet.delete(model.monitors, {a, b})}
    def trap(model, a), do: %{model | trapping: MapSet.put(model.trapping, a)}
    def die_too(model, a), do: %{model | trapping: MapSet.delete(model.trapping, a)}

    # A link to who is dead is a death.
    def link_to_dead(model, a, tag) do
      if a in model.trapping, do: {model, [{a, :link_died, tag}], []}, else: dies(model, a, :crash)
    end

    # What there is after a death, the notices, and who has died of it: `{process, how}`.
    def dies(model, process, how) do
      {model, notices, deaths} = die(%{model | dead: [process | model.dead]}, process, how)
      {model, notices, [{process, how} | deaths]}
    end

    defp die(model, process, how) do
      watchers = for {watcher, ^process} <- model.monitors, do: {watcher, :process_died, process}
      linked = for {{other, ^process}, tag} <- model.links, do: {other, tag}

      model = %{
        model
        | living: List.delete(model.living, process),
          links: Map.reject(model.links, fn {{a, b}, _tag} -> process in [a, b] end),
          monitors: MapSet.reject(model.monitors, fn {a, b} -> process in [a, b] end)
      }

      linked = if how == :return, do: [], else: linked

      Enum.reduce(linked, {model, watchers, []}, fn {other, tag}, {model, notices, deaths} ->
        cond do
          other not in model.living ->
            {model, notices, deaths}

          other in model.trapping ->
            {model, [{other, :link_died, tag} | notices], deaths}

          true ->
            {model, more_notices, more_deaths} = dies(model, other, :crash)
            {model, more_notices ++ notices, more_deaths ++ deaths}
        end
      end)
    end
  end

  defp command do
    {number, index} = {types().pos_integer(), types().non_neg_integer()}
    types().tuple([types().oneof(@commands), index, index, number])
  end

  test "who makes and removes links faster than the other end takes note of them waits for that" do
    name = deploy!("lunatic", "puppet")
    first = Puppets.start(name)
    {id, other} = Puppets.spawn(first)
    true = :erlang.suspend_process(other)
    told = 600
    for number <- 1..told, do: Puppets.ask(first, Enum.at([?L, ?U], rem(number, 2)), id, 1)
    waits? = fn -> Process.info(first, :current_function) == {:current_function, {Remote, :await_answers, 4}} end
    eventually(waits?, @patience)
    # Each says so once, and the question is one more.
    assert {:message_queue_len, length} = Process.info(other, :message_queue_len)
    assert length in 200..300
    # It hears others meanwhile only when it goes on.
    true = :erlang.resume_process(other)
    for _number <- 1..told, do: assert_receive({:tidepool, ^first, 0, <<2, 0::64>>}, @patience)
    assert Puppets.tell(first, ?E, id) == 1
  end

  test "links and monitors fire exactly as they should, whatever processes do" do
    function = deploy!("lunatic", "puppet")

    assert_holds(
      types().list(command()),
      fn commands ->
        {:ok, main} = Guest.start(function, [], [])

        # PropEr takes false for a failure, and shrinks; what an exception says is lost to it.
        try do
          play!(main, commands)
          true
        rescue
          error in ExUnit.AssertionError ->
            IO.puts(:stderr, Exception.message(error))
            false
        after
          # What a failure leaves is nothing for the next.
          monitor = Process.monitor(main)
          Process.exit(main, :kill)
          assert_receive {:DOWN, ^monitor, :process, ^main, _reason}, @patience
          flush()
        end
      end,
      200
    )
  end

  defp flush do
    receive do
      _message -> flush()
    after
      0 -> :ok
    end
  end

  defp play!(main, commands) do
    {:ok, id} = Guest.introduce(main, self())
    send(main, {:tidepool, 0, <<id::little-64>>})
    main_id = here!(main)
    # The first one ends the program, and takes no part.
    {model, pids} = Enum.reduce(1..3, {%Model{}, %{main_id => main}}, fn _, known -> start!(known, main_id, 0) end)
    {model, pids} = Enum.reduce(commands, {model, pids}, &step!/2)
    # Those who live are there for all of them, and have nothing else to tell.
    for living <- model.living, do: assert(do!(pids[living], ?P, 0, 0) == 0)
    refute_received {:tidepool, _pid, _tag, _bytes}
    refute_received {:DOWN, _reference, :process, _pid, _reason}

    Process.exit(main, :kill)
    for process <- [main_id | model.living], do: gone!(pids[process], :killed)
  end

  # Who is dead takes part as who is linked to, killed and asked for.
  defp step!({command, actor, other, tag}, {%Model{living: [_ | _]} = model, pids}) do
    actor = Enum.at(model.living, rem(actor, length(model.living)))
    all = model.living ++ model.dead
    other = Enum.at(all, rem(other, length(all)))
    step!(command, actor, other, tag, model, pids)
  end

  defp step!(_command, known), do: known

  defp step!(command, actor, _other, tag, model, pids) when command in [:spawn, :spawn_link] do
    tag = if command == :spawn, do: 0, else: tag
    if length(model.living) < @most, do: start!({model, pids}, actor, tag), else: {model, pids}
  end

  defp step!(:link, actor, actor, _tag, model, pids), do: {model, pids}

  defp step!(:link, actor, other, tag, model, pids) do
    if other in model.living do
      do!(pids[actor], ?L, other, tag)
      {Model.link(model, actor, other, tag), pids}
    else
      # Its answer comes, unless its death does.
      if actor in model.trapping, do: do!(pids[actor], ?L, other, tag), else: say!(pids[actor], ?L, other, tag)
      told!(Model.link_to_dead(model, actor, tag), pids)
    end
  end

  defp step!(:monitor, actor, other, _tag, model, pids) do
    if other in model.living and other != actor do
      do!(pids[actor], ?M, other, 0)
      {Model.monitor(model, actor, other), pids}
    else
      {model, pids}
    end
  end

  defp step!(:exists, actor, other, _tag, model, pids) do
    exists = fn -> do!(pids[actor], ?E, other, 0) end

    # The VM tells this test of a death, and has the native library give back the process later; a guest is told after that.
    if other in model.living, do: assert(exists.() == 1), else: eventually(fn -> exists.() == 0 end, @patience)
    {model, pids}
  end

  defp step!(:unlink, actor, other, _tag, model, pids) do
    do!(pids[actor], ?U, other, 0)
    {Model.unlink(model, actor, other), pids}
  end

  defp step!(:stop_monitoring, actor, other, _tag, model, pids) do
    do!(pids[actor], ?N, other, 0)
    {Model.stop_monitoring(model, actor, other), pids}
  end

  defp step!(:trap, actor, _other, _tag, model, pids) do
    do!(pids[actor], ?D, 0, 0)
    {Model.trap(model, actor), pids}
  end

  defp step!(:die, actor, _other, _tag, model, pids) do
    do!(pids[actor], ?D, 1, 0)
    {Model.die_too(model, actor), pids}
  end

  defp step!(:return, actor, _other, _tag, model, pids) do
    do!(pids[actor], ?R, 0, 0)
    told!(Model.dies(model, actor, :return), pids)
  end

  defp step!(:crash, actor, _other, _tag, model, pids) do
    do!(pids[actor], ?C, 0, 0)
    told!(Model.dies(model, actor, :crash), pids)
  end

  defp step!(:kill, actor, other, _tag, model, pids) do
    do!(pids[actor], ?K, other, 0)
    if other in model.living, do: told!(Model.dies(model, other, :crash), pids), else: {model, pids}
  end

  defp start!({model, pids}, parent, tag) do
    child = do!(pids[parent], ?S, 0, tag)
    {Model.spawn(model, parent, child, tag), Map.put(pids, child, here!(child))}
  end

  # The notices and deaths come. Of one who dies itself it is not known what it was still told.
  defp told!({model, notices, deaths}, pids) do
    dying = for {process, _how} <- deaths, do: process
    for {process, what, number} <- notices, process not in dying, do: hear!(pids[process], what, number)
    for {process, how} <- deaths, do: gone!(pids[process], how)
    for process <- dying, do: forget(pids[process])
    {model, pids}
  end

  # The id of a process, or the process of an id.
  defp here!(pid) when is_pid(pid) do
    Process.monitor(pid)
    assert_receive {:tidepool, ^pid, _tag, <<1, id::little-64>>}, @patience
    id
  end

  defp here!(id) do
    assert_receive {:tidepool, pid, _tag, <<1, ^id::little-64>>}, @patience
    Process.monitor(pid)
    pid
  end

  defp say!(pid, command, id, tag), do: send(pid, {:tidepool, 0, <<command, id::little-64, tag::little-64>>})

  defp do!(pid, command, id, tag) do
    say!(pid, command, id, tag)
    assert_receive {:tidepool, ^pid, _tag, <<2, result::little-64>>}, @patience
    result
  end

  defp hear!(pid, :link_died, tag), do: assert_receive({:tidepool, ^pid, _tag, <<3, ^tag::little-64>>}, @patience)
  defp hear!(pid, :process_died, id), do: assert_receive({:tidepool, ^pid, _tag, <<4, ^id::little-64>>}, @patience)

  defp gone!(pid, how) do
    assert_receive {:DOWN, _reference, :process, ^pid, reason}, @patience
    if how == :return, do: assert(reason == :normal), else: assert(reason != :normal)
  end

  defp forget(pid) do
    receive do
      {:tidepool, ^pid, _tag, _bytes} -> forget(pid)
    after
      0 -> :ok
    end
  end
end
