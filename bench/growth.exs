# Measures: what a tenant that takes each thing which grows costs another one: memory beyond its quota, calls, /health, the time to give it back
#
# Each row of docs/growth.md is driven to its bound and over by the drivers of its tests (test/support/growth), from a namespace with
# quotas, on a node of its own. Beside it another tenant calls its function again and again, and asks for /health; none of that may fail.
#
#   bench/run growth                              all rows: half a minute on two cores
#   bench/run growth --only "messages,timers"     these
#   bench/run growth --rows 12                    every so manyth row, so that there are about 12
#   bench/run growth --programs 2                 fewer programs for each row of the first table; six otherwise
Code.require_file("support.exs", __DIR__)
{:ok, _started} = Application.ensure_all_started(:ex_unit)

binaries =
  for file <-
        ~w(cases/tidepool_case cluster/peer faults/fault_client faults/fault_footprint servers/origin growth/growth_table
                 growth/neighbours growth/program_growth growth/call_growth),
      binary <- Code.require_file("../test/support/#{file}.ex", __DIR__),
      do: binary

defmodule Bench.Growth do
  @moduledoc "What grows, driven by the tests' own drivers, and what others notice of it."

  alias Tidepool.{CallGrowth, Growth, GrowthTable, Neighbours, Peer}

  @programs 6
  # Those that run on the node.
  @there [Tidepool.Case, Tidepool.FaultFootprint, Growth, Peer]

  def run(binaries) do
    options = Bench.options(smoke: :boolean, only: :string, rows: :integer, programs: :integer)
    {:ok, _started} = Application.ensure_all_started(:logger)
    {node, data} = node!(CallGrowth.settings(), binaries)
    context = CallGrowth.prepare(node)
    Growth.prepare(node)
    programs = if options[:smoke], do: 2, else: Keyword.get(options, :programs, @programs)
    rows = for row <- chosen(options), do: measured(row, programs, context)
    Bench.report("growth", List.flatten(rows))
    :peer.stop(node.pid)
    File.rm_rf!(data)
  end

  defp chosen(options) do
    all =
      for {kind, heading} <- [program: "What programs take", call: "What calls take"],
          [what, _account, _bound, over] <- GrowthTable.rows(heading),
          do: {kind, what, over}

    only = options[:only] && String.split(options[:only], ",")
    wanted = if options[:smoke], do: 4, else: Keyword.get(options, :rows, length(all))

    if only,
      do: Enum.filter(all, fn {_kind, what, _over} -> what in only end),
      else: Enum.take_every(all, max(div(length(all), wanted), 1))
  end

  # {ms of the slowest /health, ms of the slowest call, MiB beyond the quota, ms until it was given back}
  defp measured({kind, what, over}, programs, %{node: node, port: port} = context) do
    settled(context)
    others = Neighbours.start(port)
    {bytes, let_go} = take(kind, what, over, programs, context)
    longest = Neighbours.stop(others)

    ms =
      case let_go do
        {:given_back_ms, ms} ->
          ms

        let_go ->
          let_go.()
          since = Peer.call(node, System, :monotonic_time, [:millisecond])
          Peer.call(node, Growth, :given_back_ms, [since, CallGrowth.names(context)])
      end

    quota = CallGrowth.quota()

    [
      {"#{what}: /health, slowest", longest.health, "ms", {:at_most, 100}},
      {"… call of another tenant, slowest", longest.call, "ms", {:at_most, 100}},
      {"… memory beyond the quota, at most", (bytes - quota) / 1_048_576, "MiB", {:at_most, quota / 10 / 1_048_576}},
      {"… all is given back after", ms, "ms", {:at_most, 1_000}}
    ]
  end

  defp take(:program, what, _over, programs, %{node: node}) do
    {name, programs} = Growth.programs(what, programs)
    outcome = Peer.call(node, Growth, :grow, [name, what, programs])
    {outcome.bytes, {:given_back_ms, outcome.given_back_ms}}
  end

  defp take(:call, what, over, _programs, %{node: node} = context) do
    sampler = Peer.call(node, Growth, :sample, [])
    let_go = CallGrowth.drive(what, over, context)
    {Peer.call(node, Growth, :sampled, [sampler]), let_go}
  end

  # What the row before has left is not this one's.
  defp settled(%{node: node}), do: Bench.await(fn -> Peer.call(node, Tidepool.Case, :busy_instances, []) == 0 end)

  # As test/support/cluster/peer.ex starts one for tests; flags of the VM are in ERL_AFLAGS.
  defp node!(settings, binaries) do
    data = Path.join(System.tmp_dir!(), "tidepool-bench-growth-#{System.pid()}")
    File.mkdir_p!(data)
    System.at_exit(fn _status -> File.rm_rf!(data) end)
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    start = %{connection: :standard_io, args: paths, wait_boot: 120_000}
    {:ok, pid, _name} = :peer.start_link(start)
    node = %Peer{pid: pid, data: data}

    for {module, binary} <- binaries, module in @there do
      {:module, ^module} = Peer.call(node, :code, :load_binary, [module, ~c"#{module}", binary])
    end

    :ok = Peer.call(node, Peer, :prepare, [[port: 0, data: data] ++ settings])
    {:ok, _started} = Peer.start_application(node)
    {node, data}
  end
end

Bench.Growth.run(binaries)
