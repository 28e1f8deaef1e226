defmodule Tidepool.Function.SignatureTest do
  # Nodes that run signed modules alone, by keys and signatures that openssl has made, as docs/http.md shows it.
  use Tidepool.Case, async: true
  doctest Tidepool.Function.Signature

  alias Tidepool.{Error, FaultVersion, LogWatch, Peer, TestCluster}

  setup_all do
    folder = tmp_folder!()
    %{folder: folder, keys: for(name <- ["own", "other"], do: key!(folder, name))}
  end

  # A pair of keys: the file of the private one, and the public one as the setting has it.
  defp key!(folder, name) do
    path = Path.join(folder, name <> ".pem")
    openssl!(["genpkey", "-algorithm", "ed25519", "-out", path])
    der = openssl!(["pkey", "-in", path, "-pubout", "-outform", "DER"])
    %{path: path, public: Base.encode64(binary_part(der, byte_size(der) - 32, 32))}
  end

  defp sign!(folder, key, bytes) do
    path = Path.join(folder, "#{System.unique_integer([:positive])}")
    File.write!(path, bytes)
    openssl!(["pkeyutl", "-sign", "-rawin", "-inkey", key.path, "-in", path, "-out", path <> ".sig"])
    Base.encode64(File.read!(path <> ".sig"))
  end

  defp openssl!(arguments) do
    {output, 0} = System.cmd("openssl", arguments)
    output
  end

  defp deploy(peer, wasm, options), do: Peer.call(peer, Tidepool, :deploy, [wasm, [name: "f"] ++ options])

  test "a node with keys deploys what one of them has signed, and nothing else", %{folder: folder, keys: [own, other]} do
    stranger = key!(folder, "stranger")
    peer = Peer.start!(server: true, deploy_keys: "#{own.public}, #{other.public}")
    [first, second] = for version <- [1, 2], do: FaultVersion.module(version)

    for wrong <- [
          [],
          [signature: sign!(folder, stranger, first)],
          [signature: sign!(folder, own, second)],
          [signature: sign!(folder, own, first <> <<0>>)],
          [signature: Base.encode64(<<0::512>>)]
        ] do
      assert {:error, %Error{reason: :unsigned, details: %{step: :options}}} = deploy(peer, first, wrong)
    end

    assert {:error, %Error{reason: :invalid_option}} = deploy(peer, first, signature: "none")
    assert Peer.call(peer, Tidepool, :list, []) == []

    for {wasm, key} <- [{first, own}, {second, other}] do
      signature = sign!(folder, key, wasm)
      assert {:ok, %{signature: ^signature}} = deploy(peer, wasm, signature: signature)
    end

    # As a form.
    path = Path.join(folder, "f.wasm")
    File.write!(path, first)
    url = Peer.url(peer, "/deploy")
    assert {403, _headers, %{"error" => %{"reason" => "unsigned"}}} = curl_url(url, ["-F", "wasm=@#{path}"])
    signature = sign!(folder, own, first)

    assert {201, _headers, %{"signature" => ^signature}} =
             curl_url(url, ["-F", "wasm=@#{path}", "-F", "signature=#{signature}"])
  end

  test "a node looks at signatures again when it starts, by the keys that it has then", %{
    folder: folder,
    keys: [own, other]
  } do
    data = tmp_folder!()
    wasm = FaultVersion.module(1)
    peer = Peer.start!(data: data)
    assert {:ok, _function} = deploy(peer, wasm, [])
    signature = sign!(folder, own, wasm)
    assert {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: "g", signature: signature]])

    for {keys, f, g} <- [{[own.public], :unavailable, 1}, {[other.public], :unavailable, :unavailable}, {[], 1, 1}] do
      Peer.stop_application(peer)
      Peer.call(peer, Application, :put_env, [:tidepool, :deploy_keys, keys])
      {:ok, _started} = Peer.start_application(peer)
      assert {TestCluster.version(peer, "f"), TestCluster.version(peer, "g")} == {f, g}
    end
  end

  test "a node refuses what another one sends whose signature is not of these bytes", %{
    folder: folder,
    keys: [own, _other]
  } do
    [a, b] = names = for name <- ["a", "b"], do: Peer.name(name)
    cookie = Peer.cookie()
    open = TestCluster.start_node!(a, cookie, names -- [a])
    strict = TestCluster.start_node!(b, cookie, names -- [b], deploy_keys: [own.public])
    Peer.call(strict, LogWatch, :collect, [])
    [first, second] = for version <- [1, 2], do: FaultVersion.module(version)

    assert {:ok, _function} = deploy(open, first, signature: sign!(folder, own, first))
    assert eventually(fn -> TestCluster.version(strict, "f") == 1 end, 60_000)

    # Whoever sent it does not look.
    assert {:ok, _function} = deploy(open, second, signature: sign!(folder, own, first))
    assert TestCluster.version(open, "f") == 2
    assert eventually(fn -> TestCluster.version(strict, "f") == :unavailable end, 60_000)
    logged = Peer.call(strict, LogWatch, :collected, [])
    assert Enum.any?(logged, fn {_level, text} -> text =~ "the signature is not of this module" end)

    assert {:ok, _function} = deploy(open, second, signature: sign!(folder, own, second))
    assert eventually(fn -> TestCluster.version(strict, "f") == 2 end, 60_000)
  end

  test "a program that was signed loads no module but its own on a node with keys", %{
    folder: folder,
    keys: [own, _other]
  } do
    wasm = guest("lunatic", "puppet")
    signature = sign!(folder, own, wasm)

    for {keys, brought} <- [{[], &(&1 == 0)}, {[own.public], &(&1 != 0)}] do
      peer = Peer.start!(deploy_keys: keys)
      assert {:ok, function} = deploy(peer, wasm, signature: signature)
      assert brought.(Peer.call(peer, Tidepool.PuppetCompiles, :run, ["f"]))
      assert Peer.call(peer, Tidepool.Function.Loader, :check_brought, [wasm, function]) == :ok
    end
  end
end
