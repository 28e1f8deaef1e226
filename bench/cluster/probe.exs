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
