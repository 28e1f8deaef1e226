defmodule Tidepool.Fault.DeployFaultsTest do
  # Not async: counts the node's instances, and takes all schedulers that compile.
  use Tidepool.Case

  alias Tidepool.{Catalog, FaultFootprint, FaultVersion, Native}

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

      assert_receive :begun, 20_000
      # Spins for up to as long as a deploy takes: a process can't sleep for less than a millisecond.
      until = System.monotonic_time(:microsecond) + :rand.uniform(5_000)
      Stream.repeatedly(fn -> System.monotonic_time(:microsecond) end) |> Enum.find(&(&1 >= until))
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}, 20_000

      {:ok, reply} = Tidepool.call(name, "any")
      assert FaultVersion.of(reply) in 0..round
    end

    # The catalog has done all that it was asked for: what it says is what is called.
    assert {:ok, function} = Tidepool.fetch(name)
    assert {:ok, reply} = Tidepool.call(name, "any")
    assert function.sha256 == Tidepool.BlobStore.sha256(FaultVersion.module(FaultVersion.of(reply)))
    assert File.exists?(Path.join(blobs(), function.sha256))

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
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 20_000
    FaultFootprint.assert_instances_back(context.before)
    assert {:error, %Tidepool.Error{reason: :not_deployed}} = Tidepool.fetch(name)
  end

  for {title, what} <- [{"a removal", :remove}, {"the metrics", :metrics}] do
    @tag what: what
    test "#{title} does not wait for modules that are being compiled", context do
      name = deploy!("wat", "start_exit_0")
      runtime = Tidepool.Engine.runtime()
      wasm = guest("rust", "surroundings")
      count = 8 * :erlang.system_info(:dirty_cpu_schedulers_online)
      compiles = for _compile <- 1..count, do: Task.async(fn -> {:ok, _, _} = Native.compile(runtime, wasm) end)
      eventually(fn -> Enum.all?(compiles, &compiling?/1) end)

      case context.what do
        :remove -> assert :ok = Tidepool.remove(name)
        :metrics -> assert Native.metrics(runtime, []) =~ "tidepool"
      end

      # Whoever waits in the schedulers' queue is served after all who were there before.
      assert Enum.count(compiles, &Process.alive?(&1.pid)) > count / 2
      Task.await_many(compiles, 120_000)
    end
  end

  # In the NIF, running or waiting for its turn; or over already.
  defp compiling?(task) do
    Process.info(task.pid, :current_function) in [{:current_function, {Native, :compile, 2}}, nil]
  end

  defp blobs, do: :tidepool |> Application.fetch_env!(:data) |> Catalog.folder() |> Path.join("blobs")
end
