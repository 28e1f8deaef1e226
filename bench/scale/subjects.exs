defmodule Bench.Scale.Subjects do
  @moduledoc "What the VMs of the bench call, by name; runs in them."

  @guest "assemblyscript/hello_world"
  @functions [{"warm", [instances: {:warm, 100}]}, {"fresh", []}, {"dense", [engine: :dense]}]

  @doc "Starts Tidepool with these settings; nothing is printed, for standard output belongs to whoever drives the VM."
  def boot(settings) do
    :ok = Application.load(:logger)
    Application.put_env(:logger, :backends, [])
    :ok = Application.load(:tidepool)
    Enum.each(settings, fn {key, value} -> Application.put_env(:tidepool, key, value) end)
    Application.ensure_all_started(:tidepool)
  end

  @doc "Deploys all of them here."
  def deploy do
    for {name, options} <- @functions, do: Bench.deploy!(name, @guest, [operation: "hello"] ++ options)
    :ok
  end

  @doc "One call of a subject."
  def call("computing"), do: fn -> compute(2_000, 1) end
  def call(name), do: fn -> {:ok, "Hello, Ada!"} = Tidepool.call(name, "hello", "Ada") end

  defp compute(0, value), do: value
  defp compute(left, value), do: compute(left - 1, rem(value * 75 + 74, 65_537))

  @doc "Calls of a subject per second, by so many processes, and what a call takes of all threads' CPU time, in µs."
  def throughput(name, processes, duration_ms) do
    {before_ms, _since} = :erlang.statistics(:runtime)
    began = System.monotonic_time(:microsecond)
    rate = Bench.throughput(call(name), processes, duration_ms)
    seconds = (System.monotonic_time(:microsecond) - began) / 1_000_000
    {after_ms, _since} = :erlang.statistics(:runtime)
    %{rate: rate, cpu_us: (after_ms - before_ms) * 1_000 / (rate * seconds)}
  end

  @doc "Deploys so many functions, each of a module of its own: real ones have nothing in common either."
  def deploy_many(count) do
    # A small one, for they are many. A custom section makes them differ.
    wasm = File.read!("guests/build/wat/returns_1_silent.wasm")

    1..count
    |> Task.async_stream(&Tidepool.deploy!(wasm <> <<0, 9, 0, &1::64>>, name: "function_#{&1}"), timeout: :infinity)
    |> Stream.run()
  end

  @doc "Calls every function that there is."
  def call_each do
    for %{name: name} <- Tidepool.list(), do: {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    :ok
  end

  @doc "Calls all functions in turns for a while, from so many processes: each scheduler has its share of that."
  def call_all(processes, duration_ms) do
    names = Tidepool.list() |> Enum.map(& &1.name) |> List.to_tuple()
    any = fn -> {:ok, _reply} = Tidepool.call(elem(names, :rand.uniform(tuple_size(names)) - 1), "hello", "Ada") end
    Bench.throughput(any, processes, duration_ms)
  end
end
