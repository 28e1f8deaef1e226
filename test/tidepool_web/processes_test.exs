defmodule TidepoolWeb.ProcessesTest do
  # Programs over HTTP: started, listed, looked at, killed.
  use Tidepool.Case, async: true

  alias Tidepool.{LogWatch, OwnTrace, Peer, Puppets}
  alias TidepoolWeb.Resources.Processes

  setup do
    {:ok, name: deploy!("lunatic", "puppet")}
  end

  defp post(name, body), do: curl("/processes/#{name}", ["-X", "POST", "--data-binary", body])
  defp listed(name), do: curl("/processes?function=#{name}")

  test "POST starts a program, GET shows its process, DELETE kills it, and then it is unknown", %{name: name} do
    assert {201, _headers, %{"id" => id, "function" => ^name, "version" => 1, "entry" => "_start"}} = post(name, "")
    assert {200, _headers, %{"id" => ^id} = process} = curl("/processes/#{id}")
    assert process["node"] == to_string(node())
    assert is_integer(process["memory"]) and is_integer(process["cpu_us"])
    assert {200, _headers, %{"processes" => [%{"id" => ^id}]}} = listed(name)
    assert {200, _headers, %{"killed" => ^id}} = curl("/processes/#{id}", ["-X", "DELETE"])
    assert {200, _headers, %{"processes" => []}} = listed(name)

    for {path, arguments} <- [{"/processes/#{id}", []}, {"/processes/#{id}", ["-X", "DELETE"]}] do
      assert {404, _headers, %{"error" => %{"reason" => "unknown_process"}}} = curl(path, arguments)
    end
  end

  test "a number that no process has is not read when it has more digits than any" do
    # The VM reads a number in one go, whatever others wait for.
    reads = [{:erlang, :binary_to_integer, 1}, {:erlang, :binary_to_integer, 2}]
    digits = String.duplicate("7", 60_000)

    for process <- [digits <> ".1", "1." <> digits, "-1.1", "0.1", "1.0", "1.9223372036854775807"],
        {method, more} <- [{"GET", []}, {"DELETE", []}, {"POST", ["upgrade"]}] do
      request = %{origin: :elixir, query: [], headers: [], body: nil}

      {{status, _type, _headers, json}, calls, _sent} =
        OwnTrace.of(reads, fn -> Processes.serve(method, ["processes", process | more], request) end)

      assert status == 404 and json =~ ~s("unknown_process") and byte_size(json) < 5_000
      assert Enum.all?(calls, fn [text | _base] -> byte_size(text) < 20 end)
      # Numbers of processes on nodes may have 19 digits.
      if process == "1.9223372036854775807", do: assert(length(calls) == 2)
    end
  end

  test "lists, each of which has a copy of all processes, are as many at a time as a node has memory for" do
    [list] = for %{method: "GET", path: "/processes"} = list <- TidepoolWeb.Router.endpoints(), do: list
    assert list.places == 16
  end

  test "starts with very long arguments are some at a time, and leave others as many" do
    peer = Peer.start!(server: true)
    Peer.deploy!(peer, "lunatic", "puppet")
    shell = Peer.shell(peer)
    taken = "TidepoolWeb.Resource.Shares.take(:large_starts, {:network, {127, 0, 0, 1}}, 16)"
    # As many requests of this machine that are not answered yet.
    assert {[:ok], _names} = shell.("Enum.uniq(for _ <- 1..8, do: #{taken})", [], [])
    start = &curl_url(Peer.url(peer, "/processes/puppet"), ["-X", "POST", "--data-binary", &1])
    long = ~s({"args": ["#{String.duplicate("a", 5_000)}"]})
    assert {503, _headers, %{"error" => %{"reason" => "overloaded"}}} = start.(long)
    assert {201, _headers, _process} = start.(~s({"args": ["a"]}))
    shell.("TidepoolWeb.Resource.Shares.give_back(:large_starts, {:network, {127, 0, 0, 1}})", [], [])
    assert {201, _headers, _process} = start.(long)
  end

  test "what a program was started with does not stay with its first process, nor do all imports of its function", %{
    name: name
  } do
    {:ok, pid} = Tidepool.Process.start_link(name, List.duplicate("a", 20_000))
    # It is told of before it begins to wait.
    eventually(fn -> pid |> Process.info(:total_heap_size) |> elem(1) < 8_192 end)
    {:ok, %{imports: imports}} = Tidepool.fetch(name)
    [{_first, _reference, _number, {function, _native}}] = :ets.lookup(Tidepool.Process.Programs, pid)
    assert length(imports) > 16 and length(function.imports) == 16
  end

  test "a command is started with its arguments, its environment and limits of its own, listed, and killed" do
    name = deploy!("rust", "surroundings_command")
    LogWatch.watch(name)

    assert {201, _headers, %{"function" => ^name}} =
             post(name, ~s({"args": ["look", "around"], "env": {"TIDE": "low"}}))

    for line <- ["arguments: #{name} look around", "environment: TIDE", "files: none"] do
      line = "#{name}: #{line}"
      assert_receive {:logged, ^name, _level, ^line, _metadata}, 30_000
    end

    name = deploy!("rust", "files_command")
    loop = ~s({"args": ["loop"], "cpu_time": 600000})
    assert {201, _headers, %{"id" => id}} = post(name, loop)
    assert {200, _headers, %{"processes" => [%{"id" => ^id}]}} = listed(name)
    assert {200, _headers, %{"killed" => ^id}} = curl("/processes/#{id}", ["-X", "DELETE"])
    assert {200, _headers, %{"processes" => []}} = listed(name)

    # It computes for as long as its start says, and no longer.
    assert {_status, _headers, _answer} = post(name, String.replace(loop, "600000", "50"))
    eventually(fn -> match?({200, _headers, %{"processes" => []}}, listed(name)) end, 20_000)
  end

  test "GET tells in which function of its module a process is, whether it waits or computes", %{name: name} do
    puppet = Puppets.start(name)
    %{program: program} = Tidepool.Process.info(puppet)
    assert {200, _headers, %{"current_function" => current, "stack" => stack}} = curl("/processes/#{program}.1")
    assert [^current | _callers] = stack
    assert Enum.any?(stack, &(&1 =~ "puppet")), inspect(stack)
    assert {200, _headers, %{"processes" => [%{"current_function" => ^current}]}} = listed(name)

    # It computes, for ever.
    Puppets.ask(puppet, ?@)

    eventually(fn ->
      {200, _headers, process} = curl("/processes/#{program}.1")
      is_binary(process["current_function"]) and process["cpu_us"] > 10_000
    end)

    assert Tidepool.Process.stacks([self(), spawn(fn -> :ok end)]) == %{}
    # WASI's own waits don't show it.
    nap = deploy!("c", "nap", engine: :dense)
    assert {201, _headers, %{"id" => id}} = post(nap, ~s({"args": ["600000"]}))
    assert {200, _headers, %{"current_function" => nil, "stack" => nil}} = curl("/processes/#{id}")
    assert {200, _headers, _killed} = curl("/processes/#{id}", ["-X", "DELETE"])
  end

  test "of a process with very many links GET tells a thousand, and how many more there are", %{name: name} do
    puppet = Puppets.start(name)
    %{program: program} = Tidepool.Process.info(puppet)
    test = self()

    for _link <- 1..1_001 do
      spawn(fn ->
        Process.link(puppet)
        send(test, :linked)
        Process.sleep(:infinity)
      end)

      assert_receive :linked
    end

    assert {200, _headers, %{"links" => links, "links_omitted" => 1}} = curl("/processes/#{program}.1")
    assert length(links) == 1_000
    assert {200, _headers, %{"processes" => [%{"links" => ^links, "links_omitted" => 1}]}} = listed(name)
  end

  test "a process with much to hear is not looked at, and nothing of a look stays with it" do
    deaf = spawn(fn -> Process.sleep(:infinity) end)
    for number <- 1..101, do: send(deaf, number)
    assert Tidepool.Process.stacks([deaf]) == %{}
    assert {:message_queue_len, 101} = Process.info(deaf, :message_queue_len)
    Process.exit(deaf, :kill)
  end

  test "GET tells what is linked to what, and of the functions that were asked for alone", %{name: name} do
    puppet = Puppets.start(name)
    {_id, child} = Puppets.spawn(puppet, 7)
    other = deploy!("lunatic", "puppet")
    Puppets.start(other)

    assert {200, _headers, %{"processes" => [first, second]}} = listed(name)
    assert first["links"] == [second["id"]] and second["links"] == [first["id"]]
    assert {200, _headers, %{"links" => [linked]}} = curl("/processes/#{first["id"]}")
    assert linked == second["id"]
    assert {200, _headers, %{"processes" => all}} = curl("/processes")
    functions = Enum.map(all, & &1["function"])
    assert name in functions and other in functions

    assert {200, _headers, _killed} = curl("/processes/#{first["id"]}", ["-X", "DELETE"])
    monitor = Process.monitor(child)
    assert_receive {:DOWN, ^monitor, :process, ^child, _reason}
  end

  test "a program that ends at once has been started, and is ended; of one that fails at once it is told why" do
    name = deploy!("c", "nap", engine: :dense)

    # Whether it is over when it is looked at is the scheduler's to say.
    assert {201, _headers, started} = post(name, ~s({"args": ["0"]}))
    if started["id"], do: assert({404, _, _} = eventually_gone(started["id"]))
    if started["id"] == nil, do: assert(started["state"] == "ended")

    # In its first slice, while it is started, unless the system has held that up.
    name = deploy!("wat", "wasi_exit_silent")

    eventually(fn ->
      assert {422, _headers, %{"error" => %{"reason" => "guest_error", "exit_code" => 9}}} = post(name, "")
    end)
  end

  test "the CPU time of a program's processes is bounded as the start says", %{name: name} do
    assert {400, _headers, _error} = post(name, ~s({"cpu_time": "1"}))
    assert {201, _headers, %{"id" => id}} = post(name, ~s({"cpu_time": 60000, "total_cpu_time": 200}))
    {:ok, %{pid: pid}} = found(id)
    monitor = Process.monitor(pid)
    # It waits for who is to tell it what to do.
    {:ok, master} = Tidepool.Process.introduce(pid, self())
    send(pid, {:tidepool, 0, <<master::little-64>>})
    Tidepool.Puppets.ask(pid, ?@)
    assert_receive {:DOWN, ^monitor, :process, _pid, {%{reason: {:limit, :total_cpu_time}}, []}}
  end

  defp found(id) do
    [program, number] = id |> String.split(".") |> Enum.map(&String.to_integer/1)
    {:ok, Tidepool.Process.find(program, number)}
  end

  defp eventually_gone(id) do
    eventually(fn -> match?({404, _, _}, curl("/processes/#{id}")) end)
    curl("/processes/#{id}")
  end

  test "a waPC function is refused as a process, and goes on being called" do
    name = deploy!("rust", "hello_world")
    assert {422, _headers, %{"error" => %{"reason" => "not_a_program", "message" => message}}} = post(name, "")
    assert message =~ "call it"
    assert {:error, %Tidepool.Error{reason: :not_a_program}} = Tidepool.Process.start(name)
    assert {200, _headers, "Hello, Ada!"} = curl("/call/#{name}/hello", ["--data-binary", "Ada"])
  end

  test "a WASI program is a process that sleeps as one, and whose standard input is empty" do
    name = deploy!("c", "nap", engine: :dense)
    assert {201, _headers, %{"id" => id, "entry" => "_start"}} = post(name, ~s({"args": ["600000"]}))
    assert is_binary(id)
    eventually(fn -> match?({200, _, %{"state" => "waiting"}}, curl("/processes/#{id}")) end)
    assert {200, _headers, %{"killed" => ^id}} = curl("/processes/#{id}", ["-X", "DELETE"])

    {:ok, pid} = Tidepool.Process.start(name, [name, "0"], output: self())
    assert_receive {:tidepool_output, ^pid, :stdout, "0 bytes of input, slept 0 ms" <> _}
  end

  test "what is no start is refused with a reason", %{name: name} do
    for {body, reason} <- [
          {"{", "invalid_option"},
          {"[]", "invalid_option"},
          {~s({"args": "a"}), "invalid_option"},
          {~s({"args": [1]}), "invalid_option"},
          {~s({"args": ["a\\u0000b"]}), "invalid_option"},
          {~s({"env": {"A": 1}}), "invalid_option"},
          {~s({"env": ["A"]}), "invalid_option"},
          {~s({"env": {"A=B": "1"}}), "invalid_option"},
          {~s({"entry": "nothing_of_the_kind"}), "invalid_option"},
          {~s({"cpu_time": 0}), "invalid_option"},
          {~s({"total_cpu_time": 1.5}), "invalid_option"},
          {~s({"entry": 1}), "invalid_option"},
          {~s({"arguments": []}), "unknown_field"}
        ] do
      assert {400, _headers, %{"error" => %{"reason" => ^reason}}} = post(name, body), body
    end

    assert {404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = post("nobody", "")
    large = Path.join(System.tmp_dir!(), unique_name("large"))
    on_exit(fn -> File.rm(large) end)
    File.write!(large, String.duplicate(" ", 262_145))
    assert {413, _headers, %{"error" => %{"reason" => "payload_too_large"}}} = post(name, "@" <> large)
    assert {400, _headers, %{"error" => %{"reason" => "unknown_field"}}} = curl("/processes?name=x")
    assert {200, _headers, %{"processes" => []}} = listed(name)

    for id <- ~w(1 a.b 1.a 0.0 -1.1 1.1.1 99999999999999999999.1) do
      assert {404, _headers, %{"error" => %{"reason" => "unknown_process"}}} = curl("/processes/#{id}")
    end
  end
end
