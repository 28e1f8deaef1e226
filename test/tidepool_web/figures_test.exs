defmodule TidepoolWeb.FiguresTest do
  # GET /figures: what calls come to, and since when.
  use Tidepool.Case, async: true

  alias Tidepool.{Instance, Native}
  alias TidepoolWeb.Figures

  doctest TidepoolWeb.Figures
  doctest TidepoolWeb.Figures.Minutes

  # A history of the test's own, whose ticks it makes itself.
  defp start!, do: start_supervised!(%{id: make_ref(), start: {GenServer, :start_link, [Figures, :infinity]}})

  defp tick(figures, count \\ 1) do
    for _tick <- 1..count, do: send(figures, :tick)
    :sys.get_state(figures, :infinity)
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

  test "the list is made once for all who ask within half a second, and has what one who sees some functions is told of these" do
    name = deploy!("rust", "hello_world")
    figures = start!()
    {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    tick(figures)

    told = fn ->
      {:ok, %{"tick_ms" => 2_000, "functions" => functions}} = figures |> Figures.text() |> Native.json_decode()
      Enum.find(functions, &(&1["name"] == name))
    end

    assert %{"calls" => 1, "per_s" => 0.1, "version" => 1} = told.()
    # A call is no reason to make it anew: nobody is told of each at once, and everybody soon.
    same? = fn _time ->
      before = Figures.text(figures)
      {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
      Figures.text(figures) == before
    end

    assert Enum.any?(1..20, same?)
    [%{calls: calls}] = for %{name: ^name} = one <- Figures.listed(figures, &(&1 == name)), do: one
    eventually(fn -> told.()["calls"] == calls end)
    [one] = for %{name: ^name} = one <- Figures.listed(figures, &(&1 == name)), do: one
    assert {:ok, told.()} == one |> Native.json_encode() |> Native.json_decode()
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

  test "minutes are kept for six hours, each the sum of its ticks, within 100 KB of a function with all else" do
    name = deploy!("rust", "hello_world")
    figures = start!()
    for _call <- 1..2, do: {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    tick(figures, 3)
    {:error, _error} = Tidepool.call(name, "fail")
    assert %{minutes: [], kept_minutes: 360} = Figures.one(figures, name)
    tick(figures, 27)
    assert %{minutes: [%{minutes_ago: 0, calls: 3, errors: 1, latencies: latencies}]} = Figures.one(figures, name)
    assert latencies |> Enum.map(&List.last/1) |> Enum.sum() == 3
    # A minute without calls is none.
    tick(figures, 30)
    assert %{minutes: [%{minutes_ago: 1}]} = Figures.one(figures, name)
    # Of the six hours but the last minute and the one after it are gone through.
    :sys.replace_state(figures, &%{&1 | tick: 30 * 359})
    tick(figures, 30)
    assert %{minutes: [%{minutes_ago: 359}]} = Figures.one(figures, name)
    tick(figures, 30)
    assert %{minutes: []} = Figures.one(figures, name)
  end

  test "of more functions than are kept those that were called last have minutes, of 100 KB each at most with their ticks" do
    sample = fn at ->
      {at, 1_000_000, 1_000, 10_000_000, Figures.Minutes.pack(for bucket <- 40..55, do: {bucket, 62_500})}
    end

    samples = fn minute -> for tick <- (minute * 30)..(minute * 30 - 299)//-1, do: sample.(tick) end

    minutes =
      for minute <- 1..400, reduce: %{} do
        minutes -> Figures.Minutes.add(minutes, %{"busy" => samples.(minute)}, minute, minute * 30 - 30, 500)
      end

    assert length(minutes["busy"]) == 360
    bytes = :erts_debug.flat_size({minutes["busy"], samples.(400)}) * :erlang.system_info(:wordsize)
    assert bytes <= 100_000
    others = for number <- 1..600, into: %{}, do: {"f#{number}", [sample.(401 * 30)]}
    minutes = Figures.Minutes.add(minutes, others, 401, 400 * 30, 500)
    assert map_size(minutes) == 500
    refute is_map_key(minutes, "busy")
  end

  test "who sees some functions alone is told of these in each tick, and of no tick twice" do
    [mine, _other] = for _ <- 1..2, do: deploy!("rust", "hello_world")
    figures = start!()
    sees? = &(&1 == mine)
    assert {0, [piece]} = Figures.pieces_of(figures, -1, sees?)
    assert {:ok, %{"functions" => [%{"name" => ^mine}]}} = Tidepool.Native.json_decode(piece)
    assert {0, []} = Figures.pieces_of(figures, 0, sees?)
    tick(figures)
    assert {1, [_piece]} = Figures.pieces_of(figures, 0, sees?)
    assert {1, []} = Figures.pieces_of(figures, 0, fn _name -> false end)
  end

  test "latencies are told apart by eighths of an octave, however fast calls are" do
    name = deploy!("rust", "hello_world", instances: {:warm, 1})
    figures = start!()
    for _call <- 1..50, do: {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    tick(figures)
    assert %{bounds_us: bounds, history: [%{latencies: latencies}]} = Figures.one(figures, name)
    assert {0.576, 200} = {hd(bounds), length(bounds)}
    for {lower, upper} <- Enum.zip(bounds, tl(bounds)), do: assert(upper / lower < 1.126)
    assert latencies |> Enum.map(&List.last/1) |> Enum.sum() == 50
  end

  test "each of the last ten versions has figures of its own, and the function those of all" do
    name = unique_name("versions")
    on_exit(fn -> Tidepool.remove(name) end)

    for version <- 1..12 do
      {:ok, %{version: ^version}} = Tidepool.deploy(guest("rust", "hello_world"), name: name, description: "#{version}")
      for _call <- 1..version, do: {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
      {:error, _error} = Tidepool.call(name, "fail")
    end

    assert %{calls: 90, errors: 12, versions: [newest | _others] = versions} = Figures.one(name)
    assert for(of <- versions, do: {of.version, of.calls, of.errors}) == for(v <- 12..3//-1, do: {v, v + 1, 1})
    assert %{reasons: %{"ok" => 12, "guest_error" => 1}, cpu_us: _cpu_us, latency_us: latency_us} = newest
    assert newest.p50_us <= newest.p99_us and latency_us > 0
    assert {200, _headers, %{"versions" => [%{"version" => 12} | _others]}} = curl("/figures/#{name}")
  end

  test "of versions that somebody still has the last ten are told, and the function has the figures of all" do
    name = unique_name("held")
    on_exit(fn -> Tidepool.remove(name) end)

    instances =
      for version <- 1..14 do
        options = [name: name, description: "#{version}"]
        {:ok, %{version: ^version}} = Tidepool.deploy(guest("rust", "hello_world"), options)
        {:ok, instance} = Instance.start_link(name)
        {:ok, _reply} = Instance.call(instance, "hello", "Ada")
        instance
      end

    assert %{calls: 14, live: live, versions: versions} = Figures.one(name)
    assert for(of <- versions, do: {of.version, of.calls}) == for(version <- 14..5//-1, do: {version, 1})
    assert Enum.all?(versions, &(&1.live >= 1)) and live >= 14

    for instance <- instances, do: GenServer.stop(instance)
    eventually(fn -> Figures.one(name).live <= live - 14 end, 20_000)
    assert %{calls: 14} = Figures.one(name)
  end

  test "live instances and their memory are those of now, of the function and of the version that they are of" do
    name = deploy!("rust", "hello_world", instances: {:warm, 2})
    {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    assert %{live: 1, idle: 1, memory: memory, versions: [%{live: 1, memory: memory}]} = Figures.one(name)
    assert memory > 0 and rem(memory, 65_536) == 0

    # That of version 2 waits in a host call; the idle one of version 1 goes when the VM has no reference to it any more.
    handle!({"host", name, "wait"}, self())
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name, instances: :fresh)
    call = Task.async(fn -> Tidepool.call(name, "host", "host/#{name}/wait\n") end)

    now = fn ->
      for %{version: version, live: live, memory: memory} <- Figures.one(name).versions, do: {version, live, memory}
    end

    eventually(fn -> match?([{2, 1, _memory}, {1, _live, _rest}], now.()) end, 20_000)
    Task.shutdown(call, :brutal_kill)
    eventually(fn -> match?([{2, 0, 0}, {1, _live, _rest}], now.()) end, 20_000)
    assert %{live: live, versions: versions} = Figures.one(name)
    assert live == versions |> Enum.map(& &1.live) |> Enum.sum()
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
