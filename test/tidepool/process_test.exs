defmodule Tidepool.ProcessTest do
  # Guest processes as processes of the VM: how they end, who is told, and who they can send to.
  use Tidepool.Case, async: true

  import Bitwise

  alias Tidepool.{Error, Function, Puppets}

  @patience 30_000

  setup do
    {:ok, name: deploy!("lunatic", "puppet")}
  end

  # How a process ends.
  # How a process ends, of what is done to it, if anything.
  defp outcome(pid, act \\ fn -> :ok end) do
    monitor = Process.monitor(pid)
    act.()
    assert_receive {:DOWN, ^monitor, :process, ^pid, reason}, @patience
    reason
  end

  describe "a deploy" do
    test "recognises the interface, and takes the dense engine unless another is asked for", %{name: name} do
      assert {:ok, %Function{abi: :lunatic, engine: :dense}} = Tidepool.fetch(name)
      other = deploy!("lunatic", "puppet", engine: :fast)
      assert {:ok, %Function{abi: :lunatic, engine: :fast}} = Tidepool.fetch(other)
    end
  end

  describe "a start" do
    test "of what is not deployed, or with options that there are not, is refused" do
      assert {:error, %Error{reason: :not_deployed}} = Tidepool.Process.start("nowhere")
      assert_raise ArgumentError, ~r/the function's name has to be a string/, fn -> Tidepool.Process.start(:puppet) end
      assert {:error, %Error{reason: :invalid_option}} = Tidepool.Process.start("nowhere", [], colour: :blue)
      assert {:error, %Error{reason: :invalid_option}} = Tidepool.Process.start("nowhere", [<<0>>])
      assert {:error, %Error{reason: :invalid_option}} = Tidepool.Process.start("nowhere", [:atom])

      for env <- [%{"a" => 1}, %{"a=b" => "1"}, %{"" => "1"}, [{"a", "b"}], [:a], 5],
          do: assert({:error, %Error{reason: :invalid_option}} = Tidepool.Process.start("nowhere", [], env: env))
    end

    test "gives a process that has no names which are none", %{name: name} do
      puppet = Puppets.start(name)

      for name <- [<<255>>, :name, 5],
          where <- [:node, :program],
          do: refute(Tidepool.Process.whereis(puppet, name, where))
    end

    test "of an export that there is not, or that takes what a first process is not given, is refused", %{name: name} do
      for {entry, why} <- [
            {"missing", ~r/no function `missing`/},
            {"memory", ~r/no function/},
            {"puppet", ~r/takes \(i64\)/}
          ] do
        assert {:error, %Error{reason: :invalid_option, message: message}} =
                 Tidepool.Process.start(name, [], entry: entry)

        assert message =~ why
      end
    end

    test "of one more than all programs of the function may have is refused until one ends" do
      name = deploy!("lunatic", "puppet", limits: [instances: 3])
      first = Puppets.start(name)
      Puppets.spawn(first)
      second = Puppets.start(name)
      assert {:error, %Error{reason: :overloaded, message: message}} = Tidepool.Process.start(name)
      assert message =~ "the 3 processes that they may have (limit instances)"
      # A version more is the same function.
      options = [name: name, limits: [instances: 3], description: "another"]
      {:ok, %{version: 2}} = Tidepool.deploy(guest("lunatic", "puppet"), options)
      assert {:error, %Error{reason: :overloaded}} = Tidepool.Process.start(name)
      Tidepool.Process.kill(second)
      {:ok, third} = eventually(fn -> with {:error, _overloaded} <- Tidepool.Process.start(name), do: nil end)
      Tidepool.Process.kill(third)
    end

    test "bounds the CPU time of each process, and of all of them together", %{name: name} do
      alone = Puppets.start(name, cpu_time: 200)
      monitor = Process.monitor(alone)
      Puppets.ask(alone, ?@)
      assert_receive {:DOWN, ^monitor, :process, ^alone, {%Error{} = error, []}}, @patience
      assert %{reason: {:limit, :cpu_time}, details: %{allowed: 200, unit: "ms"}} = error

      first = Puppets.start(name, cpu_time: 60_000, total_cpu_time: 300)
      {_id, child} = Puppets.spawn(first)
      {_id, other} = Puppets.spawn(first)
      monitors = for puppet <- [child, other, first], do: {puppet, Process.monitor(puppet)}
      for puppet <- [child, other], do: Puppets.ask(puppet, ?@)

      for {puppet, monitor} <- monitors do
        # It has hardly computed itself, and nothing is left.
        if puppet == first, do: Puppets.ask(first, ?P)
        assert_receive {:DOWN, ^monitor, :process, ^puppet, {%Error{} = error, []}}, @patience
        assert %{reason: {:limit, :total_cpu_time}, details: %{allowed: 300}} = error
      end

      # What a guest has compiled costs as if it had done that itself.
      compiling = Puppets.start(name, total_cpu_time: 60)
      monitor = Process.monitor(compiling)
      for _module <- 1..99, do: Puppets.ask(compiling, ?B)
      assert_receive {:DOWN, ^monitor, :process, ^compiling, {%Error{} = error, []}}, @patience
      assert %{reason: {:limit, :total_cpu_time}, details: %{allowed: 60}} = error

      for {key, time} <- [cpu_time: 0, cpu_time: "1", total_cpu_time: 0, total_cpu_time: 1 <<< 64] do
        assert {:error, %Error{reason: :invalid_option}} = Tidepool.Process.start(name, [], [{key, time}])
      end
    end
  end

  describe "the end of a process" do
    test "that returns is :normal", %{name: name} do
      puppet = Puppets.start(name)
      assert outcome(puppet, fn -> Puppets.ask(puppet, ?R) end) == :normal
    end

    test "that traps is a typed error, with what it printed", %{name: name} do
      puppet = Puppets.start(name)
      ended = outcome(puppet, fn -> Puppets.ask(puppet, ?C) end)
      assert {%Error{reason: {:trap, :unreachable}, function: ^name, details: details}, []} = ended
      assert Enum.any?(details.console, &(&1 =~ "a command"))
    end

    test "that is killed is :killed, by a guest or by Elixir", %{name: name} do
      first = Puppets.start(name)
      {id, child} = Puppets.spawn(first)
      monitor = Process.monitor(child)
      Puppets.tell(first, ?K, id)
      assert_receive {:DOWN, ^monitor, :process, ^child, :killed}, @patience
      {_id, child} = Puppets.spawn(first)
      Tidepool.Process.kill(child)
      assert outcome(child) in [:killed, :noproc]
      assert outcome(first, fn -> Puppets.ask(first, ?K, 1) end) == :killed
    end

    test "that traps exits is what a supervisor says, and a normal exit of others is nothing to it", %{name: name} do
      puppet = Puppets.start(name)
      Puppets.tell(puppet, ?D, 0)
      Process.exit(puppet, :normal)
      assert Puppets.tell(puppet, ?P, 7) == 7
      monitor = Process.monitor(puppet)
      Process.exit(puppet, :shutdown)
      assert_receive {:DOWN, ^monitor, :process, ^puppet, :shutdown}, @patience
    end

    test "is what kills it, whatever it does without waiting", %{name: name} do
      flooding = Puppets.start(name)
      Puppets.tell(flooding, ?F)
      Tidepool.Process.kill(flooding)
      assert outcome(flooding) in [:killed, :noproc]
      # It tries to start another again and again, which fails.
      starting = "lunatic" |> deploy!("puppet", limits: [instances: 3]) |> Puppets.start()
      Puppets.ask(starting, ?A)
      for _child <- 1..2, do: assert_receive({:tidepool, _child, 0, <<1, _id::little-64>>}, @patience)
      Tidepool.Process.kill(starting)
      assert outcome(starting) in [:killed, :noproc]
    end

    test "is what kills it, while whoever it answers drives it" do
      env = %{"SUBJECT" => "pairs", "COUNT" => "20", "SECONDS" => "600"}
      {:ok, program} = "lunatic" |> deploy!("bench") |> Tidepool.Process.start(["bench"], env: env)
      on_exit(fn -> Tidepool.Process.kill(program) end)
      %{program: number} = Tidepool.Process.info(program)
      all = fn -> for %{program: ^number, pid: pid} <- Tidepool.Process.list(), pid != program, do: pid end
      eventually(fn -> length(all.()) == 40 end, @patience)
      monitors = Map.new(all.(), &{Process.monitor(&1), &1})
      program_monitor = Process.monitor(program)
      # Each takes the other of its pair along, and with that the program.
      all.() |> Enum.random() |> Tidepool.Process.kill()
      for {monitor, pid} <- monitors, do: assert_receive({:DOWN, ^monitor, :process, ^pid, _reason}, @patience)
      assert_receive {:DOWN, ^program_monitor, :process, ^program, _reason}, @patience
      assert all.() == []
    end

    test "loses nothing that it has printed, whoever has driven it", %{name: name} do
      main = Puppets.start(name, output: self())
      {id, child} = Puppets.spawn(main)
      print_by_other(main, id, child, 20)
    end

    # Has a process print something while another or a runner drives it, and waits for that: its own driver has no turn meanwhile, as
    # if it was killed. One that is left to its driver, for the system has held up who drove it, is asked again.
    defp print_by_other(main, id, child, tries) do
      Puppets.tell(child, ?P, 0)
      eventually(fn -> Tidepool.Process.info(child).state == :waiting end, @patience)
      :erlang.suspend_process(child)
      Puppets.tell(main, ?%, id, 5)

      if eventually(fn -> printed(child) end, @patience) == :left do
        assert tries > 0, "it is left to its driver each time"
        :erlang.resume_process(child)
        assert_receive {:tidepool_output, ^child, :stdout, "5"}, @patience
        print_by_other(main, id, child, tries - 1)
      end
    end

    # What was printed comes before its driver is told to go on.
    defp printed(child) do
      is_told = Tidepool.Process.info(child).message_queue > 0

      receive do
        {:tidepool_output, ^child, :stdout, "5"} -> :printed
      after
        0 -> if is_told, do: :left
      end
    end

    test "is told when the process is gone for all others, too", %{name: name} do
      first = Puppets.start(name)
      Puppets.tell(first, ?D, 0)

      for tag <- 1..100 do
        {id, child} = Puppets.spawn(first, tag)
        Puppets.tell(first, ?M, id)
        Tidepool.Process.kill(child)
        assert Enum.sort([Puppets.hear(), Puppets.hear()]) == [{first, {:link_died, tag}}, {first, {:process_died, id}}]
        assert Puppets.tell(first, ?E, id) == 0
        {id, child} = Puppets.spawn(first, tag)
        Tidepool.Process.kill(child)
        assert Puppets.hear() == {first, {:link_died, tag}}
        assert Puppets.tell(first, ?E, id) == 0
      end
    end

    test "of the first one is that of all others, and nothing is left", %{name: name} do
      first = Puppets.start(name)
      children = for _child <- 1..50, do: Puppets.spawn(first) |> elem(1)
      monitors = for child <- children, do: {child, Process.monitor(child)}
      Puppets.ask(first, ?R)

      for {child, monitor} <- monitors do
        assert_receive {:DOWN, ^monitor, :process, ^child, :killed}, @patience
      end

      refute Enum.any?(Tidepool.Process.list(), &(&1.function == name))
    end
  end

  describe "a runner" do
    test "that is killed is replaced, and all who sleep are woken in time" do
      env = %{"SUBJECT" => "sleepers", "COUNT" => "100", "ROUNDS" => "20"}
      options = [env: env, output: self()]
      {:ok, program} = "lunatic" |> deploy!("bench") |> Tidepool.Process.start(["bench"], options)
      on_exit(fn -> Tidepool.Process.kill(program) end)
      assert_receive {:tidepool_output, ^program, :stdout, "sleeping 100" <> _}, @patience

      for {_queue, runner, :worker, _modules} <- Supervisor.which_children(Tidepool.Process.Runners) do
        monitor = Process.monitor(runner)
        Process.exit(runner, :kill)
        assert_receive {:DOWN, ^monitor, :process, ^runner, :killed}, @patience
      end

      assert_receive {:tidepool_output, ^program, :stdout, "late_us_p99 " <> _}, @patience
    end

    test "is the only one of its queue" do
      for queue <- 0..(Tidepool.Native.run_queues() - 1) do
        assert_raise ArgumentError, fn -> Tidepool.Native.drive_queue(queue) end
      end
    end
  end

  describe "links" do
    test "with those that have ended well take no memory", %{name: name} do
      first = Puppets.start(name)

      for tag <- 1..10_000 do
        {_id, child} = Puppets.spawn(first, tag)
        monitor = Process.monitor(child)
        Puppets.tell(child, ?R)
        assert_receive {:DOWN, ^monitor, :process, ^child, :normal}, @patience
      end

      :erlang.garbage_collect(first)
      assert {:memory, bytes} = Process.info(first, :memory)
      assert bytes < 200_000
    end

    test "take along whoever dies with them, of guests and of Elixir", %{name: name} do
      first = Puppets.start(name)
      {_id, child} = Puppets.spawn(first, 5)
      ended = outcome(first, fn -> Puppets.ask(child, ?C) end)
      assert {%Error{reason: {:trap, :unreachable}}, []} = ended
      other = Puppets.start(name)
      Process.flag(:trap_exit, true)
      Process.link(other)
      Puppets.ask(other, ?C)
      assert_receive {:EXIT, ^other, {%Error{reason: {:trap, :unreachable}}, []}}, @patience
    end

    test "tell whoever doesn't die with them, with their tag, and nothing of a normal end", %{name: name} do
      first = Puppets.start(name)
      Puppets.tell(first, ?D, 0)
      {_id, normal} = Puppets.spawn(first, 5)
      {_id, other} = Puppets.spawn(first, 6)
      Puppets.tell(normal, ?R)
      assert outcome(normal) in [:normal, :noproc]
      Puppets.tell(other, ?C)
      assert Puppets.hear() == {first, {:link_died, 6}}
    end

    test "made anew have the new tag, on both sides", %{name: name} do
      first = Puppets.start(name)
      Puppets.tell(first, ?D, 0)
      {id, child} = Puppets.spawn(first, 5)
      Puppets.tell(first, ?L, id, 9)
      Puppets.tell(child, ?C)
      assert Puppets.hear() == {first, {:link_died, 9}}
      {id, child} = Puppets.spawn(first)
      Puppets.tell(child, ?D, 0)
      {other_id, other} = Puppets.spawn(first)
      Puppets.tell(other, ?L, id, 11)
      assert other_id != id
      Puppets.tell(other, ?C)
      assert Puppets.hear() == {child, {:link_died, 11}}
    end

    test "that are removed tell nothing", %{name: name} do
      first = Puppets.start(name)
      {id, child} = Puppets.spawn(first, 5)
      Puppets.tell(first, ?U, id)
      Puppets.tell(child, ?C)
      assert {%Error{}, []} = outcome(child) |> then(&if(&1 == :noproc, do: {%Error{}, []}, else: &1))
      assert Puppets.tell(first, ?P, 3) == 3
    end

    test "to the dead and to nobody deliver a death", %{name: name} do
      first = Puppets.start(name)
      Puppets.tell(first, ?D, 0)
      Puppets.ask(first, ?L, 999, 12)
      assert_receive {:tidepool, ^first, 0, <<3, 12::little-64>>}, @patience
      other = Puppets.start(name)
      Puppets.ask(other, ?L, 999, 12)
      assert outcome(other) == :noproc
    end
  end

  describe "monitors" do
    test "tell of any end, once, and of the dead at once", %{name: name} do
      first = Puppets.start(name)

      for how <- [?R, ?C] do
        {id, child} = Puppets.spawn(first)
        Puppets.tell(first, ?M, id)
        Puppets.tell(first, ?M, id)
        Puppets.tell(child, how)
        assert Puppets.hear() == {first, {:process_died, id}}
      end

      Puppets.ask(first, ?M, 999)
      assert_receive {:tidepool, ^first, 0, <<4, 999::little-64>>}, @patience
      assert_receive {:tidepool, ^first, 0, <<2, _::64>>}, @patience
      assert Puppets.tell(first, ?P, 1) == 1
      refute_received {:tidepool, ^first, 0, <<4, _::binary>>}
    end

    test "that were stopped tell nothing", %{name: name} do
      first = Puppets.start(name)
      {id, child} = Puppets.spawn(first)
      Puppets.tell(first, ?M, id)
      Puppets.tell(first, ?N, id)
      Puppets.tell(child, ?R)
      outcome(child)
      assert Puppets.tell(first, ?P, 1) == 1
      refute_received {:tidepool, ^first, 0, <<4, _::binary>>}
    end
  end

  describe "processes of the host's" do
    test "are not killed by guests, and a link from one is one-sided", %{name: name} do
      first = Puppets.start(name)
      {:ok, me} = Tidepool.Process.introduce(first, self())
      assert {:ok, ^me} = Tidepool.Process.introduce(first, self())
      Puppets.tell(first, ?K, me)
      Puppets.tell(first, ?L, me, 4)
      assert {%Error{}, []} = outcome(first, fn -> Puppets.ask(first, ?C) end)
    end

    test "whose guest is linked to them take it along", %{name: name} do
      first = Puppets.start(name)
      Puppets.tell(first, ?D, 0)
      host = spawn(fn -> receive(do: (:die -> exit(:because))) end)
      {:ok, id} = Tidepool.Process.introduce(first, host)
      Puppets.tell(first, ?L, id, 4)
      send(host, :die)
      assert Puppets.hear() == {first, {:link_died, 4}}
    end

    test "are watched once by a guest that is linked to them, and not when it is no more", %{name: name} do
      first = Puppets.start(name)
      host = spawn(fn -> receive(do: (:die -> exit(:because))) end)
      {:ok, id} = Tidepool.Process.introduce(first, host)
      for tag <- 1..3, do: Puppets.tell(first, ?L, id, tag)
      assert Process.info(first, :monitors) == {:monitors, [process: host]}
      Puppets.tell(first, ?U, id)
      assert Process.info(first, :monitors) == {:monitors, []}
      monitor = Process.monitor(host)
      send(host, :die)
      assert_receive {:DOWN, ^monitor, :process, ^host, :because}, @patience
      assert Puppets.tell(first, ?P, 3) == 3
    end

    test "get what is sent for a time, whatever its sender waits for then, and nothing of the dead", %{name: name} do
      first = Puppets.start(name)
      Puppets.tell(first, ?T, 86_400_000, 5)
      Puppets.tell(first, ?T, 20, 6)
      assert_receive {:tidepool, ^first, 0, <<2, 6::little-64>>}, @patience
      Puppets.ask(first, ?W, 100)
      assert_receive {:tidepool, ^first, 0, <<2, 0::little-64>>}, @patience
    end

    test "that send more than a guest receives end it with a limit", %{name: name} do
      first = Puppets.start(name)
      Puppets.ask(first, ?W, 3_600_000)
      monitor = Process.monitor(first)
      large = :binary.copy(<<0>>, 1_048_576)
      for _message <- 1..200, do: send(first, {:tidepool, 0, large})
      assert_receive {:DOWN, ^monitor, :process, ^first, {%Error{reason: {:limit, :messages}} = error, []}}, @patience
      assert error.details.allowed == 67_108_864
    end

    test "may send what a guest doesn't understand, and it goes on", %{name: name} do
      first = Puppets.start(name)
      for junk <- [:hello, {:tidepool, :tag, "x"}, {:tidepool, 2 ** 70, "x"}, {:tidepool, 0, :x}], do: send(first, junk)
      assert Puppets.tell(first, ?P, 5) == 5
      assert {:error, %Error{}} = Tidepool.Process.introduce(self(), self())
    end
  end

  describe "a module that a process compiles" do
    test "has what the program has, though its function was removed since", %{name: name} do
      first = Puppets.start(name)
      {_id, child} = Puppets.spawn(first)
      :ok = Tidepool.remove(name)
      assert Puppets.tell(first, ?B) == 0
      assert Puppets.tell(child, ?B) == 0
    end
  end

  describe "a supervisor" do
    test "starts a program again that has failed", %{name: name} do
      start_supervised!({Tidepool.Process, {name, [name]}}, restart: :permanent)
      [%{pid: first}] = running(name)
      Process.exit(first, :kill)
      again = eventually(fn -> Enum.find(running(name), &(&1.pid != first)) end)
      assert again.state in [:waiting, :running, :runnable]
    end
  end

  describe "what is known" do
    test "of a process are its number, what it runs, what it waits with and what it has used", %{name: name} do
      first = Puppets.start(name)
      {id, child} = Puppets.spawn(first, 3)
      info = Tidepool.Process.info(child)
      assert %{id: ^id, function: ^name, version: 1, entry: "puppet", message_queue: 0, pid: ^child} = info
      assert info.node == node()
      assert info.links == [first]
      assert info.cpu_us > 0 and info.memory >= 65_536
      assert length(running(name)) == 2
      assert Tidepool.Process.info(self()) == nil
      assert Tidepool.Process.whereis(first, "nobody") == nil
    end
  end

  defp running(name), do: Enum.filter(Tidepool.Process.list(), &(&1.function == name))
end
