defmodule Tidepool.ActorModulesTest do
  # Modules that actors stay on are kept with the records for as long as anything names them, and no longer.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, ActorLoad, Catalog, Error, Host, Latch, Peer, TestModule}
  alias Tidepool.Actor.Activation.Modules
  alias Tidepool.Actor.Journal.Archive

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

  # Whoever is told what to drop stands still before it drops that part of it, until the other process is sent `:go_on`.
  defp hold(node, part) do
    hold = """
    :sys.install(modules, {fn
      1, {:in, {:"$gen_call", {dropping, _tag}, {:drop, _unnamed}}}, _process ->
        :erlang.suspend_process(dropping)
        dropping

      part, {:in, {:"$gen_call", _dropping, {:drop, _unnamed}}}, _process when is_integer(part) ->
        part - 1

      held, {:in, :go_on}, _process ->
        :erlang.resume_process(held)
        :done

      state, _event, _process ->
        state
    end, part})
    """

    {:ok, _names} = Peer.shell(node).(hold, [modules: Modules, part: part], [])
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

  test "what a release before has left of deleted actors is no actor, and goes by itself" do
    node = Peer.start!(cluster: false, namespaces: "shop/actors=1")
    sha256 = replace(node, "shop/ledger", 1)
    for name <- ["bob", "../carol"], do: :ok = Peer.call(node, ActorLoad, :put_tombstone, ["shop/ledger", name])
    # They are within no quota, nor in the way of who has their name again.
    assert {:ok, "1"} = Peer.call(node, Actor, :call, ["shop/ledger", "bob", "add", "1"])
    assert {:ok, [%{name: "bob"}], nil} = Peer.call(node, Actor, :list, ["shop/ledger"])
    assert {:ok, 1} = Peer.call(node, Actor, :count, ["shop/ledger", 10])
    file = Path.join(tmp_folder!(), "file")
    assert {:ok, %{actors: 1, modules: 1}} = Archive.export({:folder, Peer.folder(node)}, file, nil, false)
    replace(node, "shop/ledger", 2)
    no_version(node, sha256)
    assert ["gone/" <> _bob, "gone/" <> _carol] = Peer.call(node, ActorLoad, :tombstones, [])
    assert sweep(node) == []
    assert Peer.call(node, ActorLoad, :tombstones, []) == []
    assert {:ok, "1"} = Peer.call(node, Actor, :call, ["shop/ledger", "bob", "sum", ""])
  end

  test "an actor that begins waits for none of the modules that are dropped meanwhile, however many", context do
    %{node: node, call: call} = context
    replace(node, "blog/ledger", 1)
    hashes = Peer.call(node, ActorLoad, :put_modules, [1_000])
    left = fn -> Peer.call(node, ActorLoad, :count_modules, []) end
    hold(node, 3)
    sweep = Peer.async(node, Modules, :sweep, [])
    eventually(fn -> left.() == 800 end, 20_000)
    assert {:ok, "1"} = call.("blog/ledger", "alice", "add", "1")
    # Its own, and those that are yet to be dropped.
    assert left.() == 801
    Peer.call(node, :erlang, :send, [Modules, :go_on])
    assert {:ok, dropped} = Task.await(sweep, 120_000)
    assert Enum.sort(dropped) == Enum.sort(hashes)
    assert left.() == 1
  end

  test "a module that is asked for again while it is dropped is there afterwards", %{node: node, call: call} do
    first = replace(node, "shop/ledger", 1)
    {:ok, "1"} = call.("shop/ledger", "alice", "add", "1")
    assert Peer.call(node, Actor, :delete, ["shop/ledger", "alice"]) == :ok
    replace(node, "shop/ledger", 2)
    no_version(node, first)
    state = fn -> Peer.call(node, :sys, :get_state, [Modules]) end
    eventually(fn -> state.().users == %{} end)

    hold(node, 1)
    sweep = Peer.async(node, Modules, :sweep, [])
    eventually(fn -> match?(%{sweeping: %{dropping: %{^first => _nobody}}}, state.()) end)
    assert replace(node, "shop/ledger", 1) == first
    begun = Peer.async(node, Actor, :call, ["shop/ledger", "bob", "add", "1"])
    eventually(fn -> first in state.().sweeping.asked end)
    Peer.call(node, :erlang, :send, [Modules, :go_on])
    assert Task.await(sweep, 60_000) == {:ok, [first]}
    assert Task.await(begun, 60_000) == {:ok, "1"}

    :ok = Peer.call(node, Actor, :stop, ["shop/ledger", "bob"])
    replace(node, "shop/ledger", 3)
    no_version(node, first)
    assert {:ok, "1"} = call.("shop/ledger", "bob", "sum", "")
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

  test "a process that is given modules again and again is watched once", %{node: node, call: call} do
    for number <- [1, 2, 1, 2, 1] do
      wasm = TestModule.variant(guest("rust", "ledger"), number)
      options = [name: "shop/ledger", actor: [versions: :kv, idle: 3_600_000]]
      {:ok, _function} = Peer.call(node, Tidepool, :deploy, [wasm, options])
      assert {:ok, _sum} = call.("shop/ledger", "alice", "add", "1")
    end

    pid = Peer.call(node, Actor, :where, ["shop/ledger", "alice"])
    {:monitors, watched} = Peer.call(node, Process, :info, [modules(node), :monitors])
    assert Enum.count(watched, &(&1 == {:process, pid})) == 1
  end

  test "no module is kept for an actor that there is no room for" do
    node = Peer.start!(cluster: false, namespaces: "shop/actors=0")
    replace(node, "shop/ledger", 1)

    for _call <- 1..3 do
      refused = Peer.call(node, Actor, :call, ["shop/ledger", "alice", "add", "1"])
      assert {:error, %Error{reason: {:quota, :actors}}} = refused
    end

    kept = "with {:ok, records} <- Tidepool.Actor.Journal.records(), do: #{inspect(Modules.Sweep)}.kept(records)"
    assert {{:ok, []}, _names} = Peer.shell(node).(kept, [], [])
  end

  test "of new modules of a namespace one is kept at a time, however many actors begin", %{node: node} do
    shell = Peer.shell(node)
    classes = for number <- 1..8, do: "shop/ledger#{number}"

    deploy = """
    path |> File.read!() |> Tidepool.TestModule.variant(class) |> Tidepool.TestModule.padded(8_388_608)
    |> Tidepool.deploy(name: class, actor: true) |> elem(0)
    """

    for class <- classes,
        do: assert({:ok, _names} = shell.(deploy, [path: guest_path("rust", "ledger"), class: class], []))

    idle = links(node)
    calls = for class <- classes, do: Peer.async(node, Actor, :call, [class, "alice", "add", "1"])
    # The one before it may be about to end.
    assert most_links(node, calls, 0) <= idle + 2
    assert Task.await_many(calls, 60_000) == for(_class <- classes, do: {:ok, "1"})
  end

  defp modules(node), do: Peer.call(node, Process, :whereis, [Modules])

  # Each module that is kept has a process for that.
  defp links(node) do
    {:links, links} = Peer.call(node, Process, :info, [modules(node), :links])
    length(links)
  end

  defp most_links(node, tasks, most) do
    most = max(most, links(node))
    if Enum.any?(tasks, &Process.alive?(&1.pid)), do: most_links(node, tasks, most), else: most
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
