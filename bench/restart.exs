# Measures: how long a node with 100 functions takes to start again, with compiled code on disk and without
Code.require_file("support.exs", __DIR__)

defmodule Bench.Restart do
  @moduledoc """
  How long the application takes to start again with 100 functions deployed, until all of them can be called, with
  compiled code kept on disk and without.

  The functions are real guests; a custom section makes each one's module distinct, so that nothing is shared. Without
  the cache fewer of them do, and the figure is scaled.
  """

  @guests ~w(rust/hello_world assemblyscript/hello_world zig/hello_world rust/hello_world_crate rust/redis_concat
             rust/counter rust/upper c/upper rust/surroundings)
  # One in so many is Go's, of 1.9 MB.
  @large 20
  @cache 1_073_741_824

  def run(smoke?) do
    Bench.start!()
    {count, without} = if smoke?, do: {10, 10}, else: {100, @large}
    deploy(1..without)
    settle(without)
    cold = [restart(0) * count / without]
    restart(@cache)
    deploy((without + 1)..count//1)
    settle(count)
    warm = for _ <- 1..if(smoke?, do: 1, else: 5), do: restart(@cache)
    [cold, warm] = for times <- [cold, warm], do: Bench.percentile(times, 50)
    bytes = cached() |> Enum.map(&File.stat!(&1).size) |> Enum.sum()

    Bench.report("restart", [
      {"restart with #{count} functions, compiled code on disk", warm, "ms", {:at_most, 1_000}},
      {"the same without (from #{without} functions)", cold, "ms", nil},
      {"without / with", cold / warm, "×", nil},
      {"compiled code of #{count} functions", bytes / 1_000_000, "MB", nil}
    ])
  end

  # From the start of the application to the last function's first answer.
  defp restart(cache) do
    :ok = Application.stop(:tidepool)
    Application.put_env(:tidepool, :compile_cache, cache)
    began = System.monotonic_time(:microsecond)
    {:ok, _started} = Application.ensure_all_started(:tidepool)

    for %{name: name} = function <- Tidepool.list() do
      operation = if function.abi == :wapc, do: "hello", else: name
      Tidepool.call(name, operation, "Ada")
    end

    (System.monotonic_time(:microsecond) - began) / 1_000
  end

  defp deploy(numbers) do
    for number <- numbers do
      large? = rem(number, @large) == 0
      guest = if large?, do: "go/hello_world", else: Enum.at(@guests, rem(number, length(@guests)))
      wasm = File.read!("guests/build/#{guest}.wasm") <> <<0, 9, 0, number::64>>
      {:ok, _function} = Tidepool.deploy(wasm, name: "function_#{number}")
    end
  end

  # Code is kept after the deploy has been answered.
  defp settle(count) do
    if length(cached()) < count do
      Process.sleep(10)
      settle(count)
    end
  end

  defp cached,
    do: Path.wildcard(Path.join([Tidepool.Catalog.Store.folder(Tidepool.Config.get(:data)), "compiled", "*-*"]))
end

Bench.Restart.run(Bench.smoke?())
