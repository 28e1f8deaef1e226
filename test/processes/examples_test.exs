defmodule Tidepool.Processes.ExamplesTest do
  # The examples of the crate `lunatic`, as whoever knows them expects them to run.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.Certificates
  import Tidepool.ProgramClient

  alias Tidepool.Error
  alias Tidepool.Process, as: Guest

  @moduletag :lunatic
  @patience 60_000
  # Some wait for 10 ms, or 100, and expect others to be done: not enough on a machine that is busy.
  @attempts 3

  # Those that don't run to their end as they are, and why; each is run all the same as far as it gets.
  @differs %{
    "distributed" => "spawns on all nodes, of which there is one here; nodes_test.exs has two",
    "metrics" => "reports for 60 s, and is killed when it has begun",
    "resolve" => "asks for a name of the internet",
    "tls_client" => "dials a host of the internet"
  }

  defp example!(name, options \\ []) do
    {grants, options} = Keyword.pop(options, :net, [])
    folders = if options[:files], do: ["/=memory"], else: []
    start!(deploy!("lunatic", "example_#{name}", net: grants, files: folders), options)
  end

  # It ends well, and has said these lines, in whatever order.
  defp assert_runs(name, lines, options \\ []) do
    at_most_times(@attempts, "examples_test.exs: #{name}", fn ->
      output()
      program = example!(name, options)
      for line <- lines, do: line!(line)
      assert ended!(program) == :normal
      assert output() == ""
    end)
  end

  test "all examples are built, and have a test here" do
    built = for path <- Path.wildcard("guests/build/lunatic/example_*.wasm"), do: Path.basename(path, ".wasm")
    assert length(built) == 17

    run =
      for %{name: name} <- __MODULE__.__ex_unit__().tests,
          [_all, run] <- [Regex.run(~r/^test (\w+): /, "#{name}")],
          do: run

    assert Enum.sort(run) == for("example_" <> name <- Enum.sort(built), do: name)
  end

  test "abstract_process: requests, messages and a deferred answer" do
    assert_runs("abstract_process", [])
  end

  test "supervised_abstract_process: a supervisor's child is found by its name" do
    assert_runs("supervised_abstract_process", [])
  end

  test "request_response: requests by MessagePack" do
    assert_runs("request_response", [])
  end

  test "spawn_task: tasks are joined" do
    assert_runs("spawn_task", [~r/^Hello world from a process!$/, ~r/^Hello world from a 2nd process!$/])
  end

  test "spawn_macro: closures, and what they capture" do
    assert_runs("spawn_macro", [~r/^Hello! I'm a string\.$/, ~r/^Hello non-capturing closure!$/])
  end

  test "process_local: each process has statics of its own" do
    assert_runs("process_local", [])
  end

  test "process_name: a process is found by its name" do
    assert_runs("process_name", [~r/^Received message!$/])
  end

  test "monitor: the end of a child is told" do
    assert_runs("monitor", [~r/^Hello$/, ~r/^Process 2 died$/])
  end

  test "configs: children die of their limits, and their maker doesn't" do
    at_most_times(@attempts, "examples_test.exs: configs", fn ->
      output()
      program = example!("configs")
      line!(~r/^Process 2 trying to allocate 2MB$/)
      line!(~r/^Process 3 going into infinite loop$/)
      assert ended!(program) == :normal
      refute output() =~ "Succeeded"
    end)
  end

  test "print_env: arguments and environment" do
    assert_runs("print_env", [~r/^\["a", "b c"\]$/, ~r/^TIDE: low$/], args: ["a", "b c"], env: %{"TIDE" => "low"})
  end

  test "tcp_echo_server: lines come back, to each client its own" do
    program = example!("tcp_echo_server", net: ["tcp:listen:127.0.0.1:*"])
    port = port!()
    clients = for number <- 1..5, do: {number, connect!(port)}
    for {number, client} <- clients, do: assert(ask!(client, "line #{number}") == "line #{number}")
    [{_number, first} | others] = clients
    assert ask!(first, "exit") == :closed
    for {number, client} <- others, do: assert(ask!(client, "again #{number}") == "again #{number}")
    assert Process.alive?(program)
  end

  test "tcp_echo_multi_server: two listeners of one program" do
    example!("tcp_echo_multi_server", net: ["tcp:listen:127.0.0.1:6666-6667"])

    for port <- Enum.sort([port!(), port!()]) do
      client = connect!(port)
      assert ask!(client, "to #{port}") == "to #{port}"
      line!(~r/^Accepted peer \S+ on addr: 127\.0\.0\.1:#{port}$/)
      assert ask!(client, "exit") == :closed
    end
  end

  test "metrics: #{@differs["metrics"]}" do
    program = example!("metrics")
    name = &"lunatic::metrics_example::#{&1}"

    eventually(
      fn ->
        figures = Map.new(Guest.figures(program), fn {name, kind, value} -> {name, {kind, value}} end)
        assert {:counter, counter} = figures[name.("counter")]
        assert counter > 42
        assert {:gauge, gauge} = figures[name.("gauge")]
        assert gauge >= 0 and gauge <= 25
        assert {:histogram, {values, _sum}} = figures[name.("histogram")]
        assert values > 0
      end,
      @patience
    )

    Guest.kill(program)
    assert ended!(program) == :killed
  end

  test "resolve: #{@differs["resolve"]}" do
    program = example!("resolve")
    line!(~r/is not granted dns/)
    assert_panicked(program)
  end

  test "tls_echo_server: each connection gets an answer, by certificates that are read from files" do
    {server, client} = certificates()
    {certificate, key} = identity(server)
    files = %{"/examples/CA/localhost.crt" => certificate, "/examples/CA/localhost.key" => key}
    program = example!("tls_echo_server", net: ["tls:listen:127.0.0.1:3000"], files: files)
    port = port!()
    options = [:binary, active: false, verify: :verify_peer, cacerts: client[:cacerts]]

    for _client <- 1..2 do
      {:ok, socket} = :ssl.connect(~c"localhost", port, options, @patience)
      :ok = :ssl.send(socket, "GET / HTTP/1.1\r\n\r\n")
      assert answer(socket) =~ "<h1>Hello world!</h1>"
    end

    assert Process.alive?(program)
  end

  defp answer(socket) do
    case :ssl.recv(socket, 0, @patience) do
      {:ok, bytes} -> bytes <> answer(socket)
      {:error, _closed} -> ""
    end
  end

  test "tls_client: #{@differs["tls_client"]}" do
    files = %{"/examples/CA/localhost.crt" => ""}
    program = example!("tls_client", files: files)
    line!(~r/is not granted tls:connect:www\.rust-lang\.org:443/)
    assert_panicked(program)
  end

  test "distributed: #{@differs["distributed"]}" do
    node = Tidepool.Nodes.number()
    lines = [~r/^Nodes \[#{node}\]$/, ~r/^Got 1, 1 to add$/, ~r/^Hi from #{node}$/, ~r/^101 \+ 10 = 111$/]
    assert_runs("distributed", lines)
  end

  defp assert_panicked(program) do
    assert {%Error{reason: {:trap, :unreachable}}, []} = ended!(program)
  end
end
