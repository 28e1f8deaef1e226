defmodule Tidepool.CatalogTest do
  # What other nodes tell, as it comes to the catalog.
  use Tidepool.Case, async: true

  alias Tidepool.{CallTrace, Catalog, Error, Peer, TestModule}
  alias Tidepool.Catalog.BlobStore

  defp entry(peer, name) do
    {_context, entries} = Peer.call(peer, Catalog, :known, [])
    Enum.find(entries, &(&1.name == name))
  end

  # What another node deployed, whose module is nowhere to be had.
  defp later(entry, version) do
    {wall_ms, counter, _replica} = entry.stamp
    sha256 = BlobStore.sha256("version #{version}, nowhere")
    %{entry | version: version, sha256: sha256, stamp: {wall_ms, counter + version, "elsewhere#1"}}
  end

  test "the version that serves goes on through several that are on their way, after a restart too" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    first = entry(peer, "hello_world")
    for version <- [2, 3], do: :ok = Peer.call(peer, Catalog, :accept, [[later(first, version)]])
    assert %{version: 3} = entry(peer, "hello_world")
    assert {:ok, "Hello, world!"} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello"])

    :ok = Peer.stop_application(peer)
    {:ok, _started} = Peer.start_application(peer)
    assert %{version: 3} = entry(peer, "hello_world")
    assert {:ok, %{version: 1}} = Peer.call(peer, Tidepool, :fetch, ["hello_world"])
    assert {:ok, "Hello, world!"} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello"])
  end

  test "a version on its way of which more becomes known is still that version when it has come" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    bare = %{later(entry(peer, "hello_world"), 2) | admitted: :unknown}
    full = %{bare | admitted: :token, description: "Says hello."}
    for entry <- [bare, full, bare], do: :ok = Peer.call(peer, Catalog, :accept, [[entry]])
    assert entry(peer, "hello_world") == full
    # Until then the one before serves.
    assert {:ok, %{version: 1}} = Peer.call(peer, Tidepool, :fetch, ["hello_world"])

    error = {:error, Error.new(:unavailable, "no module")}
    other = %{full | size: full.size + 1}
    assert Peer.call(peer, Catalog, :install, [other, error]) == :superseded
    assert Peer.call(peer, Catalog, :install, [bare, error]) == :ok
    assert {:error, _error, stamp} = Peer.call(peer, Catalog, :loaded, ["hello_world"])
    assert stamp == full.stamp
  end

  test "a name that was deployed again meanwhile is not forgotten with what it was before" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    old = entry(peer, "hello_world")
    Peer.deploy!(peer, "zig", "hello_world")
    {context, _entries} = Peer.call(peer, Catalog, :known, [])

    :ok = Peer.call(peer, Catalog, :forget, [[{"hello_world", old.stamp}], context])
    assert %{version: 2} = now = entry(peer, "hello_world")
    assert {:ok, "Hello, Ada!"} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello", "Ada"])

    :ok = Peer.call(peer, Catalog, :forget, [[{"hello_world", now.stamp}], context])
    assert entry(peer, "hello_world") == nil
    assert {:error, %{reason: :not_deployed}} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello"])
  end

  test "a deploy whose module takes long to be written delays no other deploy, and is done when it is" do
    peer = Peer.start!()
    blobs = Peer.call(peer, Catalog, :blobs, [])
    # As large as a module may be, and made there, too.
    [wasm: wasm, size: size] = small = [wasm: guest("zig", "hello_world"), size: 64 * 1024 * 1024]
    slow = TestModule.padded(wasm, size)
    # Looking into a pipe takes until somebody opens its other end.
    pipe = BlobStore.path(blobs, BlobStore.sha256(slow))
    {_output, 0} = System.cmd("mkfifo", [pipe])
    code = "wasm |> Tidepool.TestModule.padded(size) |> Tidepool.deploy(name: \"slow\")"
    deploy = Task.async(fn -> Peer.call(peer, Code, :eval_string, [code, small]) end)
    eventually(fn -> reserved(peer) == 1 end, 60_000)

    Peer.deploy!(peer, "rust", "hello_world")
    Peer.deploy!(peer, "go", "hello_world")
    assert :ok = Peer.call(peer, Tidepool, :remove, ["hello_world"])
    assert Task.yield(deploy, 0) == nil

    {:ok, :ok} = File.open(pipe, [:write], fn _pipe -> :ok end)
    assert {{:ok, %{version: 1, size: ^size}}, _binding} = Task.await(deploy, 60_000)
    assert {:ok, "Hello, Ada!"} = Peer.call(peer, Tidepool, :call, ["slow", "hello", "Ada"])
    assert {:ok, ^slow} = BlobStore.fetch(blobs, BlobStore.sha256(slow))
    assert reserved(peer) == 0
  end

  # Whatever of a deploy, a removal or a transfer takes long on a slow disk, no other waits for it there.
  test "deploys, removals and modules that come from elsewhere go on without the VM's file server" do
    peer = Peer.start!()
    blobs = Peer.call(peer, Catalog, :blobs, [])
    come = "from elsewhere"
    sha256 = BlobStore.sha256(come)
    :ok = Peer.call(peer, :sys, :suspend, [:file_server_2])

    %{sha256: before} = Peer.deploy!(peer, "rust", "hello_world")
    %{sha256: needed} = Peer.deploy!(peer, "zig", "hello_world")
    Peer.deploy!(peer, "go", "hello_world", name: "removed")
    assert :ok = Peer.call(peer, Tidepool, :remove, ["removed"])
    assert {:ok, _function, _wasm} = Peer.call(peer, Catalog, :wasm, ["hello_world"])
    assert Enum.sort(File.ls!(blobs)) == Enum.sort([before, needed])

    arrive = "{:ok, writer} = Tidepool.Catalog.BlobStore.Writer.open(blobs, sha256, byte_size(come))
      {:ok, writer} = Tidepool.Catalog.BlobStore.Writer.append(writer, come)
      Tidepool.Catalog.BlobStore.Writer.finish(writer)"
    binding = [blobs: blobs, sha256: sha256, come: come]
    assert {:ok, _binding} = Peer.call(peer, Code, :eval_string, [arrive, binding])
    assert BlobStore.fetch(blobs, sha256) == {:ok, come}
    for name <- [needed, sha256], do: assert(File.stat!(Path.join(blobs, name)).mode |> Bitwise.band(0o777) == 0o600)
  end

  test "of a deploy that dies while its module is written nothing is left" do
    peer = Peer.start!()
    wasm = guest("zig", "hello_world")
    pipe = peer |> Peer.call(Catalog, :blobs, []) |> BlobStore.path(BlobStore.sha256(wasm))
    {_output, 0} = System.cmd("mkfifo", [pipe])
    # Its process is the one that the catalog watches.
    Peer.call(peer, :erlang, :spawn, [Tidepool, :deploy, [wasm, [name: "dying"]]])
    eventually(fn -> reserved(peer) == 1 end)
    kill = "{:monitors, all} = Process.info(Process.whereis(Tidepool.Catalog), :monitors)
      for {:process, pid} <- all, do: Process.exit(pid, :kill)"
    Peer.call(peer, Code, :eval_string, [kill])

    eventually(fn -> reserved(peer) == 0 and not File.exists?(pipe) end)
    assert {:error, %{reason: :not_deployed}} = Peer.call(peer, Tidepool, :call, ["dying", "hello"])
  end

  test "a deploy that dies half-way through its module leaves no file, and what it did later goes with the next change" do
    peer = Peer.start!()
    blobs = Peer.call(peer, Catalog, :blobs, [])
    sha256 = BlobStore.sha256("half of it")

    # As `Catalog.commit/5` begins.
    half = "spawn(fn ->
        beside = Tidepool.Catalog.BlobStore.beside(\"#{BlobStore.path(blobs, sha256)}\")
        GenServer.cast(Tidepool.Catalog, {:reserve, self(), \"#{sha256}\", beside})
        File.write!(beside, \"half of\")
        Process.sleep(:infinity)
      end)"

    {writer, _binding} = Peer.call(peer, Code, :eval_string, [half])
    eventually(fn -> match?([_half], File.ls!(blobs)) end)
    [beside] = File.ls!(blobs)
    Peer.call(peer, Process, :exit, [writer, :kill])
    eventually(fn -> reserved(peer) == 0 and File.ls!(blobs) == [] end)

    File.write!(Path.join(blobs, beside), "half of")
    File.write!(BlobStore.path(blobs, sha256), "half of it")
    %{sha256: needed} = Peer.deploy!(peer, "rust", "hello_world")
    assert File.ls!(blobs) == [needed]
  end

  test "a module that nothing was heard of goes when the folder is looked through, and none that is needed or written does" do
    peer = Peer.start!()
    blobs = Peer.call(peer, Catalog, :blobs, [])
    %{sha256: needed} = Peer.deploy!(peer, "rust", "hello_world")
    # The version before serves until this one has come.
    :ok = Peer.call(peer, Catalog, :accept, [[later(entry(peer, "hello_world"), 2)]])
    [stray, written] = for text <- ["left behind", "being written"], do: BlobStore.sha256(text)
    reserve = "spawn(fn ->
        Tidepool.Catalog.reserve(\"#{written}\", \"#{BlobStore.beside(BlobStore.path(blobs, written))}\")
        Process.sleep(:infinity)
      end)"
    {_writer, _binding} = Peer.call(peer, Code, :eval_string, [reserve])
    eventually(fn -> reserved(peer) == 1 end)

    for {sha256, text} <- [{stray, "left behind"}, {written, "being written"}],
        do: File.write!(BlobStore.path(blobs, sha256), text)

    # As it does each hour.
    Peer.call(peer, Process, :send, [Catalog, :sweep, []])
    eventually(fn -> not File.exists?(BlobStore.path(blobs, stray)) end)
    assert Enum.sort(File.ls!(blobs)) == Enum.sort([needed, written])
    assert {:ok, "Hello, world!"} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello"])
  end

  test "a deploy that outlives the catalog which it has begun with is on the disk when it is answered" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    wasm = guest("zig", "hello_world")
    blobs = Peer.call(peer, Catalog, :blobs, [])
    path = BlobStore.path(blobs, BlobStore.sha256(wasm))
    {_output, 0} = System.cmd("mkfifo", [path])
    # Open at its other end for as long as there is this program: the next catalog removes the name of the pipe.
    holder =
      Port.open({:spawn_executable, System.find_executable("sh")}, args: ["-c", "exec 3<>\"$0\"; echo; read -r _", path])

    assert_receive {^holder, {:data, _opened}}
    deploy = Task.async(fn -> Peer.call(peer, Tidepool, :deploy, [wasm, [name: "outlives"]]) end)
    eventually(fn -> reserved(peer) == 1 end)

    old = Peer.call(peer, Process, :whereis, [Catalog])
    Peer.call(peer, Process, :exit, [old, :kill])
    eventually(fn -> catalog(peer) not in [:restarting, :undefined, old] end)
    new = catalog(peer)
    # A change that deletes unused modules comes between the module and its entry.
    :ok = Peer.call(peer, :sys, :suspend, [new])
    remove = Task.async(fn -> Peer.call(peer, Tidepool, :remove, ["hello_world"]) end)
    eventually(fn -> asked(peer, new) == [:remove] end)
    Port.close(holder)
    eventually(fn -> asked(peer, new) == [:remove, :commit] end)
    :ok = Peer.call(peer, :sys, :resume, [new])

    assert :ok = Task.await(remove, 60_000)
    assert {:ok, %{version: 1}} = Task.await(deploy, 60_000)
    assert {:ok, ^wasm} = BlobStore.fetch(blobs, BlobStore.sha256(wasm))
    assert reserved(peer) == 0
  end

  test "a module that goes with what needed it, before the catalog hears of its next deploy, is written again" do
    peer = Peer.start!()
    %{sha256: sha256} = Peer.deploy!(peer, "rust", "hello_world")
    {wasm, blobs} = {guest("rust", "hello_world"), Peer.call(peer, Catalog, :blobs, [])}
    catalog = catalog(peer)
    :ok = Peer.call(peer, :sys, :suspend, [catalog])
    remove = Task.async(fn -> Peer.call(peer, Tidepool, :remove, ["hello_world"]) end)
    eventually(fn -> asked(peer, catalog) == [:remove] end)
    deploy = Task.async(fn -> Peer.call(peer, Tidepool, :deploy, [wasm, [name: "again"]]) end)
    eventually(fn -> asked(peer, catalog) == [:remove, :commit] end)
    :ok = Peer.call(peer, :sys, :resume, [catalog])

    assert :ok = Task.await(remove, 60_000)
    assert {:ok, %{version: 1}} = Task.await(deploy, 60_000)
    assert {:ok, ^wasm} = BlobStore.fetch(blobs, sha256)
    assert reserved(peer) == 0
  end

  # Its supervisor knows none that is still starting.
  defp catalog(peer) do
    children = Peer.call(peer, Supervisor, :which_children, [Tidepool.Supervisor])
    {Catalog, pid, _type, _modules} = List.keyfind(children, Catalog, 0)
    pid
  end

  defp asked(peer, pid) do
    {:messages, messages} = Peer.call(peer, Process, :info, [pid, :messages])
    for {:"$gen_call", _from, question} <- messages, do: elem(question, 0)
  end

  test "the function that was tried is the one that serves, but when its version was taken meanwhile" do
    peer = Peer.start!()
    assert linked(peer, fn -> Peer.deploy!(peer, "rust", "hello_world") end) == [1]

    # Behind its trial, before its commit: the module is being written.
    wasm = guest("zig", "hello_world")
    pipe = peer |> Peer.call(Catalog, :blobs, []) |> BlobStore.path(BlobStore.sha256(wasm))
    {_output, 0} = System.cmd("mkfifo", [pipe])

    versions =
      linked(peer, fn ->
        deploy = Task.async(fn -> Peer.call(peer, Tidepool, :deploy, [wasm, [name: "hello_world"]]) end)
        eventually(fn -> reserved(peer) == 1 end)
        assert %{version: 2} = Peer.deploy!(peer, "go", "hello_world")
        {:ok, :ok} = File.open(pipe, [:write], fn _pipe -> :ok end)
        assert {:ok, %{version: 3}} = Task.await(deploy, 60_000)
      end)

    assert versions == [2, 2, 3]
    assert {:ok, %{version: 3}} = Peer.call(peer, Tidepool, :fetch, ["hello_world"])
  end

  # The versions of the functions that the peer makes of modules meanwhile.
  defp linked(peer, work) do
    :ok = Peer.call(peer, CallTrace, :start, [{Tidepool.Native, :new_function, 2}])
    work.()
    for [_module, config] <- Peer.call(peer, CallTrace, :stop, []), do: config.version
  end

  # Modules that are being written for entries to come.
  defp reserved(peer), do: peer |> Peer.call(:sys, :get_state, [Catalog]) |> Map.fetch!(:reserved) |> map_size()
end
