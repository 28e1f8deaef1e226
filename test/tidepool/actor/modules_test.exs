defmodule Tidepool.ActorModulesTest do
  # Modules that actors stay on are kept with the records for as long as anything names them, and no longer.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Catalog, Host, Latch, Peer, TestModule}
  alias Tidepool.Actor.Activation.Modules

  import Tidepool.ActorScript

  setup do
    node = Peer.start!(cluster: false)
    {:ok, node: node, call: &Peer.call(node, Actor, :call, [&1, &2, &3, &4])}
  end

  # Another module each time; those before it are no versions any more.
  defp replace(node, class, number) do
    _none_or_removed = Peer.call(node, Tidepool, :remove, [class])
    wasm = TestModule.variant(guest("rust", "ledger"), number)
    {:ok, %{sha256: sha256}} = Peer.call(node, Tidepool, :deploy, [wasm, [name: class, actor: [versions: :pin]]])
    sha256
  end

  defp no_version(node, sha256),
    do: eventually(fn -> match?({:error, _none}, Peer.call(node, Catalog, :module, [sha256])) end)

  defp sweep(node) do
    {:ok, dropped} = Peer.call(node, Modules, :sweep, [])
    dropped
  end

  test "modules that no version and no actor names any more are dropped, and all others are kept", context do
    %{node: node, call: call} = context
    first = replace(node, "shop/ledger", 1)
    {:ok, "1"} = call.("shop/ledger", "alice", "add", "1")
    replace(node, "blog/ledger", 2)
    {:ok, "2"} = call.("blog/ledger", "bob", "add", "2")
    other = replace(node, "blog/ledger", 3)
    replace(node, "shop/ledger", 4)
    no_version(node, first)

    assert sweep(node) == []
    :ok = Peer.call(node, Actor, :stop, ["shop/ledger", "alice"])
    assert {:ok, "1"} = call.("shop/ledger", "alice", "sum", "")

    assert Peer.call(node, Actor, :delete, ["shop/ledger", "alice"]) == :ok
    assert sweep(node) == [first]
    assert sweep(node) == []
    # Deployed again it is kept again, for an actor.
    assert replace(node, "shop/ledger", 1) == first
    {:ok, "3"} = call.("shop/ledger", "alice", "add", "3")
    :ok = Peer.call(node, Actor, :stop, ["shop/ledger", "alice"])
    replace(node, "shop/ledger", 5)
    no_version(node, first)
    assert sweep(node) == []

    Peer.halt(node)
    node = Peer.start!(cluster: false, data: node.data)
    assert sweep(node) == []
    assert {:ok, "3"} = Peer.call(node, Actor, :call, ["shop/ledger", "alice", "sum", ""])
    assert {:ok, "2"} = Peer.call(node, Actor, :call, ["blog/ledger", "bob", "sum", ""])
    assert {:ok, %{sha256: ^other}} = Peer.call(node, Tidepool, :fetch, ["blog/ledger"])
  end

  test "a module is kept that was given to an actor which is not stored yet", %{node: node, call: call} do
    {:ok, latch} = Peer.call(node, Latch, :start, [[]])
    :ok = Peer.call(node, Host, :register, [{"tidepool", "obey", :_}, latch])
    first = replace(node, "shop/ledger", 1)
    begun = Peer.async(node, Actor, :call, ["shop/ledger", "alice", "obey", ""])
    Peer.call(node, Latch, :await, [latch, 1])
    replace(node, "shop/ledger", 2)
    no_version(node, first)

    assert sweep(node) == []
    Peer.call(node, Latch, :release, [latch, {:ok, then_do("add", "1")}])
    assert {:ok, "1"} = Task.await(begun, 60_000)
    :ok = Peer.call(node, Actor, :stop, ["shop/ledger", "alice"])
    assert sweep(node) == []
    assert {:ok, "1"} = call.("shop/ledger", "alice", "sum", "")
    assert Peer.call(node, Actor, :delete, ["shop/ledger", "alice"]) == :ok
    eventually(fn -> sweep(node) == [first] end)
  end

  test "modules of before are read for some actors at a time, and none whose code has no room" do
    node = Peer.start!(cluster: false, max_code: 400_000)
    names = for number <- 1..12, do: "actor #{number}"

    for {name, number} <- Enum.with_index(names) do
      replace(node, "shop/ledger", number)
      assert {:ok, "1"} = Peer.call(node, Actor, :call, ["shop/ledger", name, "add", "1"])
      :ok = Peer.call(node, Actor, :stop, ["shop/ledger", name])
    end

    called =
      names
      |> Enum.map(&Peer.async(node, Actor, :call, ["shop/ledger", &1, "sum", ""]))
      |> Task.await_many(60_000)

    {served, refused} = Enum.split_with(called, &match?({:ok, "1"}, &1))
    assert served != [] and refused != []
    for {:error, error} <- refused, do: assert(error.reason == :overloaded and error.message =~ "max_code")
    # The code of those that rest makes room.
    eventually(
      fn -> match?({:ok, "1"}, Peer.call(node, Actor, :call, ["shop/ledger", hd(names), "sum", ""])) end,
      60_000
    )
  end
end
