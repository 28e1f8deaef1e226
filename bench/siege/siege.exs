# Measures: what hostile clients of the edge cost well-behaved ones, for each attack and for all of them at once
# bench/all runs it with: --seconds 2
#
# Calls and deploys before, during and after each attack, each compared with as much computing that leaves the node alone.
# Traffic to loopback only.
#
#   bench/run siege                       each attack for ten seconds: about five minutes
#   bench/run siege --only windows,ping
#   bench/run siege --seconds 2           shorter
Code.require_file("../support.exs", __DIR__)
Code.require_file("../support/wasm.exs", __DIR__)

defmodule Bench.Siege do
  @moduledoc """
  Well-behaved clients beside hostile ones. The ones are programs of attackers.py, the others one of clients.exs, so that
  they share the machine's cores with the node, and nothing else.

  An attacker that computes takes its part of the cores from everybody, which is no fault of the edge. So each attack is
  followed by programs that compute for as much of the time as its attackers did and leave the node alone: what came
  in its usual time is measured by the slowest beside those.
  """

  alias Bench.Wasm

  @reply {"wapc", "__guest_response", 2, 0}
  @attacks ~w(windows readers ping bodies payloads uploads starts fields lists hosts)
  # Answers within so many times the slowest beside the same load from elsewhere, or so many ms, came in their usual time.
  @usual 3
  @usual_ms %{call: 20, deploy: 250}

  def run do
    options = Bench.options(smoke: :boolean, seconds: :integer, only: :string)
    seconds = if options[:smoke], do: 1, else: Keyword.get(options, :seconds, 10)
    attacks = if options[:only], do: String.split(options[:only], ","), else: @attacks
    # Attackers are many: what is measured is the edge's fairness, not the log's speed.
    Bench.start!(server: true)
    Logger.configure(level: :error)
    Bench.deploy!("good", "rust/hello_world", operation: "hello")
    {:ok, _function} = Tidepool.deploy(large(), name: "large", limits: [memory: 16 * 1_048_576])
    {:ok, _function} = Tidepool.deploy(imports(100_000), name: "imports")
    port = TidepoolWeb.Listener.port()
    clients = program("elixir", [Path.join(__DIR__, "clients.exs"), "#{port}"])
    # The first deploys and calls are not usual ones.
    measure(clients, 1)
    before = measure(clients, seconds)
    sieges = Enum.map(attacks, &{&1, [&1]}) ++ if(options[:only], do: [], else: [{"all of them", attacks}])

    rows =
      Enum.flat_map(sieges, fn {name, attacks} ->
        {during, [node, attackers]} = beside(attacks, clients, port, seconds)
        after_ = measure(clients, 1)
        {burning, _shares} = beside(burners(attackers), clients, port, seconds)
        usual = Map.new(burning, fn {kind, samples} -> {kind, usual(kind, samples)} end)

        rows("beside #{name}", during, usual, {:at_least, 95}) ++
          [
            {"… cores that the attackers took", attackers, "cores", nil},
            {"… cores that the node took", node, "cores", nil}
          ] ++
          rows("beside as much computing instead of #{name}", burning, usual, nil) ++
          rows("after #{name}", after_, usual, nil)
      end)

    usual = Map.new(before, fn {kind, samples} -> {kind, usual(kind, samples)} end)
    Bench.report("siege", rows("before", before, usual, nil) ++ rows)
  end

  # What the clients saw, and how many cores the node and the attackers took.
  defp beside(attacks, clients, port, seconds) do
    attackers = Enum.map(attacks, &attack(&1, port))
    pids = ["self" | Enum.map(attackers, &(&1 |> Port.info(:os_pid) |> elem(1)))]
    {began, before} = {System.monotonic_time(:millisecond), Enum.map(pids, &cpu_ms/1)}
    during = measure(clients, seconds)
    [node | shares] = Enum.zip_with(Enum.map(pids, &cpu_ms/1), before, &(&1 - &2))
    elapsed = System.monotonic_time(:millisecond) - began
    Enum.each(attackers, &Port.close/1)
    {during, [node / elapsed, Enum.sum(shares) / elapsed]}
  end

  # Programs that compute for as much of the time, in all.
  defp burners(cores) do
    count = cores |> Float.ceil() |> trunc() |> max(1)
    List.duplicate("burn:#{cores / count}", count)
  end

  defp attack(attack, port) do
    attackers = program("python3", [Path.join(__DIR__, "attackers.py"), attack, "#{port}"])

    receive do
      {^attackers, {:data, {:eol, "ready"}}} -> attackers
      {^attackers, {:exit_status, status}} -> raise "#{attack} ended with status #{status}"
    after
      60_000 -> raise "#{attack} says nothing"
    end
  end

  defp program(name, arguments) do
    options = [:binary, :exit_status, line: 1_024, args: arguments]
    Port.open({:spawn_executable, System.find_executable(name)}, options)
  end

  # The time that a program has had on cores, in ms: fields 14 and 15, in ticks of 10 ms. Its name may hold spaces.
  defp cpu_ms(pid) do
    [_name, fields] = "/proc/#{pid}/stat" |> File.read!() |> String.split(") ", parts: 2)
    [user, system] = fields |> String.split() |> Enum.slice(11, 2) |> Enum.map(&String.to_integer/1)
    10 * (user + system)
  end

  # %{call: [{:ok | :error, µs}], deploy: …}
  defp measure(clients, seconds) do
    Port.command(clients, "#{seconds}\n")
    clients |> samples([]) |> Enum.group_by(&elem(&1, 0), fn {_kind, outcome, us} -> {outcome, us} end)
  end

  defp samples(clients, samples) do
    receive do
      {^clients, {:data, {:eol, "done"}}} ->
        samples

      {^clients, {:data, {:eol, line}}} ->
        [kind, outcome, us] = String.split(line)
        sample = {String.to_existing_atom(kind), String.to_existing_atom(outcome), String.to_integer(us)}
        samples(clients, [sample | samples])

      {^clients, {:exit_status, status}} ->
        raise "the clients ended with status #{status}"
    end
  end

  defp usual(kind, samples) do
    slowest = samples |> Enum.map(&elem(&1, 1)) |> Enum.max()
    max(@usual * slowest, @usual_ms[kind] * 1_000)
  end

  defp rows(when_, measured, usual, target) do
    Enum.flat_map([call: "calls", deploy: "deploys"], fn {kind, plural} ->
      samples = measured[kind]
      good = Enum.count(samples, fn {outcome, us} -> outcome == :ok and us <= usual[kind] end)

      [
        {"#{plural} #{when_}: answered in their usual time", 100 * good / length(samples), "%", target},
        {"… errors", Enum.count(samples, &(elem(&1, 0) == :error)), plural, nil},
        {"… p99", Bench.percentile(Enum.map(samples, &elem(&1, 1)), 99) / 1_000, "ms", nil}
      ]
    end)
  end

  # A guest that replies with 8 MiB.
  defp large, do: Wasm.guest([@reply], 129, [Wasm.int(0), Wasm.int(8_388_608), Wasm.call(0), Wasm.int(1)])

  # One that asks for `count` functions of the host, and does nothing with them.
  defp imports(count), do: Wasm.guest(List.duplicate(@reply, count), 129, Wasm.int(1))
end

Bench.Siege.run()
