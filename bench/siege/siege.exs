Code.require_file("../support.exs", __DIR__)

defmodule Bench.Siege do
  @moduledoc """
  Well-behaved clients beside hostile ones, whom attackers.py has: a call each 10 ms and a deploy each 250 ms, counted
  from when they were due.
  """

  @attacks ~w(windows readers ping bodies payloads uploads starts fields lists hosts)
  @call_ms 10
  @deploy_ms 250
  @patience_ms 10_000
  # Answers within so many times the slowest of those before, or so many ms, came in their usual time.
  @usual 3
  @usual_ms %{call: 20, deploy: 250}

  def run(arguments) do
    {options, [], []} = OptionParser.parse(arguments, strict: [smoke: :boolean, seconds: :integer])
    seconds = if options[:smoke], do: 1, else: Keyword.get(options, :seconds, 10)
    # Attackers are many: what is measured is the edge's fairness, not the log's speed.
    Bench.start!(server: true)
    Logger.configure(level: :error)
    Bench.deploy!("good", "rust/hello_world", operation: "hello")
    {:ok, _function} = Tidepool.deploy(large(), name: "large", limits: [memory: 16 * 1_048_576])
    {:ok, _function} = Tidepool.deploy(imports(100_000), name: "imports")
    port = TidepoolWeb.Listener.port()
    # The first deploys and calls are not usual ones.
    measure(port, 1)
    before = measure(port, seconds)
    usual = Map.new(before, fn {kind, samples} -> {kind, usual(kind, samples)} end)
    sieges = Enum.map(@attacks, &{&1, [&1]}) ++ [{"all of them", @attacks}]

    rows =
      Enum.flat_map(sieges, fn {name, attacks} ->
        attackers = Enum.map(attacks, &attack(&1, port))
        during = measure(port, seconds)
        Enum.each(attackers, &Port.close/1)
        rows("beside #{name}", during, usual, {:at_least, 95}) ++ rows("after #{name}", measure(port, 1), usual, nil)
      end)

    Bench.report("siege", rows("before", before, usual, nil) ++ rows)
  end

  defp attack(attack, port) do
    arguments = [Path.join(__DIR__, "attackers.py"), attack, "#{port}"]
    options = [:binary, :exit_status, line: 1_024, args: arguments]
    attackers = Port.open({:spawn_executable, System.find_executable("python3")}, options)

    receive do
      {^attackers, {:data, {:eol, "ready"}}} -> attackers
      {^attackers, {:exit_status, status}} -> raise "#{attack} ended with status #{status}"
    after
      60_000 -> raise "#{attack} says nothing"
    end
  end

  # %{call: [{:ok | :error, µs}], deploy: …}
  defp measure(port, seconds) do
    calls = Task.async(fn -> every(@call_ms, seconds, fn turn -> call(port, turn) end) end)
    deploys = Task.async(fn -> every(@deploy_ms, seconds, fn turn -> deploy(port, turn) end) end)
    [calls, deploys] = Task.await_many([calls, deploys], :infinity)
    %{call: calls, deploy: deploys}
  end

  # Each in a process of its own, so that one that waits delays no other.
  defp every(ms, seconds, work) do
    begun = System.monotonic_time(:millisecond)

    for turn <- 1..max(div(seconds * 1_000, ms), 1) do
      due = begun + turn * ms
      Process.sleep(max(due - System.monotonic_time(:millisecond), 0))

      Task.async(fn ->
        outcome = work.(turn)
        {outcome, System.monotonic_time(:microsecond) - due * 1_000}
      end)
    end
    |> Task.await_many(:infinity)
  end

  defp call(port, turn) do
    request(port, ["POST /call/good HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", body("#{turn}")])
  end

  # Another module each time: a deploy that changes nothing costs nothing.
  defp deploy(port, turn) do
    wasm =
      File.read!("guests/build/wat/returns_1_silent.wasm") <> section(0, [name("variant"), "#{turn} #{port} #{now()}"])

    head =
      "POST /deploy HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=b\r\n"

    part = &["--b\r\ncontent-disposition: form-data; name=\"", &1, "\"\r\n\r\n", &2, "\r\n"]
    request(port, [head, body([part.("name", "deployed"), part.("wasm", wasm), "--b--\r\n"])])
  end

  defp body(content), do: ["content-length: #{IO.iodata_length(content)}\r\n\r\n", content]

  defp request(port, bytes) do
    with {:ok, socket} <- :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false], @patience_ms),
         :ok <- :gen_tcp.send(socket, bytes),
         {:ok, "HTTP/1.1 20" <> _rest} <- :gen_tcp.recv(socket, 0, @patience_ms) do
      :gen_tcp.close(socket)
      :ok
    else
      _refused_or_cut -> :error
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

  defp now, do: System.monotonic_time()

  # A guest that replies with 8 MiB.
  defp large, do: module(1, [0x41, 0, 0x41, leb(8_388_608), 0x10, 0, 0x41, 1, 0x0B])

  # One that asks for `count` functions of the host, and does nothing with them.
  defp imports(count), do: module(count, [0x41, 1, 0x0B])

  defp module(imports, code) do
    import = [name("wapc"), name("__guest_response"), 0, 1]

    IO.iodata_to_binary([
      <<0, "asm", 1, 0, 0, 0>>,
      # (i32, i32) -> i32, and (i32, i32) -> ().
      section(1, [2, [0x60, 2, 0x7F, 0x7F, 1, 0x7F], [0x60, 2, 0x7F, 0x7F, 0]]),
      section(2, [leb(imports), List.duplicate(import, imports)]),
      section(3, [1, 0]),
      section(5, [1, 0, leb(129)]),
      section(7, [2, name("memory"), 2, 0, name("__guest_call"), 0, leb(imports)]),
      section(10, [1, sized([0, code])])
    ])
  end

  defp section(id, content), do: IO.iodata_to_binary([id, sized(content)])
  defp sized(content), do: [leb(IO.iodata_length(content)), content]
  defp name(text), do: [leb(byte_size(text)), text]

  defp leb(number) when number < 64, do: <<number>>
  defp leb(number), do: <<1::1, Bitwise.band(number, 0x7F)::7, leb(Bitwise.bsr(number, 7))::binary>>
end

Bench.Siege.run(System.argv())
