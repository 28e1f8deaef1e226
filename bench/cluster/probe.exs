defmodule Bench.Probe do
  @moduledoc "What the nodes of the bench do and are asked about; runs in them."

  @doc "Settings of Tidepool, and nothing on standard output, which belongs to whoever drives the node."
  def configure(settings) do
    :ok = Application.load(:logger)
    Application.put_env(:logger, :backends, [])
    :ok = Application.load(:tidepool)
    Enum.each(settings, fn {key, value} -> Application.put_env(:tidepool, key, value) end)
  end

  @doc "Deploys, and returns the moment (system time in µs) at which that was answered, with the version."
  def deploy(wasm, options) do
    {:ok, function} = Tidepool.deploy(wasm, options)
    {System.os_time(:microsecond), function.version}
  end

  @doc "Waits until version `version` of `name` has answered a call here; returns that moment."
  def callable(name, version, payload) do
    with {:ok, %{version: found}} when found >= version <- Tidepool.fetch(name),
         {:ok, _reply} <- Tidepool.call(name, nil, payload) do
      System.os_time(:microsecond)
    else
      _not_yet -> pause(fn -> callable(name, version, payload) end)
    end
  end

  @doc "Waits until the function of this module gives `value`; returns that moment."
  def until(function, arguments, value) do
    if apply(__MODULE__, function, arguments) == value do
      System.os_time(:microsecond)
    else
      pause(fn -> until(function, arguments, value) end)
    end
  end

  @doc "Is there a link to this node?"
  def linked?(name), do: name in Node.list(:connected)

  @doc "Names of what is deployed here."
  def names, do: Enum.map(Tidepool.list(), & &1.name)

  @doc "Does an actor answer a call that is written?"
  def added?(class, name), do: match?({:ok, _sum}, Tidepool.Actor.call(class, name, "add", "1", timeout: 1_000))

  @doc "The node that has an actor."
  def owner(class, name) do
    {:ok, %{node: node}} = Tidepool.Actor.info(class, name)
    node
  end

  @doc "Has a node a share of the actors, when none moves and all have a node? `nil` before."
  def balanced(node) do
    report = Tidepool.Actor.placement()
    share = if report, do: Enum.find_value(report.nodes, 0, &(&1.name == node && &1.shards))
    nodes = if report, do: Enum.count(report.nodes, &(&1.shards > 0)), else: 0
    fair = div(Tidepool.Actor.Ownership.Shards.count(), max(nodes, 1)) * 0.8

    cond do
      report == nil or report.unowned > 0 or report.moving != nil -> nil
      share > 0 and Enum.any?(report.nodes, &(&1.shards > 0 and &1.shards < fair)) -> nil
      true -> share > 0
    end
  end

  @doc "Calls each of the actors 1 to `count` all the time, `apart_ms` after each answer, until `end_calls/0`."
  def begin_calls(class, count, apart_ms) do
    driver = fn ->
      callers = for actor <- 1..count, do: {actor, Task.async(fn -> calls(class, "#{actor}", apart_ms, []) end)}

      receive do
        {:end, from} ->
          for {_actor, task} <- callers, do: send(task.pid, :end)
          send(from, {:calls, for({actor, task} <- callers, do: {actor, Task.await(task, :infinity)})})
      end
    end

    true = Process.register(spawn(driver), __MODULE__)
    :ok
  end

  @doc "What became of them: `{actor, [{began_us, ended_us, :ok | reason}]}`, the latest first, by system time."
  def end_calls do
    send(__MODULE__, {:end, self()})
    receive(do: ({:calls, calls} -> calls))
  end

  defp calls(class, name, apart_ms, done) do
    began = System.os_time(:microsecond)

    outcome =
      case Tidepool.Actor.call(class, name, "add", "1", timeout: 20_000) do
        {:ok, _sum} -> :ok
        {:error, error} -> error.reason
      end

    done = [{began, System.os_time(:microsecond), outcome} | done]

    receive do
      :end -> done
    after
      apart_ms -> calls(class, name, apart_ms, done)
    end
  end

  @doc "Calls per second of `processes` processes here."
  def throughput(name, processes, ms) do
    Bench.throughput(fn -> Tidepool.call(name, "hello", "Ada") end, processes, ms)
  end

  @doc "Messages to another node and back, and calls of a function here, `count` of each in turns: two lists of ms."
  def round_trips(other, name, count) do
    Enum.unzip(for _ <- 1..count, do: round_trip(other, name))
  end

  @doc "The same, until `awaited` can be called here."
  def round_trips_until(other, name, awaited), do: round_trips_until(other, name, awaited, [])

  defp round_trips_until(other, name, awaited, times) do
    times = [round_trip(other, name) | times]
    # A breath between two, for otherwise they are the load.
    if match?({:ok, _}, Tidepool.fetch(awaited)),
      do: Enum.unzip(times),
      else: pause(fn -> round_trips_until(other, name, awaited, times) end)
  end

  defp round_trip(other, name) do
    link = timed(fn -> ^other = :erpc.call(other, :erlang, :node, []) end)
    {link, timed(fn -> {:ok, _reply} = Tidepool.call(name, "hello", "Ada") end)}
  end

  defp timed(fun) do
    began = System.monotonic_time(:microsecond)
    fun.()
    (System.monotonic_time(:microsecond) - began) / 1_000
  end

  defp pause(next) do
    receive do
    after
      1 -> next.()
    end
  end
end
