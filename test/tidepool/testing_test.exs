defmodule Tidepool.TestingTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Function, Host, Testing}

  # What many tests at once have handlers for, each its own.
  @target {"testing", "prices", "get"}
  @operation "testing/prices/get"

  defp host!, do: Testing.deploy!(Testing.guest(:host)).name

  # Runs a test of ExUnit's within this one, in a process of its own, with what it does at its end.
  defp in_a_test_of_its_own(fun) do
    test = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        ExUnit.OnExitHandler.register(self())
        send(test, {:did, fun.()})
      end)

    assert_receive {:did, result}
    assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}
    {pid, result}
  end

  defp end_test(pid), do: ExUnit.OnExitHandler.run(pid, 20_000)

  for n <- 1..8 do
    test "a handler is this test's alone, whoever else has one for the same target (#{n})" do
      name = host!()
      assert {:error, %Error{reason: :guest_error, message: "no host function" <> _}} = Tidepool.call(name, @operation)
      Testing.handle(@target, fn call -> {:ok, "#{unquote(n)} #{call.payload}"} end)

      replies =
        Task.async_stream(1..50, fn i -> Tidepool.call!(name, @operation, "#{i}") end,
          max_concurrency: 8,
          timeout: 60_000
        )

      assert Enum.map(replies, &elem(&1, 1)) == for(i <- 1..50, do: "#{unquote(n)} #{i}")
      assert Tidepool.call(name, @operation, "apple") == {:ok, "#{unquote(n)} apple"}
    end
  end

  test "calls of other processes don't see it, unless the test allows them" do
    name = host!()
    Testing.handle(@target, fn _call -> {:ok, "mine"} end)
    agent = start_supervised!({Agent, fn -> nil end})
    call = fn -> Agent.get(agent, fn nil -> Tidepool.call(name, @operation) end) end
    assert {:error, %Error{reason: :guest_error}} = call.()
    Testing.allow(agent)
    assert call.() == {:ok, "mine"}

    Process.register(agent, :"#{name}")
    Testing.allow(:"#{name}")
    assert call.() == {:ok, "mine"}
  end

  test "tasks of tasks call as the test does" do
    name = host!()
    Testing.handle(@target, fn _call -> {:ok, "mine"} end)
    nested = Task.async(fn -> Task.await(Task.async(fn -> Tidepool.call(name, @operation) end), 60_000) end)
    assert Task.await(nested, 60_000) == {:ok, "mine"}
  end

  test "a test's handler comes before the application's, and the application's is what others get and the test, too, for the rest" do
    binding = unique_name("app")
    name = host!()
    handle!({binding, "prices", "get"}, fn _call -> {:ok, "the application's"} end)
    handle!({binding, "prices", :_}, fn _call -> {:ok, "the application's other"} end)
    assert Tidepool.call(name, "#{binding}/prices/get") == {:ok, "the application's"}

    # Less specific, and first all the same.
    Testing.handle({binding, :_, :_}, fn call -> {:ok, "the test's #{call.operation}"} end)
    assert Tidepool.call(name, "#{binding}/prices/get") == {:ok, "the test's get"}
    assert Tidepool.call(name, "#{binding}/stock/count") == {:ok, "the test's count"}

    Testing.handle({binding, "stock", "count"}, fn _call -> {:error, "the test's own"} end)
    assert {:error, %Error{message: "the test's own"}} = Tidepool.call(name, "#{binding}/stock/count")

    {pid, replies} =
      in_a_test_of_its_own(fn ->
        for operation <- ["get", "put"], do: Tidepool.call(name, "#{binding}/prices/#{operation}")
      end)

    assert replies == [{:ok, "the application's"}, {:ok, "the application's other"}]
    end_test(pid)
  end

  test "handlers of the application may come, be replaced and go while tests have theirs" do
    binding = unique_name("app")
    name = host!()
    Testing.handle(@target, fn _call -> {:ok, "mine"} end)
    call = fn -> Tidepool.call(name, "#{binding}/a/b") end
    assert {:error, %Error{message: "no host function" <> _}} = call.()
    Host.register({binding, "a", "b"}, fn _call -> {:ok, "one"} end)
    assert call.() == {:ok, "one"}
    Host.register({binding, "a", "b"}, fn _call -> {:ok, "two"} end)
    assert call.() == {:ok, "two"}
    Host.unregister({binding, "a", "b"})
    assert {:error, %Error{message: "no host function" <> _}} = call.()
    assert Tidepool.call(name, @operation) == {:ok, "mine"}
  end

  test "a GenServer and a module's function may answer for a test" do
    name = host!()
    Testing.handle(@target, {__MODULE__, :answer})
    assert Tidepool.call(name, @operation, "x") == {:ok, "answered x"}

    test = self()
    Testing.handle(@target, test)
    call = Task.async(fn -> Tidepool.call(name, @operation, "y") end)
    assert_receive {:invoke_callback, "testing", "prices", "get", "y", ref}
    Host.reply(ref, {:ok, "by message"})
    assert Task.await(call, 60_000) == {:ok, "by message"}
  end

  test "a handler of a test takes the options of others" do
    name = host!()
    test = self()
    Testing.handle(@target, test, message: :call)
    call = Task.async(fn -> Tidepool.call(name, @operation, "y", context: :mine) end)
    assert_receive {:host_call, %Host.Call{payload: "y", function: ^name, context: :mine}, ref}
    Host.reply(ref, {:ok, "by message"})
    assert Task.await(call, 60_000) == {:ok, "by message"}

    # In a process of its own, it calls for the test all the same.
    Testing.handle({"testing", "nested", :_}, fn _call -> {:ok, "inner"} end)
    nested = fn call -> if call.payload == "", do: {:ok, inspect(self())}, else: Tidepool.call(name, call.payload) end
    Testing.handle(@target, nested, run: :isolated)
    assert Tidepool.call!(name, @operation) != inspect(self())
    assert Tidepool.call(name, @operation, "testing/nested/any") == {:ok, "inner"}
  end

  def answer(call), do: {:ok, "answered #{call.payload}"}

  test "handlers, functions and allowances are gone when the test is over" do
    agent = start_supervised!({Agent, fn -> nil end})
    other = host!()

    {pid, name} =
      in_a_test_of_its_own(fn ->
        %Function{name: name} = Testing.deploy!(Testing.guest(:echo), name: "mine", instances: {:warm, 1})
        Testing.handle(@target, fn _call -> {:ok, "theirs"} end)
        Testing.allow(agent)
        {:ok, "theirs"} = Agent.get(agent, fn nil -> Tidepool.call(other, @operation) end)
        name
      end)

    assert "mine-" <> _unique = name
    assert Tidepool.call(name, nil, "x") == {:ok, "x"}
    assert :ets.match(Host.TestHandlers, {{pid, :_}, :"$1"}) != []
    assert end_test(pid) == :ok
    assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
    assert {:error, %Error{reason: :guest_error}} = Agent.get(agent, fn nil -> Tidepool.call(other, @operation) end)
    assert :ets.match(Host.TestHandlers, {{pid, :_}, :"$1"}) ++ :ets.match(Host.TestHandlers, {:"$1", pid}) == []
  end

  test "names are unique, whatever they begin with" do
    names = for _deploy <- 1..3, do: Testing.deploy!(Testing.guest(:echo)).name
    assert Enum.uniq(names) == names
    assert {:error, %Error{reason: :not_wasm}} = catch_deploy("not wasm", [])
    assert {:error, %Error{reason: :invalid_option}} = catch_deploy(Testing.guest(:echo), name: "a/b/c")
  end

  defp catch_deploy(wasm, options) do
    {:ok, Testing.deploy!(wasm, options)}
  rescue
    error in Error -> {:error, error}
  end

  test "the guests do what their documentation says" do
    call = fn guest, operation, payload, options ->
      Tidepool.call(Testing.deploy!(Testing.guest(guest), options).name, operation, payload)
    end

    large = :binary.copy("tide", 500_000)
    odd = String.duplicate("o", 65_530)
    assert call.(:echo, "any", large, []) == {:ok, large}
    assert call.(:echo, nil, "", []) == {:ok, ""}
    assert call.(:echo, "any", odd, instances: {:warm, 1}) == {:ok, odd}
    assert {:error, %Error{reason: :guest_error, message: "sorry"}} = call.(:fail, nil, "sorry", [])
    assert {:error, %Error{reason: {:trap, :unreachable}}} = call.(:trap, nil, "x", [])
    assert {:error, %Error{reason: {:limit, :cpu_time}}} = call.(:loop, nil, "x", limits: [cpu_time: 5])

    Testing.handle({"a", "b", :_}, fn call -> {:ok, call.operation <> call.payload} end)
    assert call.(:host, "a/b/c", large, []) == {:ok, "c" <> large}
    assert call.(:host, "a/b/c/d", "x", []) == {:ok, "c/dx"}
    assert call.(:host, "a/b/", "x", []) == {:ok, "x"}

    for operation <- ["a", "a/b", "/", String.duplicate("a", 1_000)] do
      assert {:error, %Error{message: "the operation has to be BINDING/NAMESPACE/OPERATION"}} =
               call.(:host, operation, "x", [])
    end

    Testing.handle({"a", "b", "c"}, fn _call -> {:error, large} end)
    assert {:error, %Error{reason: :guest_error, message: "tidetide" <> _}} = call.(:host, "a/b/c", "x", [])
  end

  test "until a test has a handler, entries are what they are without tests" do
    peer = Tidepool.Peer.start!(builtins: [:log])

    entries = fn ->
      for {{Host.Registry, target}, entry} <- Tidepool.Peer.call(peer, :persistent_term, :get, []), do: {target, entry}
    end

    assert {{"tidepool", "log", :_}, {{Host.Builtin, :log}, _run}} =
             List.keyfind(entries.(), {"tidepool", "log", :_}, 0)

    refute Enum.any?(entries.(), &match?({_target, {:testing, _entry}}, &1))
    assert :undefined = Tidepool.Peer.call(peer, :ets, :whereis, [Host.TestHandlers])
    :ok = Tidepool.Peer.call(peer, Host.Registry, :test, [])
    assert Enum.all?(entries.(), &match?({_target, {:testing, _entry}}, &1))
    # The registry's crash costs the tests' handlers and nothing else.
    registry = Tidepool.Peer.call(peer, Process, :whereis, [Host.Registry])
    Tidepool.Peer.call(peer, Process, :exit, [registry, :kill])

    eventually(fn -> Tidepool.Peer.call(peer, Process, :whereis, [Host.Registry]) not in [nil, registry] end)
    eventually(fn -> Tidepool.Peer.call(peer, Process, :whereis, [Tidepool.Catalog]) != nil end)
    # It has its name before it has read what there is.
    _state = Tidepool.Peer.call(peer, :sys, :get_state, [Tidepool.Catalog])
    {:ok, _function} = Tidepool.Peer.call(peer, Tidepool, :deploy, [Testing.guest(:host), [name: "host"]])

    assert {:error, %Error{message: "no host function x/y/z"}} =
             Tidepool.Peer.call(peer, Tidepool, :call, ["host", "x/y/z", ""])
  end
end
