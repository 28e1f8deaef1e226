defmodule Tidepool.Function.HostGrantsTest do
  use Tidepool.Case, async: true
  doctest Tidepool.Function.HostGrants

  alias Tidepool.{Error, Function, Peer}
  alias Tidepool.Cluster.Wire

  setup do
    namespace = unique_name("granted")
    test = self()

    for operation <- ["get", "set"], binding <- ["shop", "other"] do
      handle!({binding, namespace, operation}, fn call ->
        send(test, {:asked, call.binding, call.operation})
        {:ok, call.operation}
      end)
    end

    %{namespace: namespace}
  end

  defp ask(name, target), do: Tidepool.call(name, "host", target <> "\n")

  defp refused!(name, target) do
    assert {:error, %Error{reason: :guest_error, message: message}} = ask(name, target)
    assert message =~ "#{target} is not granted"
    assert message =~ "`host`"
    refute_received {:asked, _binding, _operation}
  end

  test "a function asks its host for what its deploy names, and the host hears of nothing else", %{namespace: namespace} do
    for instances <- [:fresh, {:warm, 2}], engine <- [:fast, :dense] do
      grants = ["shop/#{namespace}/get", "other/#{namespace}/s*"]
      name = deploy!("rust", "hello_world", host: grants, instances: instances, engine: engine)
      assert ask(name, "shop/#{namespace}/get") == {:ok, "get"}
      assert_received {:asked, "shop", "get"}
      assert ask(name, "other/#{namespace}/set") == {:ok, "set"}
      assert_received {:asked, "other", "set"}

      for target <- ["shop/#{namespace}/set", "other/#{namespace}/get", "shop/#{namespace}2/get", "tidepool/log/info"],
          do: refused!(name, target)
    end
  end

  test "`none` grants nothing, and without a word all that is registered is granted", %{namespace: namespace} do
    refused!(deploy!("rust", "hello_world", host: ["none"]), "shop/#{namespace}/get")
    assert ask(deploy!("rust", "hello_world"), "shop/#{namespace}/get") == {:ok, "get"}
    assert ask(deploy!("rust", "hello_world", host: ["*"]), "shop/#{namespace}/get") == {:ok, "get"}
  end

  test "the next version has what its own deploy names", %{namespace: namespace} do
    name = deploy!("rust", "hello_world", host: ["none"], instances: {:warm, 2})
    refused!(name, "shop/#{namespace}/get")
    wasm = guest("rust", "hello_world")
    {:ok, _function} = Tidepool.deploy(wasm, name: name, host: ["shop/*/*"], instances: {:warm, 2})
    assert ask(name, "shop/#{namespace}/get") == {:ok, "get"}
    {:ok, _function} = Tidepool.deploy(wasm, name: name, host: ["none"], instances: {:warm, 2})
    assert_received {:asked, "shop", "get"}
    refused!(name, "shop/#{namespace}/get")
  end

  test "an actor asks for what the newest deploy of its class names", %{namespace: namespace} do
    name = deploy!("rust", "hello_world", actor: true)
    assert Tidepool.Actor.call(name, "a", "host", "shop/#{namespace}/get\n") == {:ok, "get"}
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name, actor: true, host: ["none"])
    assert {:error, %Error{reason: :guest_error}} = Tidepool.Actor.call(name, "a", "host", "shop/#{namespace}/get\n")
  end

  test "a form says it grant by grant, and lists show it" do
    name = unique_name("granted")
    path = Path.join(tmp_folder!(), "#{name}.wasm")
    File.write!(path, guest("rust", "hello_world"))
    form = ["-F", "wasm=@#{path}"]

    assert {201, _headers, %{"host" => ["shop/prices/*", "redis/*/GET"]}} =
             curl("/deploy", form ++ ["-F", "host=shop/prices/*", "-F", "host=redis/*/GET"])

    assert {200, _headers, %{"host" => ["shop/prices/*", "redis/*/GET"]}} = curl("/functions/#{name}")
    assert {201, _headers, %{"host" => ["none"]}} = curl("/deploy", form ++ ["-F", "host=none"])

    for wrong <- [["shop"], ["none", "a/b/c"], [""], ["a/b/#{String.duplicate("c", 300)}"]] do
      fields = Enum.flat_map(wrong, &["-F", "host=#{&1}"])
      assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} = curl("/deploy", form ++ fields)
    end

    assert {200, _headers, %{"host" => ["none"]}} = curl("/functions/#{name}")
  end

  test "on a node with `host: :none` functions ask for what their deploy names alone" do
    peer = Peer.start!(host: :none)
    wasm = guest("rust", "hello_world")
    Peer.call(peer, Tidepool.Host, :register, [{"shop", "prices", "get"}, {Function, :identity}, []])

    for {host, granted?} <- [{[], false}, {[host: ["shop/prices/get"]], true}, {[host: ["*"]], true}] do
      assert {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: "f"] ++ host])
      # The handler is none that answers with bytes, so that what is granted fails in it.
      {:error, error} = Peer.call(peer, Tidepool, :call, ["f", "host", "shop/prices/get\n"])
      assert error.message =~ if(granted?, do: "the host's handler failed", else: "is not granted")
    end
  end

  test "nodes of versions before are not told of a function that may not ask for all", %{namespace: namespace} do
    name = deploy!("rust", "hello_world", host: ["shop/#{namespace}/get"])
    entry = Tidepool.Catalog.entry(name)
    assert [<<8, _rest::binary>> = bytes] = Wire.encode({:push, [{entry, nil}]}, Wire.version())
    assert {:ok, {:push, [{^entry, nil}]}} = Wire.decode(bytes)
    assert [<<8, _rest::binary>>] = Wire.encode({:push, [{entry, nil}]}, 7)

    for host <- [["shop"], ["none", "*"], ["a/b/c", "a/b/c"]] do
      assert Wire.decode(Wire.encode({:push, [{%{entry | host: host}, nil}]})) == {:error, :malformed}
    end
  end
end
