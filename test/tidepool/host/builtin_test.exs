defmodule Tidepool.Host.BuiltinTest do
  # Built-in handlers, on a node of its own that has them switched on.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Host, LogWatch, Peer}
  alias Tidepool.Host.{Builtin, Call}

  setup_all do
    peer = Peer.start!(builtins: [:function, :log])
    Peer.deploy!(peer, "rust", "recurse")
    Peer.deploy!(peer, "rust", "hello_world", operation: "host")
    Peer.deploy!(peer, "rust", "hello_world", name: "greet", operation: "hello")
    Peer.call(peer, LogWatch, :collect, [])
    %{peer: peer}
  end

  defp call(peer, name, payload), do: Peer.call(peer, Tidepool, :call, [name, nil, payload])

  test "a guest calls another deployed function by its default operation", %{peer: peer} do
    assert call(peer, "hello_world", "tidepool/function/greet\nAda") == {:ok, "Hello, Ada!"}
  end

  test "a function that calls itself goes to the depth limit", %{peer: peer} do
    assert {:ok, "63>" <> _rest = reply} = call(peer, "recurse", "63")
    assert String.ends_with?(reply, "1>bottom")
    assert {:error, %Error{reason: :guest_error}} = call(peer, "recurse", "64")
  end

  test "a function that is not deployed is an error in the guest", %{peer: peer} do
    assert {:error, %Error{reason: :guest_error, message: message}} =
             call(peer, "hello_world", "tidepool/function/nobody\n")

    assert message =~ "nobody"
  end

  test "an error of the called function is an error in the guest that names it", %{peer: peer} do
    assert {:error, %Error{reason: :guest_error, message: message}} =
             call(peer, "hello_world", "tidepool/function/hello_world\nno/target/here")

    assert message == "hello_world: no host function no/target/here"
  end

  test "log writes at the level that the guest names", %{peer: peer} do
    Peer.call(peer, Logger, :configure, [[level: :debug]])

    for level <- ["debug", "info", "warning", "error"] do
      assert call(peer, "hello_world", "tidepool/log/#{level}\nthis is #{level}") == {:ok, ""}
      wanted = {String.to_atom(level), "this is #{level}"}
      eventually(fn -> wanted in Peer.call(peer, LogWatch, :collected, []) end)
    end

    assert {:error, %Error{reason: :guest_error}} = call(peer, "hello_world", "tidepool/log/shout\nhey")
  end

  test "text that is no UTF-8 is logged, not crashed over", %{peer: peer} do
    before = length(Peer.call(peer, LogWatch, :collected, []))
    assert call(peer, "hello_world", "tidepool/log/error\n" <> <<255, 254>>) == {:ok, ""}
    eventually(fn -> length(Peer.call(peer, LogWatch, :collected, [])) > before end)
  end

  test "a function logs no more lines than it may print, and none that is longer than a line" do
    peer = Peer.start!(builtins: [:log], console_lines: 1)
    Peer.deploy!(peer, "rust", "hello_world", operation: "host")
    Peer.call(peer, LogWatch, :collect, [])
    long = String.duplicate("a", 10_000)
    for _line <- 1..60, do: assert(call(peer, "hello_world", "tidepool/log/error\n" <> long) == {:ok, ""})
    logged = for {:error, "aaa" <> _rest = text} <- Peer.call(peer, LogWatch, :collected, []), do: text
    # Ten in ten seconds, which may be over in between.
    assert length(logged) in 10..20
    assert byte_size(hd(logged)) == 8_192
  end

  test "none is on unless the settings name it" do
    assert Tidepool.Config.get(:builtins) == []
    name = deploy!("rust", "hello_world")

    for target <- ["tidepool/log/info", "tidepool/function/#{name}"] do
      assert {:error, %Error{reason: :guest_error, message: message}} = Tidepool.call(name, "host", target <> "\n")
      assert message == "no host function #{target}"
    end
  end

  test "every built-in has a target and a handler that exists" do
    for name <- Builtin.names() do
      assert Tidepool.Config.Schema.builtins?([name])
    end

    # The others are of rooms above this one.
    for name <- Builtin.names() -- [:actor] do
      assert [{{"tidepool", _namespace, :_}, {{module, function}, :inline}}] = Builtin.entries([name])
      assert function_exported?(module, function, 1)
    end

    assert {:error, _text} =
             Builtin.log(%Call{binding: "", namespace: "", operation: "loud", payload: "", function: "f"})
  end

  test "an application's handler takes the place of a built-in one", %{peer: peer} do
    target = {"tidepool", "log", "info"}
    :ok = Peer.call(peer, Host, :register, [target, {__MODULE__.Own, :log}])
    assert {:error, %Error{reason: :guest_error}} = call(peer, "hello_world", "tidepool/log/info\nx")
    :ok = Peer.call(peer, Host, :unregister, [target])
    assert call(peer, "hello_world", "tidepool/log/info\nx") == {:ok, ""}
  end
end
