defmodule Tidepool.Data.KeptTest do
  # Data folders of earlier versions, and of this one, as their nodes left them.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Peer}

  @kept Path.expand("kept", __DIR__)
  @versions for path <- Path.wildcard(@kept <> "/*"), File.dir?(path), do: Path.basename(path)

  # A data folder whose node, which has no name, has this one.
  defp data!(fill) do
    data = tmp_folder!()
    fill.(Path.join(data, "nonode@nohost"))
    data
  end

  defp start!(data), do: Peer.start!([data: data, server: true, token: "kept"], [])

  defp names(peer), do: for(function <- Peer.call(peer, Tidepool, :list, []), do: function.name) |> Enum.sort()

  test "each version of the changelog has a folder, the one that is not published yet as well" do
    told = Regex.scan(~r/^## (?:Unreleased \()?(\d+\.\d+\.\d+)/m, File.read!("CHANGELOG.md"), capture: :all_but_first)
    assert Enum.sort(List.flatten(told)) == Enum.sort(@versions)
  end

  for version <- @versions do
    test "a node starts on the folder of version #{version}: functions, versions, tokens, actors and what they answered are there" do
      kept = Path.join(@kept, unquote(version))
      peer = start!(data!(&File.cp_r!(kept, &1)))
      assert names(peer) == ["hello", "ledger", "shop/hello"]
      call = fn name -> Peer.call(peer, Tidepool, :call, [name, "hello", "Ada"]) end
      assert call.("hello") == {:ok, "Hello, Ada!"}
      assert call.("shop/hello") == {:ok, "Hello, Ada!"}
      assert {:ok, hello} = Peer.call(peer, Tidepool, :fetch, ["hello"])
      assert %{version: 2, description: "Says hello.", labels: %{"team" => "shop"}, limits: %{time: 4_321}} = hello
      assert {:ok, %{engine: :dense, instances: {:warm, 3}}} = Peer.call(peer, Tidepool, :fetch, ["shop/hello"])
      assert {:ok, %{version: 3}} = Peer.call(peer, Tidepool, :rollback, ["hello", []])
      assert Peer.call(peer, Tidepool, :call, ["hello", "next", ""]) == {:ok, "1"}

      actor = fn name, operation, payload, options ->
        Peer.call(peer, Actor, :call, ["ledger", name, operation, payload, options])
      end

      assert actor.("alice", "sum", "", []) == {:ok, "42"}
      # What was asked for with this id was done, and is not done again.
      assert actor.("alice", "add", "2", request_id: "order-5") == {:ok, "42"}
      assert actor.("alice", "add", "1", []) == {:ok, "43"}
      assert actor.("bob", "sum", "", []) == {:ok, "7"}

      token = ["-H", "authorization: Bearer #{String.trim(File.read!(kept <> ".secret"))}"]
      deploy = &curl_deploy_url(Peer.url(peer, "/deploy"), guest("rust", "hello_world"), [name: &1], token)
      assert {201, _headers, _function} = deploy.("shop/new")
      assert {403, _headers, _error} = deploy.("other")
      own = ["-H", "authorization: Bearer kept"]
      assert {200, _headers, %{"entries" => told}} = curl_url(Peer.url(peer, "/audit"), own)
      assert Enum.any?(told, &match?(%{"action" => "remove", "name" => "gone"}, &1))
    end
  end

  test "a node starts on a log from before there were seals and versions to go back to, and writes it on" do
    data =
      data!(fn folder ->
        File.mkdir_p!(Path.join(folder, "blobs"))
        File.cp!("test/tidepool/catalog/fixtures/unsealed.log", Path.join(folder, "catalog.log"))
        # The module of both functions, which is compiled of the same source since.
        wasm = guest("wat", "start_exit_0")
        File.write!(Path.join([folder, "blobs", Base.encode16(:crypto.hash(:sha256, wasm), case: :lower)]), wasm)
      end)

    for start <- [:first, :second] do
      peer = start!(data)
      assert {start, names(peer)} == {start, ["start_exit_0", "trap_unreachable"]}
      assert {:ok, "ready"} = Peer.call(peer, Tidepool, :call, ["start_exit_0", ""])
      assert {:ok, %{limits: %{time: 4_321}}} = Peer.call(peer, Tidepool, :fetch, ["start_exit_0"])
      assert {:ok, %{version: 2, engine: :dense}} = Peer.call(peer, Tidepool, :fetch, ["trap_unreachable"])
      assert {:error, %Error{reason: :not_deployed}} = Peer.call(peer, Tidepool, :fetch, ["returns_1_twice"])
      :ok = Peer.stop_application(peer)
      Peer.halt(peer)
    end
  end
end
