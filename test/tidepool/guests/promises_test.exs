defmodule Tidepool.PromisesTest do
  # Not async: keeps all cores busy, and counts the node's instances.
  #
  # What is promised of a function holds whatever its ABI is: one program in each of them, modules and components, is held to
  # each promise. Which ABIs there are is the runtime's to say.
  use Tidepool.Case

  @moduletag :slow

  alias Tidepool.{Abis, Engine, FaultFootprint, LogWatch, Native, Peer, TestCluster}

  # What is tried is not how fast a busy machine is.
  @patient [time: 600_000, cpu_time: 600_000]
  @computing 2 * System.schedulers_online() + 2

  defp deploy_abi!(abi, options \\ []) do
    name = unique_name("promise_#{abi}")
    options = Keyword.update(options, :limits, @patient, &Keyword.merge(@patient, &1))
    assert {:ok, %{abi: ^abi}} = Tidepool.deploy(Abis.guest(abi), [name: name] ++ options)
    on_exit(fn -> remove!(name) end)
    name
  end

  test "every ABI of the runtime has a row, for modules or for components" do
    assert Enum.sort(Native.abis(Engine.runtime())) == for({abi, _form} <- Abis.all(), do: abi)
    assert Abis.all() |> Enum.map(&elem(&1, 1)) |> Enum.uniq() |> Enum.sort() == [:component, :module]
    for {abi, form} <- Abis.all(), do: assert({abi, form(Abis.guest(abi))} == {abi, form})
  end

  defp form(<<0, "asm", 1, 0, 0, 0, _sections::binary>>), do: :module
  defp form(<<0, "asm", 13, 0, 1, 0, _sections::binary>>), do: :component

  for {abi, form} <- Abis.all() do
    describe "#{abi} (#{form})" do
      @describetag abi: abi

      test "ends at its CPU time, in a loop and in a body without one, and answers the next", %{abi: abi} do
        for instances <- Abis.instances(abi) do
          name = deploy_abi!(abi, instances: instances, limits: [cpu_time: 15])

          for what <- [?l, ?s] do
            assert {<<what>>, Abis.run(abi, name, what)} == {<<what>>, {:error, "limit cpu_time"}}
            assert {<<what>>, Abis.run(abi, name, ?a)} == {<<what>>, {:ok, 1}}
          end
        end
      end

      test "ends at the limit of its memory, and the next has all of it", %{abi: abi} do
        for instances <- Abis.instances(abi) do
          # What is asked of it afterwards writes 4 GiB, which a busy machine has no time for in five seconds.
          limits = [memory: 20 * 1_048_576, cpu_time: 60_000, time: 120_000]
          name = deploy_abi!(abi, instances: instances, limits: limits)
          # It takes 16 MiB, and a page more than it began with.
          for _again <- 1..2 do
            assert Abis.run(abi, name, ?g) == {:error, "limit memory"}
            assert Abis.run(abi, name, ?s) == {:ok, 1}
          end
        end
      end

      # More of them than there are threads: one that held its thread would be the last that anybody heard of this node.
      test "computes without end, #{@computing} at once, and others are answered", %{abi: abi} do
        before = FaultFootprint.settled()
        name = deploy_abi!(abi)
        neighbour = deploy!("zig", "hello_world")
        endless = for _ <- 1..@computing, do: begin(fn -> Abis.run(abi, name, ?l) end)
        eventually(fn -> busy_instances() == @computing end, 60_000)

        for turn <- 1..20 do
          assert {200, _headers, %{"status" => "ok"}} = curl("/health")
          assert Tidepool.call(neighbour, "echo", "turn #{turn}") == {:ok, "turn #{turn}"}
          assert Abis.run(abi, name, ?a) == {:ok, 1}
        end

        # None of them has ended. The last one beside them may be on its way out.
        eventually(fn -> busy_instances() == @computing end)
        for caller <- endless, do: assert(kill(caller) == :killed)
        FaultFootprint.assert_instances_back(before)
      end

      test "ends with who asked for it: a client that leaves, a process that is killed", %{abi: abi} do
        before = FaultFootprint.settled()
        name = deploy_abi!(abi)
        asked = [fn -> Abis.run(abi, name, ?l) end, fn -> Abis.call(abi, name, ?l) end]
        asked = if Abis.call(abi, name, ?a) == nil, do: [hd(asked)], else: asked

        for ask <- asked do
          caller = begin(ask)
          eventually(fn -> busy_instances() == 1 end, 20_000)
          assert kill(caller) == :killed
          FaultFootprint.assert_instances_back(before)
        end
      end

      test "is swapped: a call under way ends on its version, and the next is of the new one", %{abi: abi} do
        for instances <- Abis.instances(abi) do
          name = deploy_abi!(abi, instances: instances)
          for version <- 2..3, do: swap(abi, name, instances, version, ?0)
        end
      end

      test "is redeployed beside its callers, of whom none fails or sees a version come back", %{abi: abi} do
        if Abis.called?(abi) do
          name = deploy_abi!(abi)
          callers = for _caller <- 1..4, do: Task.async(fn -> turns(abi, name, 1) end)

          for version <- 2..9 do
            instances = Enum.at(Abis.instances(abi), -rem(version, 2))

            {:ok, _function} =
              Tidepool.deploy(Abis.guest(abi, version), name: name, instances: instances, limits: @patient)
          end

          for caller <- callers, do: send(caller.pid, :stop)
          assert Task.await_many(callers, 120_000) == [9, 9, 9, 9]
        end
      end

      test "is counted by how it ended", %{abi: abi} do
        if Abis.called?(abi) do
          name = deploy_abi!(abi, limits: [cpu_time: 2_000, memory: 20 * 1_048_576])
          asked = [{?a, 3}, {?t, 2}, {?g, 1}, {?l, 1}]
          for {what, count} <- asked, _ <- 1..count, do: Abis.run(abi, name, what)
          leaves = begin(fn -> Abis.run(abi, name, ?l) end)
          eventually(fn -> busy_instances() == 1 end, 20_000)
          assert kill(leaves) == :killed

          counted = fn ->
            {200, _headers, text} = curl("/metrics")

            for [_all, reason, count] <-
                  Regex.scan(~r/^tidepool_calls_total\{function="#{name}",reason="(\w+)"\} (\d+)$/m, text),
                count != "0",
                into: %{},
                do: {reason, String.to_integer(count)}
          end

          eventually(fn -> assert counted.() == %{"ok" => 3, "trap" => 2, "limit" => 2, "aborted" => 1} end, 20_000)
        else
          # Programs are no calls; what they print and how they end is for who has started them.
          name = deploy_abi!(abi)
          assert {:error, %{reason: :guest_error, message: message}} = Tidepool.call(name, "run", "a")
          assert message =~ "can't be called"
        end
      end
    end
  end

  # Calls until it is told to stop: the version that answers then.
  defp turns(abi, name, least) do
    stop? = receive(do: (:stop -> true), after: (0 -> false))
    assert {:ok, version} = Abis.run(abi, name, ?a)
    assert version >= least
    if stop?, do: version, else: turns(abi, name, version)
  end

  # Deploys another version while a call is under way, which computes for longer until that is so.
  defp swap(abi, name, instances, version, what) do
    before = FaultFootprint.settled()
    under_way = Task.async(fn -> Abis.run(abi, name, what) end)
    eventually(fn -> busy_instances() > 0 or not Process.alive?(under_way.pid) end, 20_000)
    options = [name: name, instances: instances, limits: @patient]
    assert {:ok, %{version: deployed}} = Tidepool.deploy(Abis.guest(abi, version), options)
    ended = Task.yield(under_way, 0)
    assert {abi, Abis.run(abi, name, ?a)} == {abi, {:ok, version}}
    assert {:ok, %{version: ^deployed}} = Tidepool.fetch(name)

    if ended == nil do
      assert {abi, Task.await(under_way, 60_000)} == {abi, {:ok, version - 1}}
      FaultFootprint.assert_instances_back(%{before | live: before.live + 2})
    else
      assert what < ?9, "a call that computes longest had ended before the deploy"
      assert {:ok, _function} = Tidepool.deploy(Abis.guest(abi, version - 1), options)
      swap(abi, name, instances, version, what + 1)
    end
  end

  describe "of each ABI" do
    defp deploy_all!(peer) do
      for {abi, _form} <- Abis.all() do
        options = [name: to_string(abi), limits: @patient]
        {:ok, %{abi: ^abi}} = Peer.call(peer, Tidepool, :deploy, [Abis.guest(abi), options])
      end
    end

    defp answers(peer), do: for({abi, _form} <- Abis.all(), do: {abi, Abis.run(abi, to_string(abi), ?a, peer)})
    defp all_answer, do: for({abi, _form} <- Abis.all(), do: {abi, {:ok, 1}})
    defp compiled(peer), do: Path.wildcard(Path.join([Peer.folder(peer), "compiled", "*-*"]))

    defp compiles(peer) do
      metrics = Peer.call(peer, Native, :metrics, [Peer.call(peer, Engine, :runtime, []), [], []])

      for counter <- ~w(tidepool_compiles_total tidepool_compiles_cached_total) do
        [_all, count] = Regex.run(~r/^#{counter} (\d+)$/m, metrics)
        String.to_integer(count)
      end
    end

    test "compiled code is kept over a restart, and where a byte of it is another that is noticed, and it is compiled anew" do
      peer = Peer.start!(server: true)
      deploy_all!(peer)
      count = length(Abis.all())
      assert answers(peer) == all_answer()
      eventually(fn -> length(compiled(peer)) == count end, 60_000)
      :ok = Peer.stop_application(peer)
      {:ok, _started} = Peer.start_application(peer)
      assert compiles(peer) == [0, count]
      assert answers(peer) == all_answer()

      Peer.call(peer, LogWatch, :collect, [])

      for place <- [0.0, 0.3, 0.999] do
        :ok = Peer.stop_application(peer)
        paths = compiled(peer)
        assert length(paths) == count
        for path <- paths, do: flip(path, place)
        known = length(Peer.call(peer, LogWatch, :collected, []))
        {:ok, _started} = Peer.start_application(peer)
        assert answers(peer) == all_answer()
        assert {place, compiles(peer)} == {place, [count, 0]}
        logged = for {_level, text} <- Enum.drop(Peer.call(peer, LogWatch, :collected, []), known), do: text
        for path <- paths, do: assert(Enum.any?(logged, &(&1 =~ path)), "#{path} is not named")
        eventually(fn -> length(compiled(peer)) == count end, 60_000)
      end
    end

    defp flip(path, place) do
      bytes = File.read!(path)
      at = trunc(byte_size(bytes) * place)
      <<before::binary-size(at), byte, rest::binary>> = bytes
      File.write!(path, <<before::binary, Bitwise.bxor(byte, 1), rest::binary>>)
    end

    test "what is deployed on one node answers on another, new versions and removals too" do
      [one, other] = TestCluster.start!(2, server: true)
      deploy_all!(one)
      eventually(fn -> assert loaded(other) == for({abi, _form} <- Abis.all(), do: to_string(abi)) end, 60_000)
      assert answers(other) == all_answer()

      for {abi, _form} <- Abis.all() do
        options = [name: to_string(abi), limits: @patient]
        {:ok, %{version: 2}} = Peer.call(other, Tidepool, :deploy, [Abis.guest(abi, 2), options])
        eventually(fn -> assert {abi, Abis.run(abi, to_string(abi), ?a, one)} == {abi, {:ok, 2}} end, 60_000)
        :ok = Peer.call(one, Tidepool, :remove, [to_string(abi)])
      end

      eventually(fn -> assert loaded(other) == [] end, 60_000)
    end

    defp loaded(peer), do: for(function <- Peer.call(peer, Tidepool, :list, []), do: function.name) |> Enum.sort()
  end
end
