# Measures: what large messages cost: echoes of 1 KiB to 1 MiB beside a GenServer.call and a copy, and page faults
# Needs: wrk
for file <- ["../support.exs", "../support/wasm.exs", "socket.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Bytes do
  @moduledoc """
  Echoes of warm guests, by the size of the message and the language of the guest, beside a GenServer that answers with
  the same binary and beside one copy of as many bytes in the VM; and how many pages the kernel has to hand out for each.

  A page fault takes as long as the copy of some KiB, and the kernel locks the address space of the node for it. In
  steady state memory that was there for one call is there for the next, so there should be none.
  """

  import Bench.Wasm, only: [int: 1, call: 1]

  alias Bench.Bytes.Socket

  @kib 1_024
  @sizes [{@kib, "1 KiB", 200}, {64 * @kib, "64 KiB", 100}, {1_024 * @kib, "1 MiB", 10}]
  @guests [
    {"C", "c/hello_world"},
    {"Rust", "rust/hello_world"},
    {"Go", "go/hello_world"},
    {"AssemblyScript", "assemblyscript/hello_world"}
  ]
  @by_hand "by hand"
  # For each call: one in a hundred has what else the node does meanwhile.
  @no_fault {:at_most, 0.01}

  def run(smoke?) do
    Bench.start!(server: true)
    {:ok, server} = Bench.Echo.start_link()
    for {name, guest} <- @guests, do: Bench.deploy!(name, guest, instances: {:warm, 4}, operation: "echo")
    {:ok, _function} = Tidepool.deploy(echo(), name: "hand", instances: {:warm, 4})
    scale = if smoke?, do: %{rounds: 2, seconds: 1, sizes: 1}, else: %{rounds: 20, seconds: 1, sizes: 3}

    from_elixir = Enum.flat_map(@sizes, &echoes(&1, server, scale.rounds))
    Bench.report("bytes", from_elixir ++ over_http(scale))
  end

  # Written by hand: has its payload put at one place in its memory, and answers with that place.
  defp echo do
    at = int(1_024)
    payload_len = <<0x20, 1>>
    functions = [{"wapc", "__guest_request", 2, 0}, {"wapc", "__guest_response", 2, 0}]
    pages = div(1_024 * @kib, 65_536) + 1
    Bench.Wasm.guest(functions, pages, [int(0), at, call(0), at, payload_len, call(1), int(1)])
  end

  # --- From Elixir ---

  defp echoes({bytes, size, batch}, server, rounds) do
    payload = :crypto.strong_rand_bytes(bytes)

    guests = for {name, _guest} <- @guests, do: {name, fn -> {:ok, _} = Tidepool.call(name, nil, payload) end}
    by_hand = {@by_hand, fn -> {:ok, _} = Tidepool.call("hand", nil, payload) end}
    guests = guests ++ [by_hand]
    for {_name, echo} <- guests, do: {:ok, ^payload} = echo.()

    references = [
      {"GenServer.call", fn -> GenServer.call(server, payload) end},
      {"copy", fn -> :binary.copy(payload) end}
    ]

    times = times(references ++ guests, rounds, batch)
    [in_messages, in_copies] = for {name, _fun} <- references, do: Bench.percentile(times[name], 50)

    figures =
      for {name, fun} <- references ++ guests do
        {name, Bench.percentile(times[name], 50), Bench.percentile(times[name], 99), faults(fun, rounds * batch)}
      end

    Enum.flat_map(figures, fn {name, median, p99, faults} ->
      rows = [
        {"#{size}, #{name}: median", median / 1_000, "µs", nil},
        {"#{size}, #{name}: p99", p99 / 1_000, "µs", nil}
      ]

      if List.keymember?(references, name, 0) do
        rows ++ [{"#{size}, #{name}: page faults", faults, "", nil}]
      else
        rows ++
          ratios(size, name, median, in_messages, in_copies) ++
          [{"#{size}, #{name}: page faults", faults, "", @no_fault}]
      end
    end)
  end

  defp ratios(size, name, median, in_messages, in_copies) do
    in_larger = {"#{size}, #{name} / the larger of both", median / max(in_messages, in_copies), "×", {:at_most, 3}}

    [
      {"#{size}, #{name} / GenServer.call", median / in_messages, "×", nil},
      {"#{size}, #{name} / copy", median / in_copies, "×", if(size == "1 MiB", do: {:at_most, 5})}
    ] ++ if(size == "64 KiB", do: [in_larger], else: [])
  end

  # All times of each subject, which take turns.
  defp times(subjects, rounds, batch) do
    for {_name, fun} <- subjects, do: Bench.latencies(fun, batch)

    for(_round <- 1..rounds, {name, fun} <- subjects, do: {name, Bench.latencies(fun, batch)})
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Map.new(fn {name, batches} -> {name, Enum.concat(batches)} end)
  end

  # For each call. The list of times would be made of new memory, so nothing is kept here.
  defp faults(fun, count) do
    Bench.repeat(fun, div(count, 4) + 1)
    before = minor_faults()
    Bench.repeat(fun, count)
    (minor_faults() - before) / count
  end

  # --- Over HTTP ---

  # One connection, so that a request's time is what it takes. The client has an address space of its own, the socket that
  # it is held against does not; but nobody calls both at once.
  defp over_http(scale) do
    url = &"http://127.0.0.1:#{&1}/call/hand"
    subjects = [{"a socket in Erlang", url.(Socket.start!())}, {"echo by hand", url.(TidepoolWeb.Listener.port())}]

    for {bytes, size, _batch} <- Enum.take(@sizes, scale.sizes) do
      runs =
        for {name, url} <- subjects do
          wrk(url, bytes, 1)
          before = minor_faults()
          run = wrk(url, bytes, scale.seconds)
          {name, run, (minor_faults() - before) / run.requests}
        end

      [{_socket, reference, _faults} | _edge] = runs
      Enum.map(runs, &post_rows(size, &1, reference))
    end
    |> List.flatten()
  end

  defp post_rows(size, {name, run, faults}, reference) do
    rows = [
      {"POST of #{size}, #{name}: median", run.p50_us, "µs", nil},
      {"POST of #{size}, #{name}: p99", run.p99_us, "µs", nil}
    ]

    if run == reference do
      rows ++ [{"POST of #{size}, #{name}: page faults", faults, "", nil}]
    else
      rows ++
        [
          {"POST of #{size}, #{name} / a socket", run.p50_us / reference.p50_us, "×", nil},
          {"POST of #{size}, #{name}: page faults", faults, "", @no_fault}
        ]
    end
  end

  defp wrk(url, bytes, seconds) do
    script = Path.join(__DIR__, "post.lua")
    {text, 0} = System.cmd("wrk", ["-t1", "-c1", "-d#{seconds}s", "--latency", "-s", script, url, "--", "#{bytes}"])
    if text =~ "Non-2xx" or text =~ "Socket errors", do: raise(text)
    [requests] = Regex.run(~r/(\d+) requests in/, text, capture: :all_but_first)
    %{requests: String.to_integer(requests), p50_us: latency(text, 50), p99_us: latency(text, 99)}
  end

  defp latency(text, percent) do
    [value, unit] = Regex.run(~r/#{percent}%\s+([\d.]+)(us|ms|s)/, text, capture: :all_but_first)
    String.to_float(value) * %{"us" => 1, "ms" => 1_000, "s" => 1_000_000}[unit]
  end

  # Pages that this process has got without a disk: field 10 of its stat.
  defp minor_faults do
    [_name, rest] = File.read!("/proc/self/stat") |> String.split(") ", parts: 2)
    rest |> String.split() |> Enum.at(7) |> String.to_integer()
  end
end

Bench.Bytes.run(Bench.smoke?())
