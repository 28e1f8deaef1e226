# Measures: calls in fresh instances, with and without the snapshot of the deploy, on one core and on all, on both engines
Code.require_file("support.exs", __DIR__)

defmodule Bench.Fresh do
  @moduledoc """
  Calls in fresh instances: with and without the snapshot that the deploy takes, on one core and on all, and on both
  engines for guests that grow their memory in each call.
  """

  # Guest, and the most µs that a call may take.
  @guests [
    {"go/hello_world", 60},
    {"assemblyscript/hello_world", 6},
    {"rust/hello_world_crate", 6},
    {"zig/hello_world", 10},
    {"rust/hello_world", 10}
  ]

  # They don't allocate before their first call, so no snapshot has the memory that they need.
  @growing ["zig/hello_world", "rust/hello_world"]

  def run(smoke?) do
    Bench.start!()
    scale = if smoke?, do: 1, else: 20

    for {guest, _most} <- @guests, snapshot <- [true, false] do
      Bench.deploy!(name(guest, snapshot), guest, snapshot: snapshot)
    end

    for guest <- @growing, do: Bench.deploy!(dense(guest), guest, engine: :dense)

    Bench.report("fresh", calls(scale) ++ cores(scale) ++ engines(scale))
  end

  defp calls(scale) do
    subjects = for {guest, _most} <- @guests, snapshot <- [true, false], do: {{guest, snapshot}, call(guest, snapshot)}
    medians = Bench.side_by_side(subjects, 10 * scale, 200)

    Enum.flat_map(@guests, fn {guest, most} ->
      with_it = medians[{guest, true}] / 1_000
      without = medians[{guest, false}] / 1_000

      [
        {"#{guest}, fresh call, median", with_it, "µs", {:at_most, most}},
        {"#{guest}, without snapshot", without, "µs", nil},
        {"#{guest}, without / with", without / with_it, "×", nil}
      ]
    end)
  end

  defp cores(scale) do
    for guest <- ["assemblyscript/hello_world", "rust/hello_world_crate", "go/hello_world"], reduce: [] do
      rows ->
        call = call(guest, true)

        # In turns, so that both meet the same machine.
        rates = for _round <- 1..5, do: {Bench.throughput(call, 1, 20 * scale), Bench.throughput(call, 64, 20 * scale)}
        one = Bench.percentile(Enum.map(rates, &elem(&1, 0)), 50)
        ratio = Bench.percentile(Enum.map(rates, fn {one, many} -> many / one end), 50)
        target = if System.schedulers_online() == 2, do: {:at_least, 1.7}

        rows ++
          [
            {"#{guest}, fresh calls/s, 1 process", one, "/s", nil},
            {"#{guest}, 64 processes / 1 process", ratio, "×", target}
          ]
    end
  end

  defp engines(scale) do
    Enum.flat_map(@growing, fn guest ->
      calls = [fast: call(guest, true), dense: call(dense(guest))]
      medians = Bench.side_by_side(calls, 10 * scale, 200)

      rates =
        for(_round <- 1..5, {engine, call} <- calls, do: {engine, Bench.throughput(call, 64, 20 * scale)})
        |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
        |> Map.new(fn {engine, rates} -> {engine, Bench.percentile(rates, 50)} end)

      [
        {"#{guest}, dense engine", medians.dense / 1_000, "µs", nil},
        {"#{guest}, fast / dense", medians.fast / medians.dense, "×", nil},
        {"#{guest}, 64 processes", rates.fast, "/s", nil},
        {"#{guest}, 64 processes, dense engine", rates.dense, "/s", nil}
      ]
    end)
  end

  defp call(guest, snapshot), do: call(name(guest, snapshot))

  defp call(name), do: fn -> {:ok, _reply} = Tidepool.call(name, "hello", "Ada") end

  defp dense(guest), do: name(guest, true) <> ".dense"

  defp name(guest, snapshot), do: String.replace(guest, "/", ".") <> if(snapshot, do: "", else: ".plain")
end

Bench.Fresh.run(Bench.smoke?())
