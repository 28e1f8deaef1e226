defmodule TidepoolWeb.WasmTest do
  # GET /functions/NAME/wasm and Tidepool.wasm/1.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Peer}
  alias Tidepool.Catalog.BlobStore

  test "what was deployed comes back byte by byte, with its hash and version, and can be deployed again" do
    name = unique_name("kept")
    on_exit(fn -> Tidepool.remove(name) end)
    {first, second} = {guest("rust", "hello_world"), guest("zig", "hello_world")}
    {:ok, _function} = Tidepool.deploy(first, name: name)
    assert {200, headers, ^first} = curl("/functions/#{name}/wasm")
    assert headers["content-type"] == "application/wasm"
    assert headers["etag"] == ~s("#{BlobStore.sha256(first)}")
    assert headers["tidepool-version"] == "1"
    assert headers["content-disposition"] == ~s(attachment; filename="#{name}.wasm")
    assert {:ok, kept} = Tidepool.wasm(name)

    {:ok, _function} = Tidepool.deploy(second, name: name)
    assert {:ok, ^second} = Tidepool.wasm(name)
    assert {200, %{"tidepool-version" => "2"}, ^second} = curl("/functions/#{name}/wasm")
    assert {:ok, %{version: 3}} = Tidepool.deploy(kept, name: name)
    assert {:ok, ^first} = Tidepool.wasm(name)
  end

  test "a name that is not deployed, or not any more, is 404 as elsewhere" do
    name = unique_name("gone")

    for _removed <- 1..2 do
      assert {404, _headers, %{"error" => %{"reason" => "not_deployed", "function" => ^name}}} =
               curl("/functions/#{name}/wasm")

      assert {:error, %Error{reason: :not_deployed}} = Tidepool.wasm(name)
      {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
      :ok = Tidepool.remove(name)
    end
  end

  test "a copy that is damaged or missing is 503, and the function goes on" do
    peer = Peer.start!(server: true)
    url = Peer.url(peer, "/functions/f/wasm")
    [path] = for %{sha256: sha256} <- [Peer.deploy!(peer, "rust", "hello_world", name: "f")], do: blob(peer, sha256)
    File.write!(path, "damaged")

    for _damaged_then_missing <- 1..2 do
      assert {503, _headers, %{"error" => %{"reason" => "unavailable", "message" => message}}} = curl_url(url)
      assert message =~ path
      assert {:error, %Error{reason: :unavailable}} = Peer.call(peer, Tidepool, :wasm, ["f"])
    end

    assert Peer.call(peer, Tidepool, :call, ["f", "hello", "Ada"]) == {:ok, "Hello, Ada!"}
  end

  defp blob(peer, sha256), do: BlobStore.path(Peer.call(peer, Tidepool.Catalog, :blobs, []), sha256)

  test "modules of a node with a token are for those who have it, and other sites' pages never get one" do
    peer = Peer.start!(server: true, token: "s3cret")
    Peer.deploy!(peer, "rust", "hello_world", name: "f")
    url = Peer.url(peer, "/functions/f/wasm")
    wasm = guest("rust", "hello_world")
    assert {200, _headers, ^wasm} = curl_url(url, ["-H", "authorization: Bearer s3cret"])

    for headers <- [[], ["-H", "authorization: Bearer s3cre"]] do
      assert {401, _headers, %{"error" => %{"reason" => "unauthorized"}}} = curl_url(url, headers)
    end

    name = deploy!("rust", "hello_world")
    assert {403, _headers, _error} = curl("/functions/#{name}/wasm", ["-H", "origin: http://elsewhere.example"])
  end

  test "versions that replace each other all the while are never mixed up" do
    name = unique_name("replaced")
    on_exit(fn -> Tidepool.remove(name) end)
    wasms = [guest("rust", "hello_world"), guest("zig", "hello_world")]
    {:ok, _function} = Tidepool.deploy(hd(wasms), name: name)

    deploys =
      Task.async(fn -> for wasm <- wasms |> Stream.cycle() |> Enum.take(30), do: Tidepool.deploy(wasm, name: name) end)

    for _read <- 1..100 do
      assert {:ok, %{sha256: sha256}, wasm} = Tidepool.Catalog.wasm(name)
      assert BlobStore.sha256(wasm) == sha256
    end

    assert Enum.all?(Task.await(deploys, 60_000), &match?({:ok, _function}, &1))
  end
end
