defmodule Tidepool.Fault.DeployFaultsTest do
  # Not async: counts the node's instances, and keeps the threads that compile busy.
  use Tidepool.Case

  alias Tidepool.{Catalog, FaultFootprint, FaultNative, FaultVersion, Native}

  setup do
    {:ok, before: FaultFootprint.settled()}
  end

  test "deployers killed at any point leave the old version or the new one, and no instance", context do
    name = unique_name("killed")
    on_exit(fn -> Tidepool.remove(name) end)
    images = FaultFootprint.open_images()
    assert {:ok, %{version: 1}} = Tidepool.deploy(FaultVersion.module(0), name: name)

    for round <- 1..200 do
      test = self()

      {pid, monitor} =
        spawn_monitor(fn ->
          send(test, :begun)
          Tidepool.deploy(FaultVersion.module(round), name: name)
        end)

      assert_receive :begun
      # Spins for up to as long as a deploy takes: a process can't sleep for less than a millisecond.
      until = System.monotonic_time(:microsecond) + :rand.uniform(5_000)
      Stream.repeatedly(fn -> System.monotonic_time(:microsecond) end) |> Enum.find(&(&1 >= until))
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}

      {:ok, reply} = Tidepool.call(name, "any")
      assert FaultVersion.of(reply) in 0..round
    end

    # What the last one has asked for before it was killed is done without it: then what the catalog says is what is called.
    eventually(fn ->
      {:ok, function} = Tidepool.fetch(name)
      {:ok, reply} = Tidepool.call(name, "any")

      function.sha256 == Catalog.BlobStore.sha256(FaultVersion.module(FaultVersion.of(reply))) and
        File.exists?(Path.join(blobs(), function.sha256))
    end)

    FaultFootprint.assert_instances_back(context.before)
    eventually(fn -> FaultFootprint.open_images() <= images + 1 end)
    assert_no_stray_messages()
  end

  test "a deployer killed while the guest's start function spins leaves no instance", context do
    name = unique_name("spinning")
    limits = [time: 60_000, cpu_time: 30_000]
    {pid, monitor} = spawn_monitor(fn -> Tidepool.deploy(guest("wat", "init_loop"), name: name, limits: limits) end)
    eventually(fn -> busy_instances() == 1 end)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    FaultFootprint.assert_instances_back(context.before)
    assert {:error, %Tidepool.Error{reason: :not_deployed}} = Tidepool.fetch(name)
  end

  for {title, what} <- [{"a removal", :remove}, {"the metrics", :metrics}, {"a call", :call}] do
    @tag what: what
    test "#{title} does not wait for modules that are being compiled", context do
      name = deploy!("wat", "start_exit_0")
      runtime = Tidepool.Engine.runtime()
      wasm = guest("go", "hello_world")
      [first | others] = for _compile <- 1..4, do: Native.compile(runtime, wasm, FaultNative.compile_config())

      case context.what do
        :remove -> assert :ok = Tidepool.remove(name)
        :metrics -> assert Native.metrics(runtime, [], []) =~ "tidepool"
        :call -> assert {:ok, "ready"} = Tidepool.call(name, "any")
      end

      # The first may be over on a machine of many cores, and the last is not begun.
      last = List.last(others)
      refute_received {:tidepool_compiled, ^last, _compiled, _cpu_us}

      for id <- [first | others],
          do: assert_receive({:tidepool_compiled, ^id, {:ok, _module, _facts}, _cpu_us}, 120_000)
    end
  end

  test "what nobody waits for any more is not compiled" do
    runtime = FaultNative.runtime()
    first = Native.compile(runtime, guest("go", "hello_world"), FaultNative.compile_config())
    test = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        for _module <- 1..8, do: Native.compile(runtime, guest("go", "upper"), FaultNative.compile_config())
        send(test, :begun)
        Process.sleep(:infinity)
      end)

    assert_receive :begun
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    last = Native.compile(runtime, guest("go", "hello_world"), FaultNative.compile_config())
    for id <- [first, last], do: assert_receive({:tidepool_compiled, ^id, {:ok, _module, _facts}, _cpu_us}, 120_000)
    assert Native.metrics(runtime, [], []) =~ ~r/^tidepool_compiles_total 2$/m
  end

  defp blobs, do: Catalog.blobs()
end
