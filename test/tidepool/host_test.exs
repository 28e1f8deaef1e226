defmodule Tidepool.HostTest do
  # Handlers that are functions: they run in the process that made the call.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Host}

  setup do
    %{name: deploy!("rust", "hello_world"), namespace: unique_name("host")}
  end

  defp host(name, namespace, payload \\ "", options \\ []) do
    Tidepool.call(name, "host", "host/#{namespace}/op\n" <> payload, options)
  end

  defp refusal(result) do
    assert {:error, %Error{reason: :guest_error, message: message}} = result
    message
  end

  def shout(%Host.Call{payload: payload}), do: {:ok, String.upcase(payload)}

  test "a function gets the whole call, in the caller's process", %{name: name, namespace: namespace} do
    test = self()

    handle!({"host", namespace, "op"}, fn call ->
      send(test, {:called, self(), call})
      {:ok, "done"}
    end)

    assert host(name, namespace, "in\n\0out") == {:ok, "done"}

    assert_received {:called, ^test,
                     %Host.Call{
                       binding: "host",
                       namespace: ^namespace,
                       operation: "op",
                       payload: "in\n\0out",
                       function: ^name
                     }}
  end

  test "a module and a function's name are a handler too", %{name: name, namespace: namespace} do
    handle!({"host", namespace, "op"}, {__MODULE__, :shout})
    assert host(name, namespace, "ada") == {:ok, "ADA"}
  end

  test "a handler may answer with any bytes, or refuse with any text", %{name: name, namespace: namespace} do
    for bytes <- ["", <<0>>, <<255, 254>>, String.duplicate("long", 100_000)] do
      handle!({"host", namespace, "op"}, fn _call -> {:ok, bytes} end)
      assert host(name, namespace) == {:ok, bytes}
    end

    handle!({"host", namespace, "op"}, fn _call -> {:error, "no, thanks"} end)
    assert refusal(host(name, namespace)) == "no, thanks"
  end

  test "a handler that raises is an error in the guest, which goes on", %{name: name, namespace: namespace} do
    handle!({"host", namespace, "op"}, fn _call -> raise ArgumentError, "out of cheese" end)
    assert refusal(host(name, namespace)) =~ "the host's handler failed"
    assert Tidepool.call(name, "hello") == {:ok, "Hello, world!"}
  end

  test "a handler that throws or exits is an error in the guest", %{name: name, namespace: namespace} do
    handle!({"host", namespace, "op"}, fn _call -> throw(:towel) end)
    assert refusal(host(name, namespace)) =~ "the host's handler failed"
    handle!({"host", namespace, "op"}, fn _call -> exit(:stage_left) end)
    assert refusal(host(name, namespace)) =~ "the host's handler failed"
    assert Process.alive?(self())
  end

  test "a handler that returns something else is an error in the guest", %{name: name, namespace: namespace} do
    for nonsense <- [
          :ok,
          nil,
          "bytes",
          {:ok, :atom},
          {:error, 5},
          {:ok, ["io", "list"]},
          {:ok, <<1::7>>},
          {:ok, "a", "b"}
        ] do
      handle!({"host", namespace, "op"}, fn _call -> nonsense end)
      assert refusal(host(name, namespace)) =~ "the host's handler failed"
    end
  end

  test "a handler whose function doesn't exist is an error in the guest", %{name: name, namespace: namespace} do
    handle!({"host", namespace, "op"}, {__MODULE__, :nowhere})
    assert refusal(host(name, namespace)) =~ "the host's handler failed"
    handle!({"host", namespace, "op"}, {Tidepool.NoSuchModule, :run})
    assert refusal(host(name, namespace)) =~ "the host's handler failed"
  end

  test "an unknown target is an error in the guest that names it", %{name: name, namespace: namespace} do
    assert refusal(host(name, namespace)) == "no host function host/#{namespace}/op"
  end

  test "a target whose names are no text is an error in the guest", %{name: _name} do
    name = deploy!("wat", "not_utf8_host_call")
    assert {:ok, "0"} = Tidepool.call(name, "anything")
  end

  test "a handler that was unregistered is asked no more", %{name: name, namespace: namespace} do
    Host.register({"host", namespace, "op"}, fn _call -> {:ok, "here"} end)
    assert host(name, namespace) == {:ok, "here"}
    assert :ok = Host.unregister({"host", namespace, "op"})
    assert refusal(host(name, namespace)) == "no host function host/#{namespace}/op"
    assert :ok = Host.unregister({"host", namespace, "op"})
  end

  test "the newest handler of a target is the one that is asked", %{name: name, namespace: namespace} do
    for answer <- ["first", "second"] do
      handle!({"host", namespace, "op"}, fn _call -> {:ok, answer} end)
      assert host(name, namespace) == {:ok, answer}
    end
  end

  test "of the handlers that match, the most specific answers: binding before namespace before operation" do
    unique = unique_name("part")
    part = &"#{&1}-#{unique}"
    call = %Host.Call{binding: part.("b"), namespace: part.("n"), operation: part.("o"), payload: "", function: "f"}
    dispatch = fn -> Host.dispatch(call, 0, false) end

    # From the least specific that no other test meets to the exact target; each is taken before all those before it.
    targets = [
      {:_, :_, part.("o")},
      {:_, part.("n"), :_},
      {:_, part.("n"), part.("o")},
      {part.("b"), :_, :_},
      {part.("b"), :_, part.("o")},
      {part.("b"), part.("n"), :_},
      {part.("b"), part.("n"), part.("o")}
    ]

    for target <- targets do
      handle!(target, fn _call -> {:ok, inspect(target)} end)
      assert dispatch.() == {:ok, inspect(target)}
    end

    for {target, next} <- Enum.zip(Enum.reverse(targets), tl(Enum.reverse(targets))) do
      Host.unregister(target)
      assert dispatch.() == {:ok, inspect(next)}
    end
  end

  test "a wildcard matches any operation, and the handler is told which", %{name: name, namespace: namespace} do
    handle!({"host", namespace, :_}, fn call -> {:ok, call.operation} end)
    assert Tidepool.call(name, "host", "host/#{namespace}/any/thing") == {:ok, "any/thing"}
    assert Tidepool.call(name, "host", "host/#{namespace}/") == {:ok, ""}
  end

  test "targets and handlers of another shape are refused" do
    for target <- [{"a", "b"}, {"a", "b", :c}, {"a", "b", nil}, "a/b/c", {"a", "b", "c", "d"}] do
      assert_raise ArgumentError, fn -> Host.register(target, fn _call -> {:ok, ""} end) end
    end

    for handler <- [nil, true, "name", fn -> {:ok, ""} end, fn _a, _b -> {:ok, ""} end, {"Module", :run}, 5] do
      assert_raise ArgumentError, fn -> Host.register({"host", "never", "registered"}, handler) end
    end
  end

  test "replies of another shape are refused where they are made" do
    ref = make_ref()

    for {ref, reply} <- [{ref, "bytes"}, {ref, {:error, :atom}}, {ref, {:maybe, "bytes"}}, {:no_ref, {:ok, "bytes"}}] do
      assert_raise ArgumentError, fn -> Host.reply(ref, reply) end
    end
  end

  test "a guest that asks for an answer without having called gets an empty one" do
    name = deploy!("wat", "host_unasked")
    assert Tidepool.call(name, "anything") == {:ok, "nothing"}
  end

  test "a handler may replace and remove the very function that called it", %{name: name, namespace: namespace} do
    handle!({"host", namespace, "op"}, fn call ->
      {:ok, %{version: 2}} = Tidepool.deploy(guest("zig", "hello_world"), name: call.function)
      {:ok, "replaced"}
    end)

    assert host(name, namespace) == {:ok, "replaced"}
    assert {:ok, %{version: 2}} = Tidepool.fetch(name)

    handle!({"host", namespace, "op"}, fn call ->
      :ok = Tidepool.remove(call.function)
      {:ok, "removed"}
    end)

    assert host(name, namespace) == {:ok, "removed"}
    assert {:error, %Error{reason: :not_deployed}} = host(name, namespace)
  end
end
