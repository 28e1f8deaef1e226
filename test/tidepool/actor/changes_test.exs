defmodule Tidepool.Actor.ChangesTest do
  # Actors whose memory is written whole once, and then by what calls change of it.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Native, Peer, Postgres, TestCluster}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.Archive

  # What can't be packed.
  @text Base.encode64(:crypto.strong_rand_bytes(6_000))

  defp stored(class, name) do
    {:ok, records} = Journal.records()
    {:ok, rows, nil} = Native.list_records(records, class, nil, 100)
    Enum.find_value(rows, fn {row, _seq, _alarm_at, bytes} -> row == name && bytes end)
  end

  defp much!(class, name) do
    {:ok, "1"} = Actor.call(class, name, "write", @text)
    stored(class, name)
  end

  defp sum!(class, name, sum) do
    assert {:ok, "#{sum}"} == Actor.call(class, name, "sum")
    assert {:ok, @text} == Actor.call(class, name, "read")
  end

  defp kill(class, name) do
    pid = Actor.where(class, name)
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    eventually(fn -> Actor.where(class, name) == nil end, 10_000)
  end

  test "a call has what it changes written, and the memory as a whole no more than each 17th time" do
    class = deploy!("rust", "ledger", actor: true)
    whole = much!(class, "alice")
    assert whole > 4_000

    sizes =
      for sum <- 1..60 do
        assert {:ok, "#{sum}"} == Actor.call(class, "alice", "add", "1")
        {:ok, %{bytes: bytes}} = Actor.info(class, "alice")
        assert bytes == stored(class, "alice")
        bytes
      end

    steps = Enum.zip_with([whole | sizes], sizes, fn before, now -> now - before end)
    {changes, again} = Enum.split_with(steps, &(&1 > 0))
    assert Enum.all?(changes, &(&1 < 250)), inspect(steps)
    assert length(again) in 3..4, inspect(steps)
    assert Enum.max(sizes) < 2 * whole
  end

  test "an actor that is woken with changes is what it was, whatever has ended it" do
    class = deploy!("rust", "ledger", actor: [idle: 60_000])
    much!(class, "alice")
    for _call <- 1..5, do: {:ok, _sum} = Actor.call(class, "alice", "add", "1")
    :ok = Actor.stop(class, "alice")
    sum!(class, "alice", 5)
    {:ok, %{bytes: before}} = Actor.info(class, "alice")
    # One that was woken begins anew, and so does one that has trapped.
    for sum <- 6..9, do: assert({:ok, "#{sum}"} == Actor.call(class, "alice", "add", "1"))
    kill(class, "alice")
    sum!(class, "alice", 9)
    {:error, _trap} = Actor.call(class, "alice", "add_and_trap", "1")
    sum!(class, "alice", 9)
    for _call <- 1..20, do: {:ok, _sum} = Actor.call(class, "alice", "add", "1")
    {:error, _trap} = Actor.call(class, "alice", "add_and_trap", "1")
    sum!(class, "alice", 29)
    assert stored(class, "alice") < 2 * before
    :ok = Actor.delete(class, "alice")
    assert {:ok, "0"} = Actor.call(class, "alice", "sum")
  end

  test "an actor with changes wakes from memory as it was" do
    class = deploy!("rust", "ledger", actor: [idle: 20])
    much!(class, "alice")
    for _call <- 1..5, do: {:ok, _sum} = Actor.call(class, "alice", "add", "1")
    eventually(fn -> match?({:ok, %{tier: :frozen}}, Actor.info(class, "alice")) end, 20_000)
    {:ok, "6"} = Actor.call(class, "alice", "add", "1")
    sum!(class, "alice", 6)
  end

  for versions <- [:migrate, :kv, :reset, :pin] do
    test "an actor with changes goes over to a new version by an image of that alone: #{versions}" do
      module = &(guest("rust", "ledger") <> <<0, 3, 2, "v", &1>>)
      class = deploy_bytes!(module.(1), actor: [versions: unquote(versions)])
      much!(class, "alice")
      for _call <- 1..5, do: {:ok, _sum} = Actor.call(class, "alice", "add", "1")
      {:ok, _function} = Tidepool.deploy(module.(2), name: class, actor: [versions: unquote(versions)])
      kept = if unquote(versions) in [:migrate, :pin], do: 5, else: 0
      for sum <- (kept + 1)..(kept + 3), do: assert({:ok, "#{sum}"} == Actor.call(class, "alice", "add", "1"))
      :ok = Actor.stop(class, "alice")
      assert {:ok, "#{kept + 3}"} == Actor.call(class, "alice", "sum")
      {:ok, %{version: version}} = Actor.info(class, "alice")
      assert version == if(unquote(versions) == :pin, do: 1, else: 2)
    end
  end

  test "changes that were answered survive a kill, and go to another kind of store and back" do
    {_postgres, url} = Postgres.start!()
    file = Path.join(tmp_folder!(), "actors")
    call = fn peer, operation, payload -> Peer.call(peer, Actor, :call, ["ledger", "alice", operation, payload]) end
    one = Peer.start!(cluster: false)
    Peer.deploy!(one, "rust", "ledger", actor: true)
    {:ok, "1"} = call.(one, "write", @text)
    for sum <- 1..7, do: assert({:ok, "#{sum}"} == call.(one, "add", "1"))
    folder = Peer.folder(one)
    Peer.halt(one)
    assert {:ok, %{actors: 1}} = Archive.export({:folder, folder}, file, nil, false)
    assert {:ok, %{actors: 1}} = Archive.import({:postgres, url}, file, false)

    [two] = TestCluster.start!(1, actors: {:postgres, url})
    Peer.deploy!(two, "rust", "ledger", actor: true)
    eventually(fn -> assert {:ok, "7"} = call.(two, "sum", "") end, 20_000)
    assert {:ok, @text} = call.(two, "read", "")
    for sum <- 8..12, do: assert({:ok, "#{sum}"} == call.(two, "add", "1"))
    Peer.halt(two)

    assert {:ok, %{actors: 1}} = Archive.export({:postgres, url}, file, nil, true)
    three = Peer.boot!(cluster: false)
    assert {:ok, %{actors: 1}} = Archive.import({:folder, Peer.folder(three)}, file, false)
    {:ok, _started} = Peer.start_application(three)
    Peer.deploy!(three, "rust", "ledger", actor: true)
    assert {:ok, "12"} = call.(three, "sum", "")
    assert {:ok, @text} = call.(three, "read", "")
  end
end
