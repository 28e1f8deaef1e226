defmodule Tidepool.ActorComponentsTest do
  # Components as actors: what they keep in whatever language they are, and what ends badly.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Native, Peer}
  alias Tidepool.Actor.Journal.Archive

  import ExUnit.CaptureLog

  # Another module that does the same: with a custom section of its own.
  defp module(version, wasm \\ guest("rust", "tally")), do: wasm <> <<0, 3, 2, "v", version + ?0>>

  defp keeps_all(class) do
    assert {:ok, "5"} = Actor.call(class, "alice", "add", "[5]")
    assert {:ok, "7"} = Actor.call(class, "bob", "add", "[7]")
    assert {:ok, "1"} = Actor.call(class, "alice", "note", ~s(["ebb"]))

    assert {:error, %Error{reason: :guest_error, details: %{value: "a note has to say something"}}} =
             Actor.call(class, "alice", "note", ~s([""]))

    :ok = Actor.stop(class, "alice")
    assert {:ok, %{awake: false}} = Actor.info(class, "alice")
    assert {:ok, "2"} = Actor.call(class, "alice", "note", ~s({"text": "flow"}))
    assert {:error, %Error{reason: {:trap, _kind}}} = Actor.call(class, "alice", "fail", "[100]")
    assert {:ok, "5"} = Actor.call(class, "alice", "sum", "[]")
    assert {:ok, ~s(["ebb","flow"])} = Actor.call(class, "alice", "notes", "")
    assert {:ok, "6"} = Actor.call(class, "alice", "docs:tally/tallies@1.0.0#add", "[1]")
    :ok = Actor.stop(class, "alice")
    assert {:ok, "6"} = Actor.call(class, "alice", "sum", "[]")
    assert {:ok, "7"} = Actor.call(class, "bob", "sum", "[]")
  end

  test "an actor of a component keeps its memory over sleep, a trap and its guest's errors, and prints all the while" do
    class = deploy!("rust", "tally", actor: true)
    keeps_all(class)
  end

  # componentize-py and componentize-js.
  @tag skip: System.get_env("TIDEPOOL_LONG", "") == ""
  @tag timeout: 600_000
  test "so does one in Python and one in JavaScript" do
    for guest <- ["python_tally", "js_tally"] do
      class = deploy!("component", guest, actor: true, limits: %{memory: 67_108_864, cpu_time: 20_000, time: 60_000})
      keeps_all(class)
    end
  end

  test "an actor of a component is there after its node has ended" do
    folder = tmp_folder!()
    call = fn peer, payload -> Peer.call(peer, Actor, :call, ["tally", "alice", "add", payload]) end
    peer = Peer.start!(data: folder, cluster: false)
    options = [name: "tally", actor: true]
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [guest("rust", "tally"), options])
    assert {:ok, "4"} = call.(peer, "[4]")
    Peer.halt(peer)
    peer = Peer.start!(data: folder, cluster: false)
    assert {:ok, "5"} = call.(peer, "[1]")
  end

  test "an actor of a component is in an export with the component, and goes on where that is imported" do
    file = Path.join(tmp_folder!(), "actors")
    options = [name: "tally", actor: true]
    call = fn peer, operation, payload -> Peer.call(peer, Actor, :call, ["tally", "alice", operation, payload]) end
    one = Peer.start!(cluster: false)
    {:ok, _function} = Peer.call(one, Tidepool, :deploy, [module(1), options])
    assert {:ok, "4"} = call.(one, "add", "[4]")
    assert {:ok, "1"} = call.(one, "note", ~s(["ebb"]))
    folder = Peer.folder(one)
    Peer.halt(one)
    assert {:ok, %{actors: 1, modules: 1}} = Archive.export({:folder, folder}, file, nil, false)

    other = Peer.boot!(cluster: false)
    assert {:ok, %{actors: 1, modules: 1}} = Archive.import({:folder, Peer.folder(other)}, file, false)
    {:ok, _started} = Peer.start_application(other)
    # It stays on the one that came along.
    {:ok, _function} = Peer.call(other, Tidepool, :deploy, [module(2), options])
    eventually(fn -> assert {:ok, "4"} = call.(other, "sum", "[]") end, 20_000)
    assert {:ok, "5"} = call.(other, "add", "[1]")
    assert {:ok, ~s(["ebb"])} = call.(other, "notes", "[]")
  end

  test "pin has its actors stay, kv and reset begin them anew, and a component that can't save leaves them on it" do
    for {versions, {sum, version}} <- [pin: {"4", 1}, kv: {"1", 2}, reset: {"1", 2}, migrate: {"4", 1}] do
      class = deploy_bytes!(module(1), actor: [versions: versions])
      {:ok, "3"} = Actor.call(class, "alice", "add", "[3]")
      {:ok, _function} = Tidepool.deploy(module(2), name: class, actor: [versions: versions])
      capture_log(fn -> assert {:ok, ^sum} = Actor.call(class, "alice", "add", "[1]") end)
      assert {:ok, %{version: ^version}} = Actor.info(class, "alice")
    end
  end

  test "migrate hands over what the exports actor-save and actor-load say, which nobody else calls" do
    class = deploy!("component", "saving", actor: [versions: :migrate])
    assert {:ok, "3"} = Actor.call(class, "alice", "add", "[3]")
    wasm = module(2, guest("component", "saving"))
    {:ok, _function} = Tidepool.deploy(wasm, name: class, actor: [versions: :migrate])
    assert {:ok, "1004"} = Actor.call(class, "alice", "add", "[1]")
    assert {:ok, %{version: 2, stayed: nil}} = Actor.info(class, "alice")

    for operation <- ["actor-save", "actor-load", "docs:any/thing#actor-save"] do
      assert {:error, %Error{reason: :invalid_option}} = Actor.call(class, "alice", operation, "[]")
    end
  end

  test "a call that leaves handles of resources fails, and the actor is as it was before" do
    class = deploy!("component", "saving", actor: true)
    assert {:ok, "3"} = Actor.call(class, "alice", "add", "[3]")

    assert {:error, %Error{reason: :kept_handles, message: message}} = Actor.call(class, "alice", "keep", "[5]")
    assert message =~ "handles of wasi:io/poll"
    assert {:ok, "4"} = Actor.call(class, "alice", "add", "[1]")
  end

  test "the bucket actor of wasi:keyvalue is an actor's own: of each another, kept with its memory and undone with its calls" do
    class = deploy!("rust", "keyvalue_draft2", actor: true, keyvalue: ["actor", "shared"])

    run = fn name, lines ->
      {:ok, text} = Actor.call(class, name, "run", Native.json_encode([Enum.join(lines, "\n")]))
      {:ok, answers} = Native.json_decode(text)
      String.split(answers, "\n")
    end

    assert run.("alice", ["open actor", "set k one", "get k", "add n 4"]) == ["ok", "ok", "one", "4"]
    assert run.("bob", ["open actor", "get k", "open shared", "set k all"]) == ["ok", "none", "ok", "ok"]
    :ok = Actor.stop(class, "alice")
    assert run.("alice", ["open actor", "get k", "add n 1", "list"]) == ["ok", "one", "5", "1 k n"]
    assert {:ok, %{value_bytes: 6}} = Actor.info(class, "alice")
    assert run.("alice", ["open shared", "get k"]) == ["ok", "all"]
  end

  test "what an image would lack is refused at the deploy, by name" do
    for {language, guest, why} <- [
          {"component", "counters", "it has resources of its own"},
          {"component", "busy", "it is composed of components"},
          {"rust", "http", "a handler of HTTP is asked by requests"},
          {"rust", "upper_command", "runs once and ends"}
        ] do
      assert {:error, %Error{reason: :no_actor, message: message}} =
               Tidepool.deploy(guest(language, guest), name: unique_name("actor"), actor: true)

      assert message =~ why
      assert message =~ "deploy it without `actor`"
    end
  end

  test "a class is described by what it exports and imports, and by nothing of the host's own" do
    class = deploy!("component", "calc", actor: true)
    assert {:ok, %{abi: :typed, imports: ["docs:shop/prices@1.0.0.price"]}} = Tidepool.fetch(class)
    assert {:ok, "3"} = Actor.call(class, "alice", "add", "[1, 2]")
  end
end
