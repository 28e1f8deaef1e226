defmodule Tidepool.SevenVotersTest do
  # More nodes that keep actors together than each node of a cluster has links with by itself.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Native, Peer, TestCluster}
  alias Tidepool.Actor.Voter

  @moduletag :slow
  @patience 60_000

  test "each of seven voters has a link with all others, and any four of them go on" do
    names = for stem <- ~w(a b c d e f g), do: Peer.name(stem)
    cookie = Peer.cookie()
    settings = [actors: {:replicated, Enum.map(names, &to_string/1)}, builtins: [:actor]]
    peers = for name <- names, do: TestCluster.start_node!(name, cookie, names -- [name], settings)

    for peer <- peers do
      eventually(fn -> standing(peer) == :member end, @patience)

      eventually(
        fn -> [peer.node | Peer.call(peer, Node, :list, [:connected])] |> then(&(names -- &1)) == [] end,
        @patience
      )
    end

    Peer.deploy!(hd(peers), "rust", "ledger", name: "ledger", actor: true)
    assert add(hd(peers)) == "1"
    {gone, left} = Enum.split(Enum.shuffle(peers), 3)
    Enum.each(gone, &Peer.halt/1)
    assert add(hd(left)) == "2"
  end

  defp standing(peer) do
    with {:ok, voter} <- Peer.call(peer, Voter, :voter, []), do: Peer.call(peer, Native, :voter_standing, [voter])
  end

  # One request, however often it is asked.
  defp add(peer) do
    id = unique_name("add")

    eventually(
      fn ->
        assert {:ok, answer} = Peer.call(peer, Actor, :call, ["ledger", "actor", "add", "1", [request_id: id]])
        answer
      end,
      @patience
    )
  end
end
