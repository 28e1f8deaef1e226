defmodule Tidepool.Fault.HotSwapTest do
  # Not async: keeps both cores busy, and counts the node's instances and memory images.
  use Tidepool.Case

  alias Tidepool.{FaultClient, FaultFootprint, FaultVersion}

  @redeploys 200
  @clients 8

  test "no call fails or is mixed over #{@redeploys} redeploys beside #{@clients} clients, and no version comes back" do
    name = unique_name("swap")
    on_exit(fn -> Tidepool.remove(name) end)
    before = FaultFootprint.settled()
    images = FaultFootprint.open_images()
    deploy_version!(name, 1, instances: :fresh)

    # What every client knows: versions below the first number are gone, versions above the second one not there yet.
    bounds = :atomics.new(2, [])
    for index <- 1..2, do: :atomics.put(bounds, index, 1)

    clients =
      for index <- 1..@clients do
        call = if rem(index, 2) == 0, do: elixir_caller(name), else: http_caller(name)
        Task.async(fn -> turns(call, bounds, MapSet.new()) end)
      end

    for version <- 2..(@redeploys + 1) do
      # By fives, so that warm follows fresh, fresh follows warm, and each follows its like.
      instances = if rem(div(version, 5), 2) == 0, do: :fresh, else: {:warm, 4}
      :atomics.put(bounds, 2, version)
      deploy_version!(name, version, instances: instances)
      :atomics.put(bounds, 1, version)
    end

    for client <- clients, do: send(client.pid, :stop)
    seen = clients |> Task.await_many(60_000) |> Enum.reduce(&MapSet.union/2)

    # Otherwise nobody called while versions changed.
    assert MapSet.size(seen) > @redeploys / 4
    assert {:ok, %{version: version}} = Tidepool.fetch(name)
    assert version == @redeploys + 1

    # Of all versions the last one is left, and nothing once it is removed.
    eventually(fn -> FaultFootprint.open_images() <= images + 1 end)
    assert :ok = Tidepool.remove(name)
    eventually(fn -> FaultFootprint.open_images() <= images end)
    FaultFootprint.assert_instances_back(before)
    assert_no_stray_messages()
  end

  test "a call in flight ends on the version it started with, and the old version goes when it has ended" do
    latch = start_supervised!(Tidepool.Latch)
    handle!({"host", "test", "park"}, latch)
    name = unique_name("swap")
    on_exit(fn -> Tidepool.remove(name) end)
    before = FaultFootprint.settled()
    images = FaultFootprint.open_images()

    {:ok, _function} = Tidepool.deploy(guest("wat", "parked"), name: name, instances: {:warm, 4})
    parked = for _caller <- 1..4, do: Task.async(fn -> Tidepool.call(name, "any") end)
    Tidepool.Latch.await(latch, 4)

    deploy_version!(name, 2, instances: {:warm, 4})
    assert {:ok, reply} = Tidepool.call(name, "any")
    assert FaultVersion.of(reply) == 2
    assert busy_instances() == 4

    Tidepool.Latch.release(latch, {:ok, "from the old version"})
    assert Task.await_many(parked, 60_000) == List.duplicate({:ok, "from the old version"}, 4)

    # The new version's one warm instance; those of the old one have nobody left to serve.
    eventually(fn -> FaultFootprint.open_images() <= images + 1 end)
    eventually(fn -> Tidepool.Engine.instances().live <= before.live + 1 end)
    assert {:ok, reply} = Tidepool.call(name, "any")
    assert FaultVersion.of(reply) == 2
  end

  test "warm instances of an old version go with it, although its callers idle on" do
    name = unique_name("swap")
    on_exit(fn -> Tidepool.remove(name) end)
    before = FaultFootprint.settled()
    deploy_version!(name, 1, instances: {:warm, 4})

    test = self()

    idler =
      spawn_link(fn ->
        send(test, {:called, Tidepool.call(name, "any")})
        receive do: (:stop -> :ok)
      end)

    assert_receive {:called, {:ok, _reply}}
    assert Tidepool.Engine.instances().idle > before.idle
    deploy_version!(name, 2, instances: {:warm, 4})
    FaultFootprint.assert_instances_back(before)
    send(idler, :stop)
  end

  defp deploy_version!(name, version, options) do
    # The version comes with the number of the deploy: both count from 1.
    assert {:ok, %{version: ^version}} = Tidepool.deploy(FaultVersion.module(version), [name: name] ++ options)
  end

  defp elixir_caller(name), do: fn -> Tidepool.call(name, "any") end

  defp http_caller(name) do
    fn ->
      # The socket belongs to the process that uses it, which is known on the first turn only.
      socket = Process.get(:socket) || FaultClient.connect()
      Process.put(:socket, socket)

      case FaultClient.call(socket, name, "any") do
        {200, reply} -> {:ok, reply}
        other -> other
      end
    end
  end

  defp turns(call, bounds, seen) do
    oldest = :atomics.get(bounds, 1)
    assert {:ok, reply} = call.()
    version = FaultVersion.of(reply)
    newest = :atomics.get(bounds, 2)
    assert version in oldest..newest

    # A client takes a breath between two calls, for otherwise eight of them leave no time to compile.
    receive do
      :stop -> seen
    after
      1 -> turns(call, bounds, MapSet.put(seen, version))
    end
  end
end
