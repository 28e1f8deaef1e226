Code.require_file("../../native/build.exs", __DIR__)

defmodule Tidepool.DataTest do
  # Data folders of nodes with other names: found, named, adopted. Nodes without distribution are called nonode@nohost.
  use Tidepool.Case, async: true

  import ExUnit.CaptureIO

  alias Tidepool.{Data, Error, FaultVersion, Peer}
  alias Tidepool.Actor.Voter
  alias Tidepool.Catalog.Store

  @nameless "nonode@nohost"

  # A data folder in which a node of this name has so many functions, and does not run.
  defp data_of!(name, functions) do
    data = tmp_folder!()
    peer = Peer.start!(data: data)
    for n <- 1..functions//1, do: Peer.deploy!(peer, "rust", "hello_world", name: "f#{n}")
    Peer.halt(peer)
    File.rename!(Store.folder(data, @nameless), Store.folder(data, name))
    data
  end

  # What a start in this folder logs, and the node.
  defp start_logged!(data, env \\ []) do
    path = Path.join(tmp_folder!(), "log")
    peer = Peer.boot!([data: data], env: env)
    Peer.call(peer, :logger, :add_handler, [:file, :logger_std_h, %{config: %{file: to_charlist(path)}}])
    {:ok, _started} = Peer.start_application(peer)
    :ok = Peer.call(peer, :logger_std_h, :filesync, [:file])
    {peer, File.read!(path)}
  end

  test "a node that starts empty beside another one's data names that, with the command that adopts it" do
    data = data_of!("tidepool@localhost", 2)
    {_peer, log} = start_logged!(data)
    assert log =~ "nonode@nohost starts empty"
    assert log =~ "tidepool@localhost (2 functions)"
    assert log =~ "mix tidepool.adopt tidepool@localhost nonode@nohost"
  end

  test "in a release the command is one that a release has" do
    data = data_of!("tidepool@localhost", 1)
    {_peer, log} = start_logged!(data, [{~c"RELEASE_NAME", ~c"tidepool"}])
    assert log =~ "tidepool@localhost (1 function)"
    assert log =~ ~s|bin/tidepool eval 'Tidepool.Release.adopt("tidepool@localhost", "nonode@nohost")'|
  end

  test "neither data of a node that runs, nor empty data, nor data beside a node that has some, is worth a warning" do
    data = tmp_folder!()
    cookie = Peer.cookie()
    running = Peer.start!([data: data], name: Peer.name("a"), cookie: cookie)
    Peer.deploy!(running, "rust", "hello_world")
    assert {peer, ""} = start_logged!(data)
    Peer.halt(peer)

    Peer.halt(running)
    assert {peer, log} = start_logged!(data)
    assert log =~ "#{running.node} (1 function)"
    Peer.deploy!(peer, "rust", "hello_world")
    Peer.halt(peer)
    assert {peer, ""} = start_logged!(data)
    Peer.halt(peer)

    empty = data_of!("b@127.0.0.1", 0)
    assert {_peer, ""} = start_logged!(empty)
  end

  test "what a node has adopted it serves, deploys over, and stamps as its own, after a start under the new name too" do
    data = data_of!("tidepool@localhost", 2)
    # As somebody does who first looks what the node has under its new name.
    {peer, _log} = start_logged!(data)
    assert Peer.call(peer, Tidepool, :list, []) == []
    Peer.halt(peer)

    assert Data.adopt(data, "tidepool@localhost", @nameless) == {:ok, 2}
    assert File.ls!(data) == [@nameless]
    {peer, log} = start_logged!(data)
    assert log == ""
    assert Peer.call(peer, Tidepool, :call, ["f1", "hello", "Ada"]) == {:ok, "Hello, Ada!"}
    assert {:ok, %{version: 2}} = Peer.call(peer, Tidepool, :deploy, [FaultVersion.module(1), [name: "f2"]])
    {context, entries} = Peer.call(peer, Tidepool.Catalog, :known, [])
    assert context.replica =~ ~r/\Anonode@nohost#/
    assert {_ms, _counter, "nonode@nohost#" <> _rest} = Enum.find(entries, &(&1.name == "f2")).stamp
    Peer.halt(peer)
    assert {_peer, ""} = start_logged!(data)
  end

  test "a copy of another node's data makes no stamps in that one's name, and knows what that one knew" do
    data = tmp_folder!()
    peer = Peer.start!(data: data)
    Peer.deploy!(peer, "rust", "hello_world")
    {context, [entry]} = Peer.call(peer, Tidepool.Catalog, :known, [])
    Peer.halt(peer)
    {wall_ms, counter, replica} = entry.stamp
    assert replica == context.replica

    name = Peer.name("copy")
    File.cp_r!(Store.folder(data, @nameless), Store.folder(data, to_string(name)))
    copy = Peer.start!([data: data], name: name, cookie: Peer.cookie())
    {context, [^entry]} = Peer.call(copy, Tidepool.Catalog, :known, [])
    assert context.replica =~ "#{name}#"
    assert context.seen[replica] == {wall_ms, counter}
  end

  test "data of nodes that run, of none, or over other data, is not adopted, and a sentence says why" do
    data = data_of!("old@localhost", 1)

    for {from, to, text} <- [
          {"other@localhost", @nameless, "old@localhost"},
          {"../old@localhost", @nameless, "old@localhost"},
          {"old@localhost", "old@localhost", "already"},
          {"old@localhost", "../new@localhost", "not a node's name"},
          {"old@localhost", "new", "not a node's name"}
        ] do
      assert {:error, %Error{reason: :invalid_option, message: message}} = Data.adopt(data, from, to)
      assert message =~ text
    end

    assert {:error, %Error{message: message}} = Data.adopt(tmp_folder!(), "old@localhost", @nameless)
    assert message =~ "no node has data in"

    peer = Peer.start!(data: data)
    assert {:error, %Error{reason: :data_in_use, message: message}} = Data.adopt(data, "old@localhost", @nameless)
    assert message =~ "stop it first"
    assert {:error, %Error{reason: :data_in_use}} = Data.adopt(data, @nameless, "new@localhost")
    Peer.deploy!(peer, "rust", "hello_world")
    Peer.halt(peer)
    assert {:error, %Error{reason: :invalid_option, message: message}} = Data.adopt(data, "old@localhost", @nameless)
    assert message =~ "has data of its own"
    assert Enum.sort(File.ls!(data)) == [@nameless, "old@localhost"]

    # Nothing is deployed there, and something was set aside.
    {peer, _log} = start_logged!(data)
    :ok = Peer.call(peer, Tidepool, :remove, ["hello_world"])
    Peer.halt(peer)
    File.write!(Path.join(Store.folder(data, @nameless), "catalog.log.torn"), "what could not be read")
    assert {:error, %Error{reason: :invalid_option}} = Data.adopt(data, "old@localhost", @nameless)
    assert {:ok, 1} = Data.adopt(data, "old@localhost", "new@localhost")
  end

  test "data of a node that keeps actors by its name, as one of several or alone, is not adopted, and a sentence says why" do
    data = data_of!("old@localhost", 1)
    voter = data |> Store.folder("old@localhost") |> Voter.folder()
    File.mkdir_p!(voter)

    for file <- ["records.db", "log.db"] do
      File.write!(Path.join(voter, file), "")
      assert {:error, %Error{reason: :invalid_option, message: message}} = Data.adopt(data, "old@localhost", @nameless)

      for word <- ["no member", "add it as a member", "remove old@localhost", "export", voter],
          do: assert(message =~ word)

      assert File.ls!(data) == ["old@localhost"]
      File.rm!(Path.join(voter, file))
    end

    # As it says.
    File.rm_rf!(voter)
    assert {:ok, 1} = Data.adopt(data, "old@localhost", @nameless)
  end

  test "what is adopted is held meanwhile, and given back" do
    data = data_of!("old@localhost", 1)
    assert {:ok, 1} = Data.adopt(data, "old@localhost", @nameless)
    :erlang.garbage_collect()
    lock = Path.join(Store.folder(data, @nameless), "lock")
    # A program that somebody else starts has its descriptor until it runs.
    eventually(fn -> match?({:ok, _lock}, Tidepool.Native.lock_file(lock)) end)
  end

  test "what older versions kept in priv is moved out of it, and replaces nothing" do
    root = tmp_folder!()
    [from, to] = for name <- ["priv/data", "data"], do: Path.join(root, name)

    for path <- [
          Path.join(from, "a@h/catalog.log"),
          Path.join(from, "b@h/catalog.log"),
          Path.join(to, "a@h/catalog.log")
        ] do
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, path)
    end

    said = capture_io(fn -> Tidepool.Native.Build.move_data(from, to) end)
    assert said =~ Path.join(to, "b@h")
    refute File.exists?(from)
    assert Enum.sort(File.ls!(to)) == ["a@h", "a@h.old", "b@h"]
    assert File.read!(Path.join(to, "a@h.old/catalog.log")) == Path.join(from, "a@h/catalog.log")
    assert capture_io(fn -> Tidepool.Native.Build.move_data(from, to) end) == ""
  end

  test "a package has what is needed to build the library, and no data" do
    files = Enum.flat_map(Mix.Project.config()[:package][:files], &Path.wildcard/1)

    for needed <- [
          "lib",
          "mix.exs",
          "native/mix_compiler.exs",
          "native/build.exs",
          "native/precompiled.exs",
          "native/progress.exs",
          "native/Cargo.lock",
          "native/checksums.tsv",
          "priv/testing"
        ],
        do: assert(needed in files)

    for crate <- ["core", "http", "nif"], do: assert("native/tidepool_#{crate}" in files)
    assert Enum.filter(files, &(&1 =~ ~r{^(\.|priv|priv/data|priv/native|data|_build|native|native/target)/?$})) == []
  end
end
