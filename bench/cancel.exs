# Measures: how soon the instance of a call is gone that is cancelled
#
# That is: its caller killed, its time over, its client hung up, its node drained; while its guest computes, waits for the host,
# and sleeps. And what a removal does, which cancels nothing.
Code.require_file("support.exs", __DIR__)

defmodule Bench.Cancel do
  @moduledoc "How soon calls that are cancelled are gone, and what becomes of calls whose function is removed."

  alias Tidepool.{Engine, Error}
  alias TidepoolWeb.Listener

  @limits [time: 600_000, cpu_time: 600_000]

  # What the guest is doing: {how it is told, its function, operation and payload}.
  @states [
    {"computes", "loop", "x", ""},
    {"waits for the host", "parked", "x", ""},
    {"sleeps", "sleepy", "sleep", "60000"}
  ]

  # Requests in flight when their time is over, in ms from the beginning of the drain.
  @drain_ms 40
  @time_ms 20

  # Of a function that is removed.
  @idle 50
  @in_flight 5

  def run(smoke?) do
    Application.put_env(:tidepool, :drain, @drain_ms)
    Application.put_env(:tidepool, :lame_duck, div(@drain_ms, 2))
    Bench.start!(server: true)
    # Each drain tells that it cut a request.
    Logger.configure(level: :error)
    never = spawn(fn -> Process.sleep(:infinity) end)
    Tidepool.Host.register({"host", "test", "park"}, never)
    parent = self()

    Tidepool.Host.register({"host", "test", "wait"}, fn _call ->
      send(parent, {:waits, self()})
      receive(do: (:go -> {:ok, "gone on"}))
    end)

    Bench.deploy!("loop", "wat/loop", limits: @limits)
    Bench.deploy!("parked", "wat/parked", limits: @limits)
    Bench.deploy!("sleepy", "rust/sleepy", limits: @limits)
    rounds = if smoke?, do: 8, else: 200
    loops = 10 * System.schedulers_online()

    cancelled =
      for {how, cancel, share} <- [
            {"killed", &kill/1, 1},
            {"its time over", &time_out/1, 1},
            {"its client hung up", &hang_up/1, 1},
            {"its node's drain over", &drain/1, 4}
          ],
          {doing, function, operation, payload} <- @states do
        {"#{how} while its guest #{doing}",
         for(_ <- 1..div(rounds, share)//1, do: cancel.({function, operation, payload}))}
      end

    loops =
      {"its time over, one of #{loops} loops", for(_ <- 1..div(rounds, 4)//1, late <- time_out_all(loops), do: late)}

    rows =
      for {what, times} <- cancelled ++ [loops], percent <- [50, 99] do
        target = if percent == 99, do: {:at_most, 2}
        {"gone after: #{what}, p#{percent}", ms(Bench.percentile(times, percent)), "ms", target}
      end

    Bench.report("cancel", rows ++ removal(rounds))
  end

  defp kill({function, operation, payload}) do
    pid = spawn(fn -> Tidepool.call(function, operation, payload) end)
    under_way()
    began = now()
    Process.exit(pid, :kill)
    gone(began)
  end

  defp time_out({function, operation, payload}) do
    # Somewhere in a millisecond, which is what the VM's timers count.
    spin_until(now() + :rand.uniform(1_000_000))
    due = now() + @time_ms * 1_000_000
    {:error, %Error{reason: :timeout}} = Tidepool.call(function, operation, payload, timeout: @time_ms)
    gone(due)
  end

  # Their starts are as far apart as their first slices are long, and so are their ends.
  defp time_out_all(loops) do
    tasks =
      for _ <- 1..loops do
        Task.async(fn ->
          due = now() + 50_000_000
          {:error, %Error{reason: :timeout}} = Tidepool.call("loop", "x", "", timeout: 50)
          now() - due
        end)
      end

    late = Task.await_many(tasks, :infinity)
    gone(0)
    late
  end

  defp hang_up(call) do
    socket = request(call)
    under_way()
    began = now()
    :gen_tcp.close(socket)
    gone(began)
  end

  # From the end of the time that requests in flight are given.
  defp drain(call) do
    socket = request(call)
    under_way()
    due = now() + @drain_ms * 1_000_000
    draining = Task.async(fn -> Supervisor.terminate_child(TidepoolWeb.Supervisor, Listener) end)
    late = gone(due)
    :ok = Task.await(draining, :infinity)
    :gen_tcp.close(socket)
    {:ok, _listener} = Supervisor.restart_child(TidepoolWeb.Supervisor, Listener)
    late
  end

  defp request({function, operation, payload}) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Listener.port(), [:binary, active: false])

    :ok =
      :gen_tcp.send(socket, "GET /call/#{function}/#{operation}?payload=#{payload} HTTP/1.1\r\nhost: localhost\r\n\r\n")

    socket
  end

  # A removal lets calls in flight finish on what they have; idle instances go at once, and those of the calls as these end.
  defp removal(rounds) do
    results = for _ <- 1..div(rounds, 8)//1, do: remove(@idle, @in_flight)
    idle = for {idle, _ended, _answered} <- results, do: idle
    ended = for {_idle, ended, _answered} <- results, do: ended
    answered = Enum.sum(for {_idle, _ended, answered} <- results, do: answered)

    for {what, times} <- [
          {"removed, its #{@idle} idle instances, from when it can't be called", idle},
          {"removed, its calls in flight, from when the last is answered", ended}
        ],
        percent <- [50, 99] do
      target = if percent == 99, do: {:at_most, 2}
      {"gone after: #{what}, p#{percent}", ms(Bench.percentile(times, percent)), "ms", target}
    end ++
      [
        {"calls in flight at a removal", length(results) * @in_flight, "", nil},
        {"… answered all the same", answered, "", {:at_least, length(results) * @in_flight}}
      ]
  end

  defp remove(idle, in_flight) do
    Bench.deploy!("removed", "rust/hello_world", instances: {:warm, idle}, limits: @limits)
    release(parked(idle + in_flight))
    calls = parked(in_flight)
    removal = Task.async(fn -> :ok = Tidepool.remove("removed") end)
    Bench.await(fn -> match?({:error, %Error{reason: :not_deployed}}, Tidepool.call("removed", "hello")) end)
    refused = now()
    Bench.await(fn -> Engine.instances().idle == 0 end)
    idle_gone = now() - refused
    :ok = Task.await(removal, :infinity)
    answered = release(calls)
    {idle_gone, gone(now()), answered}
  end

  # Calls whose handlers wait to be told to go on.
  defp parked(count) do
    tasks = for _ <- 1..count, do: Task.async(fn -> Tidepool.call("removed", "host", "host/test/wait\n") end)
    for %{pid: pid} <- tasks, do: receive(do: ({:waits, ^pid} -> :ok))
    tasks
  end

  # How many were answered.
  defp release(tasks) do
    for %{pid: pid} <- tasks, do: send(pid, :go)
    tasks |> Task.await_many(:infinity) |> Enum.count(&(&1 == {:ok, "gone on"}))
  end

  defp under_way do
    Bench.await(fn -> busy() == 1 end)
    # Past its first slice, and with whoever is to drive it.
    Process.sleep(5)
  end

  # How long after `since`, in ns.
  defp gone(since) do
    Bench.await(fn -> busy() == 0 end)
    now() - since
  end

  defp spin_until(time), do: if(now() < time, do: spin_until(time))

  defp busy, do: Engine.instances().live - Engine.instances().idle
  defp now, do: System.monotonic_time(:nanosecond)
  defp ms(ns), do: ns / 1_000_000
end

Bench.Cancel.run(Bench.smoke?())
