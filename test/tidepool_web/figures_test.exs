defmodule TidepoolWeb.FiguresTest do
  # GET /figures: what calls come to, and since when.
  use Tidepool.Case, async: true

  alias TidepoolWeb.Figures

  doctest TidepoolWeb.Figures

  # A history of the test's own, whose ticks it makes itself.
  defp start!, do: start_supervised!(%{id: make_ref(), start: {GenServer, :start_link, [Figures, nil]}})

  defp tick(figures, count \\ 1) do
    for _tick <- 1..count, do: send(figures, :tick)
    :sys.get_state(figures)
  end

  test "each call is counted when it has ended, by how, and shows in the next tick" do
    name = deploy!("rust", "hello_world")
    figures = start!()
    for _call <- 1..3, do: {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    {:error, _error} = Tidepool.call(name, "fail")

    assert %{calls: 4, errors: 1, per_s: 0.0, ticks: [], p50_us: nil} = Figures.all(figures)[name]
    tick(figures)

    assert %{calls: 4, errors: 1, per_s: 0.4, failing: 0.25, p50_us: p50, p99_us: p99, ticks: ticks} =
             Figures.all(figures)[name]

    assert p50 > 0 and p99 >= p50
    assert {29, [4]} = {length(ticks) - 1, Enum.take(ticks, -1)}

    assert %{reasons: %{"ok" => 3, "guest_error" => 1, "trap" => 0}, history: [sample]} = Figures.one(figures, name)
    assert %{ticks_ago: 0, calls: 4, errors: 1, latencies: latencies} = sample
    assert latencies |> Enum.map(&List.last/1) |> Enum.sum() == 4
  end

  test "history is kept for ten minutes, and rates are of late" do
    name = deploy!("rust", "hello_world")
    figures = start!()
    {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    tick(figures, 10)
    assert %{calls: 1, per_s: 0.0, p50_us: p50} = Figures.all(figures)[name]
    assert p50
    tick(figures, 100)
    assert %{calls: 1, p50_us: nil, ticks: []} = Figures.all(figures)[name]
    assert %{history: [%{ticks_ago: 109}]} = Figures.one(figures, name)
    tick(figures, 200)
    assert %{calls: 1, history: []} = Figures.one(figures, name)
    refute is_map_key(:sys.get_state(figures).samples, name)
  end

  test "a function that is deployed anew begins with none, and one that nobody calls has no history" do
    name = unique_name("anew")
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
    figures = start!()
    for _call <- 1..3, do: {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    tick(figures)
    :ok = Tidepool.remove(name)
    {:ok, _function} = Tidepool.deploy(guest("rust", "upper"), name: name)
    on_exit(fn -> Tidepool.remove(name) end)
    quiet = deploy!("rust", "upper")
    {:ok, _reply} = Tidepool.call(name, nil, "a")
    tick(figures)
    refute is_map_key(:sys.get_state(figures).samples, quiet)
    assert [{_tick, calls, 0, _cpu_us, _latencies} | _before] = :sys.get_state(figures).samples[name]
    assert calls >= 1
  end

  test "over HTTP it is all functions by name, or one with its history" do
    name = deploy!("rust", "hello_world")
    for _call <- 1..5, do: assert({200, _headers, _reply} = curl("/call/#{name}/hello"))
    assert {200, _headers, %{"tick_ms" => 2_000, "functions" => functions}} = curl("/figures")
    assert %{"calls" => 5, "errors" => 0, "version" => 1} = Enum.find(functions, &(&1["name"] == name))
    names = Enum.map(functions, & &1["name"])
    assert names == Enum.sort(names)

    assert {200, _headers, one} = curl("/figures/#{name}")
    assert %{"name" => ^name, "calls" => 5, "reasons" => %{"ok" => 5}, "kept_ticks" => 300, "bounds_us" => bounds} = one
    assert bounds == Enum.sort(bounds)
    assert {404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = curl("/figures/nobody")
  end

  test "docs/http.md names every figure" do
    name = deploy!("rust", "hello_world")
    {200, _headers, one} = curl("/figures/#{name}")
    text = File.read!("docs/http.md")
    for member <- Map.keys(one), do: assert(text =~ "`#{member}`", member)
  end
end
