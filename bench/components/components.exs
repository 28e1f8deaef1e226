# Measures: components, plain modules and plug-ins beside other hosts of them: wasmtime's own server, a bare loop, Extism's runtime
# Needs: wrk, curl
# Builds: -p tidepool_core -p tidepool_http -p tidepool_nif --example bare --example bare_client --example bare_component
# bench/all runs it with: --brief
#
# With TIDEPOOL_LONG set it builds what it is held against and is not there, in some minutes, once: wasmtime's command line and
# Extism's runtime. Rows of what is not there are left out, and the bench says which; so are JavaScript and Python where these guests
# have not been built (TIDEPOOL_LONG=1 bin/guests).
for file <- ["../support.exs", "peers.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Components do
  @moduledoc """
  Each row is a ratio of medians, or of 99th percentiles, of what takes turns with its peer in the same run.
  """

  alias Bench.Peers

  @connections 64
  @serve ["serve", "-S", "cli=y"]
  @resident ["-O", "pooling-memory-keep-resident=65536,pooling-table-keep-resident=65536"]
  @reusing ["--max-instance-reuse-count", "1000000"]
  @gib 1_073_741_824
  @kib64 :binary.copy("x", 65_536)
  @add {"docs:adder/add@0.1.0", :add}
  @bytes {"docs:adder/add@0.1.0", :bytes}
  @local ["tcp:connect:127.0.0.1:*"]
  # What one more get takes is told by a call that has so many more.
  @gets 8

  # How often things are measured: over HTTP, in µs, of a large body, and of an upload.
  @scales %{
    smoke: %{serve: 1, calls: 1, echo: 1, bytes: div(@gib, 64), uploads: 1},
    brief: %{serve: 3, calls: 10, echo: 1, bytes: @gib, uploads: 1},
    whole: %{serve: 7, calls: 20, echo: 5, bytes: @gib, uploads: 3}
  }

  def run(switches) do
    scale = @scales[Enum.find([:smoke, :brief], :whole, &switches[&1])]
    Application.put_env(:tidepool, :max_payload, 2 * @gib)
    Application.put_env(:tidepool, :keyvalue, :actors)
    Bench.start!(server: true)
    Bench.deploy!("wapc", "rust/hello_world", instances: {:warm, 100})
    Bench.deploy!("calc", "component/calc", instances: {:warm, 100})
    Bench.deploy!("calc_fresh", "component/calc")
    Bench.deploy!("plain", "rust/calc", instances: {:warm, 100})
    Bench.deploy!("plugin", "rust/vowels", instances: {:warm, 100}, net: @local)

    rows =
      serve(scale.serve) ++
        loop(scale.calls) ++
        kinds(scale.calls) ++
        plugin(scale.calls) ++
        outgoing(scale.calls) ++ keyvalue(scale.calls) ++ echo(scale.echo, scale.bytes) ++ uploads(scale.uploads)

    Bench.report("components", rows)
  end

  # One constant over HTTP, under wrk with 64 connections on the same cores.
  defp serve(rounds) do
    Bench.deploy!("http_fresh", "rust/http", limits: [time: 60_000])
    Bench.deploy!("http_warm", "rust/http", instances: {:warm, 100}, limits: [time: 60_000])

    Peers.with_wasmtime(fn wasmtime ->
      guest = Path.expand("guests/build/rust/http.wasm")
      {bare, bare_port} = Peers.bare()

      servers =
        for {name, options} <- [default: [], resident: @resident, reusing: @resident ++ @reusing],
            do: {name, Peers.serve(wasmtime, @serve ++ options, guest)}

      ours =
        for name <- ["http_fresh", "http_warm"],
            do: {name, "http://127.0.0.1:#{TidepoolWeb.Listener.port()}/call/#{name}/hello"}

      theirs = for {name, {_server, port}} <- servers, do: {name, "http://127.0.0.1:#{port}/hello"}
      subjects = [{:bare, "http://127.0.0.1:#{bare_port}/"} | ours ++ theirs]
      for {_name, url} <- subjects, do: Bench.wrk(url, @connections, 1)
      runs = for _round <- 1..rounds, {name, url} <- subjects, do: {name, Bench.wrk(url, @connections, 1)}
      for {_name, {server, _port}} <- servers, do: Port.close(server)
      Port.close(bare)
      served(runs)
    end)
  end

  defp served(runs) do
    by_name = Enum.group_by(runs, &elem(&1, 0), &elem(&1, 1))
    of = fn name, figure -> by_name[name] |> Enum.map(&Map.fetch!(&1, figure)) |> Bench.percentile(50) end

    rates =
      for {name, label} <- [
            {:bare, "bare hyper, a constant"},
            {"http_fresh", "Rust hello over HTTP, fresh"},
            {"http_warm", "Rust hello over HTTP, warm"},
            {:default, "wasmtime serve"},
            {:resident, "wasmtime serve, pool kept resident"},
            {:reusing, "wasmtime serve, that and instances reused"}
          ],
          do: {label, of.(name, :rate), "/s", nil}

    ratios =
      for {ours, theirs, label, aim} <- [
            {"http_fresh", :default, "fresh / wasmtime serve", 4},
            {"http_fresh", :resident, "fresh / wasmtime serve, pool kept resident", 3},
            {"http_warm", :reusing, "warm / wasmtime serve, instances reused", 1.2}
          ],
          row <- [
            {label, of.(ours, :rate) / of.(theirs, :rate), "×", {:at_least, aim}},
            {label <> ", p99 of latency", of.(ours, :p99_us) / of.(theirs, :p99_us), "×", nil}
          ],
          do: row

    rates ++ ratios
  end

  # Calls from Elixir beside a loop in Rust that does nothing else.
  defp loop(scale) do
    peer = Peers.program("examples/bare_component", [Path.expand("guests/build/component/calc.wasm")])

    subjects = [
      {"typed add, warm", fn -> Tidepool.call("calc", @add, [1, 2]) end},
      {"typed add, fresh", fn -> Tidepool.call("calc_fresh", @add, [1, 2]) end},
      {"bare loop, warm", {peer, "warm"}},
      {"bare loop, warm, by values", {peer, "warm-values"}},
      {"bare loop, fresh", {peer, "fresh"}}
    ]

    figures = Peers.side_by_side(subjects, 10 * scale, 500)
    Port.close(peer)

    Peers.figures(subjects, figures) ++
      Peers.ratios(figures, [
        {"typed add, warm", "bare loop, warm", {:at_most, 1.25}},
        {"typed add, warm", "bare loop, warm, by values", nil},
        {"typed add, fresh", "bare loop, fresh", {:at_most, 1.25}}
      ])
  end

  # One kind of guest beside another; what takes little apart from what leaves much behind.
  defp kinds(scale) do
    small = [
      {"waPC hello, warm", fn -> Tidepool.call("wapc", "hello", "Ada") end},
      {"typed add", fn -> Tidepool.call("calc", @add, [1, 2]) end},
      {"plain add", fn -> Tidepool.call("plain", :add, [1, 2]) end}
    ]

    large = [
      {"waPC echo of 64 KiB", fn -> Tidepool.call("wapc", "echo", @kib64) end},
      {"typed echo of 64 KiB", fn -> Tidepool.call("calc", @bytes, [@kib64]) end}
    ]

    compared(small, scale, [
      {"typed add", "waPC hello, warm", {:at_most, 1.5}},
      {"plain add", "waPC hello, warm", {:at_most, 1.1}}
    ]) ++ compared(large, scale, [{"typed echo of 64 KiB", "waPC echo of 64 KiB", {:at_most, 2}}])
  end

  defp compared(subjects, scale, pairs, calls \\ 200) do
    figures = Peers.side_by_side(subjects, 10 * scale, calls)
    Peers.figures(subjects, figures) ++ Peers.ratios(figures, pairs)
  end

  defp plugin(scale) do
    Peers.with_extism(Path.expand("guests/build/rust/vowels.wasm"), fn peer ->
      rows =
        for {bytes, aim} <- [{64, {:at_least, 2}}, {65_536, {:at_least, 1}}],
            row <- echoes(peer, bytes, aim, scale),
            do: row

      Port.close(peer)
      rows
    end)
  end

  defp echoes(peer, bytes, aim, scale) do
    payload = :binary.copy("x", bytes)
    ours = "Extism echo of #{bytes} bytes"
    theirs = "crate extism, echo of #{bytes} bytes"
    subjects = [{ours, fn -> Tidepool.call("plugin", "echo", payload) end}, {theirs, {peer, "#{bytes}"}}]
    figures = Peers.side_by_side(subjects, 10 * scale, 100)
    Peers.figures(subjects, figures) ++ Peers.ratios(figures, [{theirs, ours, aim}])
  end

  # A guest's request to a server of this machine, beside that of a client which does nothing else: by a component, and by a plug-in.
  defp outgoing(scale) do
    Bench.deploy!("asking", "rust/fetch_typed", instances: {:warm, 100}, net: @local)
    {bare, port} = Peers.bare()
    client = Peers.program("examples/bare_client", ["#{port}"])
    host = "127.0.0.1:#{port}"
    component = "wasi:http request of a component"
    plugin = "plug-in's request to a server"

    subjects = [
      {component, fn -> {:ok, "200\n" <> _body} = Tidepool.call("asking", :run, ["#{host} /"]) end},
      {plugin, fn -> Tidepool.call("plugin", "fetches", "http://#{host}/") end},
      {"bare hyper client", {client, "get"}}
    ]

    figures = Peers.side_by_side(subjects, 10 * scale, 50)
    for program <- [client, bare], do: Port.close(program)

    Peers.figures(subjects, figures) ++
      Peers.ratios(figures, [
        {component, "bare hyper client", {:at_most, 1.5}},
        {plugin, "bare hyper client", nil}
      ])
  end

  # A component's get in a bucket that is kept where actors are, beside a call of a component that is an actor: each is a call from
  # Elixir, and both guests are Rust. Sets beside changes, and the store without a guest, have no aim.
  defp keyvalue(scale) do
    Bench.deploy!("keys", "rust/keyvalue_draft2", instances: {:warm, 100}, keyvalue: ["bench"])
    Bench.deploy!("tally", "rust/tally", actor: true)
    {:ok, "ok\nok"} = script("set k 1")
    {:ok, _sum} = Tidepool.Actor.call("tally", "bench", "add", "[1]")
    store = Tidepool.Keyvalue.Actors
    gets = Enum.map_join(0..@gets, "\n", fn _get -> "get k" end)
    actor = "component's actor that reads"
    {get, many} = {"wasi:keyvalue get of a component", "#{@gets + 1} gets of a component"}

    reads = [
      {actor, fn -> {:ok, _sum} = Tidepool.Actor.call("tally", "bench", "sum", "[]") end},
      {get, fn -> {:ok, "ok\n1"} = script("get k") end},
      {many, fn -> {:ok, _values} = script(gets) end},
      {"keyvalue get without a guest", fn -> {:ok, "1"} = store.get("bench", "k", []) end}
    ]

    writes = [
      {"component's actor that writes", fn -> {:ok, _sum} = Tidepool.Actor.call("tally", "bench", "add", "[1]") end},
      {"wasi:keyvalue set of a component", fn -> {:ok, "ok\nok"} = script("set k 1") end}
    ]

    figures = Peers.side_by_side(reads, 10 * scale, 50)
    [one, all, actors] = for name <- [get, many, actor], do: figures |> Map.fetch!(name) |> elem(0)

    Peers.figures(reads, figures) ++
      Peers.ratios(figures, [{get, actor, {:at_most, 1.2}}, {"keyvalue get without a guest", actor, nil}]) ++
      [{"one get more of a component / #{actor}", (all - one) / @gets / actors, "×", nil}] ++
      compared(writes, scale, [{"wasi:keyvalue set of a component", "component's actor that writes", nil}], 20)
  end

  # What the guest answers that does as these lines say, in the bucket.
  defp script(lines), do: Tidepool.call("keys", :run, ["open bench\n" <> lines])

  # A body there and back, through a guest and through none.
  defp echo(rounds, bytes) do
    large = [time: 600_000, cpu_time: 600_000, payload: bytes, reply: bytes]
    for language <- ["rust", "c"], do: Bench.deploy!("echo_#{language}", "#{language}/http", limits: large)
    {bare, bare_port} = Peers.bare()
    ours = "http://127.0.0.1:#{TidepoolWeb.Listener.port()}/call/echo_"
    file = Peers.zeroes(bytes)
    subjects = [bare: "http://127.0.0.1:#{bare_port}/echo", rust: ours <> "rust/echo", c: ours <> "c/echo"]
    times = for _round <- 1..rounds, {name, url} <- subjects, do: {name, Peers.upload(url, file, bytes)}
    Port.close(bare)

    medians =
      times
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Map.new(fn {name, all} -> {name, Bench.percentile(all, 50)} end)

    size = "echo of #{div(bytes, 1_048_576)} MiB"

    [
      {"bare hyper, #{size}", medians.bare, "s", nil},
      {"Rust, #{size}", medians.rust, "s", nil},
      {"C, #{size}, spliced", medians.c, "s", nil},
      {"Rust, #{size} / bare hyper", medians.bare / medians.rust, "×", {:at_least, 0.6}},
      {"C, #{size} / bare hyper", medians.bare / medians.c, "×", nil}
    ]
  end

  # From an upload to the first answer, beside the baseline compiler with nothing around it.
  defp uploads(rounds) do
    for {language, guest, call} <- [
          {"JavaScript", "js_basket", [[], 10, :nothing]},
          {"Python", "python_basket", [[], 10, :nothing]}
        ],
        row <- uploaded(language, Path.expand("guests/build/component/#{guest}.wasm"), call, rounds),
        do: row
  end

  defp uploaded(language, path, call, rounds) do
    if File.exists?(path) do
      bytes = File.read!(path)

      times =
        for round <- 1..rounds do
          # Other bytes each time, so that nothing is cached.
          variant = bytes <> <<0, 9, 8, "variant", round>>
          name = "upload_#{round}"
          began = System.monotonic_time(:nanosecond)
          {:ok, _function} = Tidepool.deploy(variant, name: name, limits: [time: 60_000, cpu_time: 60_000])
          {:error, %{reason: :guest_error}} = Tidepool.call(name, :total, call)
          took = System.monotonic_time(:nanosecond) - began
          # Which ends its optimising, too.
          :ok = Tidepool.remove(name)
          {took, Peers.winch(path)}
        end

      [ours, winch] = for at <- 0..1, do: times |> Enum.map(&elem(&1, at)) |> Bench.percentile(50)

      [
        {"#{language}, from upload to answer", ours / 1.0e9, "s", nil},
        {"#{language}, Winch alone", winch / 1.0e9, "s", nil},
        {"#{language}, from upload to answer / Winch alone", ours / winch, "×", {:at_most, 1.5}}
      ]
    else
      Peers.left_out("#{language}: its guest has not been built (TIDEPOOL_LONG=1 bin/guests)")
    end
  end
end

Bench.Components.run(Bench.switches([:smoke, :brief]))
