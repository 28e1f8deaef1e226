defmodule Tidepool.Keyvalue.GrantsTest do
  # Not async: the node has one store, by its settings.
  #
  # Which buckets a component may open, what it may put there, and what it is told when the store is not there.
  use Tidepool.Case

  import Tidepool.ProgramClient

  alias Tidepool.{Config, Error, Host, Keyvalue, LogWatch, Namespaces, Redis, Tokens}

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
  end

  defp set!(changes), do: Config.put(Map.merge(:persistent_term.get(Config), Map.new(changes)))

  defp run(name, lines) do
    assert {:ok, text} = Tidepool.call(name, :run, [Enum.join(lines, "\n")])
    String.split(text, "\n")
  end

  defp redis!(options \\ []) do
    {server, url} = Redis.start!()
    set!([keyvalue: {Keyvalue.Redis, url: url}] ++ options)
    children = Keyvalue.Redis.children([])
    start_supervised!(%{id: :connections, start: {Supervisor, :start_link, [children, [strategy: :one_for_one]]}})
    server
  end

  # A store that tells the test who asks, and answers what it is told to.
  defmodule Slow do
    @behaviour Keyvalue

    @impl true
    def get(bucket, key, test) do
      send(test, {:asked, self(), bucket, key})

      receive do
        {:answer, answer} -> answer
      end
    end

    @impl true
    def set(_bucket, _key, _value, _test), do: raise("secret of the host")
    @impl true
    def delete(_bucket, _key, _test), do: {:error, "it is kept"}
    @impl true
    def list_keys(_bucket, _from, _limit, _test), do: {:ok, ["a", "b"], false}
    @impl true
    def increment(_bucket, _key, delta, _test), do: {:ok, delta + 0.5}
    @impl true
    def swap(_bucket, _key, _expected, _value, _test), do: :ok
  end

  test "a bucket that the deploy does not name is denied, and the console says what would grant it" do
    bucket = unique_name("granted")

    for {guest, options} <- [{"keyvalue_draft", []}, {"keyvalue_draft2", keyvalue: [bucket]}] do
      name = deploy!("rust", guest, options)
      LogWatch.watch(name)
      assert run(name, ["open other", "get a"]) == ["error access-denied", "error no bucket is open"]
      assert_receive {:logged, ^name, _level, text, _metadata}
      assert text =~ ~s(the function is not granted the bucket "other": its deploy's option `keyvalue` lists)
    end
  end

  test "the option is kept, shown, taken from a form, and held to its form" do
    wasm = guest("rust", "keyvalue_draft2")
    name = unique_name("form")
    on_exit(fn -> Tidepool.remove(name) end)
    assert {201, _headers, %{"keyvalue" => ["a", "b"]}} = curl_deploy(wasm, name: name, keyvalue: "a", keyvalue: "b")
    assert {200, _headers, %{"keyvalue" => ["a", "b"]}} = curl("/functions/#{name}")
    assert {400, _headers, %{"error" => error}} = curl_deploy(wasm, name: name, keyvalue: "a/b")
    assert %{"reason" => "invalid_option", "message" => message} = error
    assert message =~ "`keyvalue`"
  end

  test "functions of a namespace share its buckets, and no other function sees them" do
    {one, two} = {unique_name("one"), unique_name("two")}
    bucket = unique_name("shared")

    for name <- ["#{one}/a", "#{one}/b", "#{two}/a", "#{bucket}.plain"] do
      {:ok, _function} = Tidepool.deploy(guest("rust", "keyvalue_draft2"), name: name, keyvalue: [bucket])
      on_exit(fn -> Tidepool.remove(name) end)
    end

    assert run("#{one}/a", ["open #{bucket}", "set k one"]) == ["ok", "ok"]
    assert run("#{one}/b", ["open #{bucket}", "get k"]) == ["ok", "one"]
    for name <- ["#{two}/a", "#{bucket}.plain"], do: assert(run(name, ["open #{bucket}", "get k"]) == ["ok", "none"])
    assert Namespaces.Name.of("#{one}/a") == one
  end

  test "a token has functions granted the buckets that it has been given" do
    bounds =
      &Tokens.Bounds.beyond(&1, %{host: ["none"], net: [], files: [], routes: [], keyvalue: ["a", "b"]}, ["none"])

    assert bounds.(["keyvalue:a"]) == "keyvalue:b"
    assert bounds.([]) == "keyvalue:a"
    assert bounds.(["keyvalue:a", "keyvalue:b"]) == nil
    assert bounds.(["*"]) == nil
  end

  test "keys, values, batches and handles have bounds, and within them all is kept" do
    bucket = unique_name("bounds")
    name = deploy!("rust", "keyvalue_draft2", keyvalue: [bucket], limits: [payload: 8_000_000])
    key = String.duplicate("k", 1_024)
    most = Keyvalue.max_value_bytes()
    keys = &Enum.map_join(1..&1, " ", fn number -> "k#{number}" end)

    assert run(name, [
             "open #{bucket}",
             "set #{key} v",
             "set #{key}k v",
             "get #{key}k",
             "fill a #{most}",
             "fill a #{most + 1}",
             "fill b #{most}",
             "fill c #{most}",
             "fill d #{most}",
             "add e 1",
             "gets #{keys.(1_000)} ",
             "gets #{keys.(1_001)}",
             "deletes #{keys.(1_001)}"
           ]) == [
             "ok",
             "ok",
             "error other a key has at most 1024 bytes, and this one 1025",
             "error other a key has at most 1024 bytes, and this one 1025",
             "ok",
             "error other a value has at most 1048576 bytes, and this one 1048577",
             "ok",
             "ok",
             "ok",
             "1",
             String.trim(String.duplicate("none ", 1_000)),
             "error other one request has at most 1000 keys, and this one 1001",
             "error other one request has at most 1000 keys, and this one 1001"
           ]

    assert [_ok, "error other " <> text] = run(name, ["open #{bucket}", "gets a b c d e"])
    assert text == Keyvalue.too_large(Keyvalue.max_batch_bytes())
    # Handles of swaps keep what they have seen: four of a value of 1 MiB are more than there is room for.
    see = ["see a", "see a", "see a", "see a"]
    assert [_ok, _one, _two, _three, "error other handles of swaps keep" <> _more] = run(name, ["open #{bucket}" | see])

    assert run(name, ["open #{bucket}", "handles 900"]) == ["ok", "ok"]
    lines = Enum.join(["open #{bucket}", "handles 1001"], "\n")
    assert {:error, %Error{reason: {:trap, _kind}}} = Tidepool.call(name, :run, [lines])
    assert run(name, ["open #{bucket}", "deletes a b c d e #{key}", "list"]) == ["ok", "ok", "1 "]
  end

  test "what handles of swaps have seen is memory of the guest's" do
    bucket = unique_name("seen")
    half = div(Keyvalue.max_value_bytes(), 2)

    [few, many] =
      for memory <- [4_194_304, 16_777_216],
          do: deploy!("rust", "keyvalue_draft2", keyvalue: [bucket], limits: [memory: memory])

    assert run(many, ["open #{bucket}", "fill handles #{half}", "handles 7"]) == ["ok", "ok", "ok"]
    full = "error other the memory limit has no room for the #{half + 7} bytes that this handle would keep"
    assert run(few, ["open #{bucket}", "handles 1", "handles 6"]) == ["ok", "ok", full]
    # It is the guest's to know, and no reason for what stops it later.
    lines = ["open #{bucket}", "handles 7", "handles many"]
    assert {:error, %Error{reason: {:trap, :unreachable}}} = Tidepool.call(few, :run, [Enum.join(lines, "\n")])
    assert run(many, ["open #{bucket}", "delete handles"]) == ["ok", "ok"]
  end

  # Keys that are larger than an answer may be.
  defmodule Long do
    def list_keys(_bucket, _from, _limit, _none),
      do: {:ok, for(n <- 1..5, do: "#{n}" <> String.duplicate("k", 1_000_000)), false}
  end

  test "a page of keys has as many bytes as an answer may have" do
    set!(keyvalue: {Long, nil})
    assert ask("f", "list-keys", [nil]) == {:error, Keyvalue.too_large(Keyvalue.max_batch_bytes())}
  end

  test "a handler of HTTP has the same, and a probe opens nothing" do
    space = unique_name("http")
    name = "#{space}/visits"
    options = [name: name, keyvalue: ["visits"], instances: {:warm, 2}]
    LogWatch.watch(name)
    {:ok, _function} = Tidepool.deploy(guest("rust", "keyvalue_http"), options)
    on_exit(fn -> Tidepool.remove(name) end)
    path = "/call/#{space}%2Fvisits/"
    # A probe asks for `/`, which counts.
    assert {200, _headers, "ok\n1"} = curl(path)
    assert {200, _headers, "ok\n2\nnone\n1 home"} = curl(path <> "open+visits/add+home+1/get+b/list")
    refute_received {:logged, ^name, _level, "the function is not granted" <> _more, _metadata}
  end

  test "a command has the same, called or run by a process" do
    bucket = unique_name("command")
    name = deploy!("rust", "keyvalue_command", keyvalue: [bucket])
    assert Tidepool.call(name, "open #{bucket}\nset a called\nget a") == {:ok, "ok\nok\ncalled"}
    program = start!(name, args: [name, "open #{bucket}", "get a", "set a run", "see a", "swap swapped", "list"])
    assert ended!(program) == :normal
    assert output() =~ "ok\ncalled\nok\nrun\nok\n1 a"
    assert Tidepool.call(name, "open #{bucket}\nget a") == {:ok, "ok\nswapped"}
  end

  test "a process asks any handler that the host has, however that is registered" do
    name = deploy!("rust", "keyvalue_command", keyvalue: ["a"])
    test = self()
    server = spawn_link(fn -> serve("by a server") end)

    for {handler, options, said} <- [
          {fn call -> {:ok, "by #{inspect(self() != test)} #{call.depth}"} end, [run: :timed], "by true 1"},
          {fn _call -> {:ok, "isolated"} end, [run: :isolated], "isolated"},
          {fn _call -> {:ok, "inline"} end, [run: :inline], "inline"},
          {fn _call -> {:error, "it can't"} end, [], "error other it can't"},
          {server, [message: :call], "by a server"}
        ] do
      handle!({"wasi", "keyvalue", "get"}, handler, options)
      program = start!(name, args: [name, "open a", "get k"])
      assert ended!(program) == :normal
      assert output() =~ said
    end
  end

  defp serve(answer) do
    receive do
      {:host_call, %Host.Call{args: [_bucket, _key]}, ref} -> Host.reply(ref, {:ok, answer})
    end

    serve(answer)
  end

  describe "a store that" do
    test "is none is a sentence for the guest" do
      set!(keyvalue: nil)
      name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])

      assert run(name, ["open a", "get k"]) ==
               ["ok", "error other this node has no store of keys and values: its setting `keyvalue` is none"]
    end

    test "fails, or answers what it should not, is told by an id, and of what it leaves out others are made" do
      set!(keyvalue: {Slow, self()})
      name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])
      LogWatch.watch(name)
      failed = "error other the host's handler failed (id"

      assert ["ok", set, "error other it is kept", "error other it is kept", add, "1 a b"] =
               run(name, ["open a", "set k v", "delete k", "deletes k l", "add n 1", "list"])

      assert String.starts_with?(set, failed) and String.starts_with?(add, failed)
      refute set =~ "secret"
      assert_receive {:logged, ^name, :error, text, _metadata}
      assert text =~ "secret of the host"

      task = Task.async(fn -> run(name, ["open a", "exists k", "gets k l"]) end)
      for answer <- ["v", nil, "1"], do: answer_next({:ok, answer})
      assert Task.await(task, 60_000) == ["ok", "true", "none 1"]

      # What is there may be another program's.
      task = Task.async(fn -> run(name, ["open a", "get k"]) end)
      answer_next({:ok, String.duplicate("x", Keyvalue.max_value_bytes() + 1)})
      assert ["ok", "error other what is there has more than" <> _most] = Task.await(task, 60_000)
    end

    defp answer_next(answer) do
      assert_receive {:asked, pid, "a", _key}
      send(pid, {:answer, answer})
    end

    test "is silent is an error after the setting's time, and ends with the guest's call" do
      set!(keyvalue: {Slow, self()}, keyvalue_timeout: 1_000)
      name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])
      assert run(name, ["open a", "get k"]) == ["ok", "error other the store has not answered within 1000 ms"]
      assert_receive {:asked, pid, "a", "k"}
      eventually(fn -> not Process.alive?(pid) end)

      # The call's own time is shorter.
      set!(keyvalue_timeout: 60_000)
      short = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"], limits: [time: 2_000])
      # Both end at the same moment: the guest may be told so, and have said it, before it is ended.
      case Tidepool.call(short, :run, ["open a\nget k"]) do
        {:error, %Error{reason: :timeout}} -> :ok
        {:ok, "ok\nerror other the store has not answered within " <> _ms} -> :ok
      end

      assert_receive {:asked, pid, "a", "k"}
      eventually(fn -> not Process.alive?(pid) end)
      eventually(fn -> busy_instances() == 0 end)
    end

    test "is waited for by a process that is killed ends with it, as with a caller that dies" do
      set!(keyvalue: {Slow, self()}, keyvalue_timeout: 60_000)
      name = deploy!("rust", "keyvalue_command", keyvalue: ["a"])
      program = start!(name, args: [name, "open a", "get k"])
      assert_receive {:asked, pid, "a", "k"}
      Process.exit(program, :kill)
      assert ended!(program) == :killed
      eventually(fn -> not Process.alive?(pid) end)

      {caller, monitor} = spawn_monitor(fn -> Tidepool.call(name, "open a\nget k") end)
      assert_receive {:asked, pid, "a", "k"}
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}
      eventually(fn -> not Process.alive?(pid) end)
      eventually(fn -> busy_instances() == 0 end)
    end

    test "is a Redis that dies in the middle is an error at once, and is there again when that is" do
      server = redis!()
      name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])
      assert run(name, ["open a", "set k v", "get k"]) == ["ok", "ok", "v"]
      Redis.signal(server, "KILL")
      eventually(fn -> ["ok", "error other the store" <> _away] = run(name, ["open a", "get k"]) end)
      began = System.monotonic_time(:millisecond)
      for _call <- 1..20, do: assert(["ok", "error other the store" <> _away] = run(name, ["open a", "get k"]))
      assert System.monotonic_time(:millisecond) - began < 60_000
      Redis.start_again(server)
      eventually(fn -> run(name, ["open a", "set k again", "get k"]) == ["ok", "ok", "again"] end, 10_000)
    end

    test "is a Redis that says nothing is an error in time, and is left" do
      server = redis!(keyvalue_timeout: 300)
      name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])
      other = deploy!("rust", "keyvalue_draft2")
      assert run(name, ["open a", "set k v"]) == ["ok", "ok"]
      Redis.signal(server, "STOP")
      tasks = for _caller <- 1..8, do: Task.async(fn -> run(name, ["open a", "get k", "get k"]) end)
      assert run(other, ["open a"]) == ["error access-denied"]

      for answers <- Task.await_many(tasks, 60_000) do
        assert ["ok", "error other the store" <> _silent, "error other the store" <> _again] = answers
      end

      Redis.signal(server, "CONT")
      eventually(fn -> run(name, ["open a", "get k"]) == ["ok", "v"] end, 10_000)
    end
  end

  for store <- [:memory, :redis] do
    test "a namespace with hundreds of callers has others answered, and those beyond its turns are told so, with #{store}" do
      if unquote(store) == :redis, do: redis!(), else: set!(keyvalue: {Keyvalue.Memory, []})
      {many, other} = {unique_name("many"), unique_name("other")}
      pairs = for number <- 1..1_000, do: {"k#{number}", String.duplicate("v", 4_000)}
      keys = Enum.map(pairs, &elem(&1, 0))
      assert {:ok, nil} = ask("#{many}/a", "set-many", [pairs])
      assert {:ok, nil} = ask("#{other}/a", "set", ["k", "v"])

      hostile =
        for _caller <- 1..400 do
          spawn(fn ->
            for _turn <- Stream.cycle([:ok]) do
              ask("#{many}/a", "set-many", [pairs])
              ask("#{many}/a", "get-many", [keys])
            end
          end)
        end

      on_exit(fn -> for caller <- hostile, do: Process.exit(caller, :kill) end)
      busy = {:error, Keyvalue.Handler.busy()}
      eventually(fn -> ask("#{many}/a", "get", ["k1"]) == busy end, 20_000)

      for _time <- 1..10 do
        assert {took, {:ok, "v"}} = :timer.tc(fn -> ask("#{other}/a", "get", ["k"]) end)
        assert took < 30_000_000
        assert {took, {:ok, nil}} = :timer.tc(fn -> ask("#{other}/a", "set", ["k", "v"]) end)
        assert took < 30_000_000
      end

      for caller <- hostile, do: Process.exit(caller, :kill)
      # All turns are over, and the next one is had.
      eventually(fn -> match?({:ok, _value}, ask("#{many}/a", "get", ["k1"])) end, 20_000)
      eventually(fn -> Namespaces.Turns.count(:keyvalue, "#{many}/a") == {0, 0} end, 20_000)
      if unquote(store) == :memory, do: for(space <- [many, other], do: {:ok, _} = Keyvalue.Memory.clear("#{space}/b"))
    end
  end

  defp ask(function, operation, arguments) do
    Keyvalue.Handler.answer(%Host.Call{
      binding: "wasi",
      namespace: "keyvalue",
      operation: operation,
      payload: nil,
      args: ["b" | arguments],
      function: function,
      deadline: System.monotonic_time(:millisecond) + 60_000
    })
  end

  test "guests of other ABIs, and of other names, ask for nothing by it" do
    call = %Host.Call{binding: "wasi", namespace: "keyvalue", operation: "get", payload: "a", function: "f"}
    assert {:error, "components have stores" <> _more} = Host.dispatch(call, 1_000_000, false)
  end
end
