defmodule Tidepool.HostCallTest do
  # What handlers get to know of the call that asks: which function and version, how deep, until when, for whom.
  use Tidepool.Case, async: true

  alias Tidepool.Host

  setup do
    namespace = unique_name("asks")
    %{name: deploy!("rust", "hello_world"), namespace: namespace, target: {"host", namespace, "op"}}
  end

  defp host(context, options \\ [], payload \\ "in") do
    Tidepool.call(context.name, "host", "host/#{context.namespace}/op\n" <> payload, options)
  end

  # A handler that tells the test what it has got.
  defp telling do
    test = self()

    fn call ->
      send(test, {:got, call})
      {:ok, "told"}
    end
  end

  defp got do
    assert_receive {:got, %Host.Call{} = call}
    call
  end

  test "a handler that is a function gets function, version, depth, deadline and its caller's context", context do
    handle!(context.target, telling())
    before = System.monotonic_time(:millisecond)
    assert host(context, context: %{tenant: "acme"}) == {:ok, "told"}
    call = got()
    assert {call.binding, call.namespace, call.operation} == context.target
    assert {call.payload, call.function, call.version, call.depth} == {"in", context.name, 1, 1}
    assert call.context == %{tenant: "acme"}
    # The function's time limit, as it is by default.
    assert call.deadline in (before + 5_000)..(System.monotonic_time(:millisecond) + 5_001)
  end

  test "a GenServer that asks for the call gets the same, and anybody answers", context do
    handle!(context.target, self(), message: :call)
    caller = Task.async(fn -> host(context, context: {:user, 7}, timeout: 60_000) end)
    assert_receive {:host_call, %Host.Call{} = call, ref} when is_reference(ref)
    assert {call.binding, call.namespace, call.operation} == context.target
    assert {call.payload, call.function, call.version, call.depth} == {"in", context.name, 1, 1}
    assert call.context == {:user, 7}
    assert_in_delta call.deadline, System.monotonic_time(:millisecond) + 5_000, 5_000
    spawn(fn -> Host.reply(ref, {:ok, "by another"}) end)
    assert Task.await(caller, 60_000) == {:ok, "by another"}
    assert Task.async(fn -> Process.info(self(), :messages) end) |> Task.await(60_000) == {:messages, []}
  end

  test "the message without that is as it always was", context do
    for options <- [[], [message: :invoke_callback]] do
      handle!(context.target, self(), options)
      caller = Task.async(fn -> host(context, context: :some) end)
      namespace = context.namespace
      assert_receive {:invoke_callback, "host", ^namespace, "op", "in", ref}
      Host.reply(ref, {:ok, "out"})
      assert Task.await(caller, 60_000) == {:ok, "out"}
    end
  end

  test "the version is the one that runs, though a newer one was deployed meanwhile", context do
    test = self()

    handle!(context.target, fn call ->
      send(test, {:version, call.version})
      {:ok, %{version: 2}} = Tidepool.deploy(guest("zig", "hello_world"), name: call.function)
      {:ok, ""}
    end)

    assert {:ok, ""} = host(context)
    assert_received {:version, 1}
    assert {:ok, ""} = host(context)
    assert_received {:version, 2}
  end

  test "a context is any term, and without one it is nil", context do
    handle!(context.target, telling())

    for term <- [nil, false, :inherited, {:given, 1}, self(), %{deep: [%{}]}, fn -> :ok end] do
      assert host(context, context: term) == {:ok, "told"}
      assert got().context === term
    end

    for options <- [[], [timeout: 10_000]] do
      assert host(context, options) == {:ok, "told"}
      assert got().context === nil
    end
  end

  test "context and timeout go together, in any order", context do
    handle!(context.target, telling())

    for options <- [[context: 1, timeout: 200], [timeout: 200, context: 1]] do
      assert host(context, options) == {:ok, "told"}
      assert %{context: 1, deadline: deadline} = got()
      assert deadline <= System.monotonic_time(:millisecond) + 201
    end
  end

  test "what a handler calls inherits the context and is one deeper, unless it passes another", context do
    tell = telling()

    for {options, inner} <- [
          {[], :outer},
          {[timeout: 1_000], :outer},
          {[context: :inner], :inner},
          {[context: nil], nil}
        ] do
      handle!(context.target, fn
        %{payload: "in"} -> host(context, options, "inner")
        call -> tell.(call)
      end)

      for outer <- [[context: :outer], [context: :outer, timeout: 10_000]] do
        assert host(context, outer) == {:ok, "told"}
        assert %{context: ^inner, depth: 2} = got()
      end
    end

    # Nothing of it is left for the next call.
    assert host(context, [], "inner") == {:ok, "told"}
    assert %{context: nil, depth: 1} = got()
  end

  test "one call after another that a handler makes is nested alike", context do
    tell = telling()

    handle!(context.target, fn
      %{payload: "in"} -> for(_ <- 1..3, do: host(context, [], "inner")) |> List.last()
      call -> tell.(call)
    end)

    assert host(context, context: :outer, timeout: 30_000) == {:ok, "told"}
    assert [first, second, third] = for(_ <- 1..3, do: got())
    assert Enum.map([first, second, third], &{&1.depth, &1.context}) == [{2, :outer}, {2, :outer}, {2, :outer}]
  end

  test "calls over HTTP have no context", context do
    handle!(context.target, telling())
    path = "/call/#{context.name}/host"
    assert {200, _headers, "told"} = curl(path, ["--data-binary", "host/#{context.namespace}/op\nin"])
    assert %{context: nil, depth: 1, version: 1} = got()
  end

  test "options of a handler that make no sense are refused in a sentence" do
    fun = fn _call -> {:ok, ""} end

    for {handler, options, part} <- [
          {fun, [message: :call], "the option :message is for handlers that are GenServers"},
          {{Enum, :map}, [message: :call], "the option :message is for handlers that are GenServers"},
          {self(), [run: :inline], "the option :run is for handlers that are functions"},
          {fun, [run: :sometimes], "the option :run has to be one of :timed, :inline, :isolated, and is :sometimes"},
          {self(), [message: :cast], "the option :message has to be one of :invoke_callback, :call"},
          {self(), [mesage: :call], "did you mean :message?"},
          {fun, :inline, "the options have to be a keyword list"}
        ] do
      error = assert_raise ArgumentError, fn -> Host.register({"a", "b", "c"}, handler, options) end
      assert Exception.message(error) =~ part
    end
  end
end
