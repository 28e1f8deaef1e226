defmodule Tidepool.RestartTest do
  # Deployed functions outlive the application and the node; damage on disk stays where it is.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Engine, Error, Function, LogWatch, Peer, Tool}

  defp restart(peer) do
    :ok = Peer.stop_application(peer)
    {:ok, _started} = Peer.start_application(peer)
  end

  defp call(peer, name, operation, payload \\ ""), do: Peer.call(peer, Tidepool, :call, [name, operation, payload])
  defp fetch(peer, name), do: Peer.call(peer, Tidepool, :fetch, [name])
  defp list(peer), do: Peer.call(peer, Tidepool, :list, [])
  defp catalog(peer), do: Path.join(Peer.folder(peer), "catalog.log")
  defp blob(peer, %Function{sha256: sha256}), do: Path.join([Peer.folder(peer), "blobs", sha256])

  # What a function is stays the same, but for how long it took to compile this time.
  defp identity(functions), do: Enum.map(functions, &%{&1 | compile_us: 0})

  test "functions are as they were when the application starts again" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world", operation: "hello", limits: [time: 4_321])
    Peer.deploy!(peer, "rust", "counter", instances: {:warm, 2})
    Peer.deploy!(peer, "rust", "upper")
    Peer.deploy!(peer, "zig", "hello_world", operation: "hello", limits: [time: 4_321])
    before = list(peer)
    assert [%{name: "counter"}, %{name: "hello_world", version: 2, limits: %{time: 4_321}}, %{name: "upper"}] = before

    restart(peer)
    assert identity(list(peer)) == identity(before)
    assert call(peer, "hello_world", nil, "Ada") == {:ok, "Hello, Ada!"}
    assert call(peer, "upper", "run", "ada") == {:ok, "ADA"}
    for n <- 1..3, do: assert(call(peer, "counter", "next") == {:ok, "#{n}"})
  end

  test "a removed function stays removed, and its versions go on" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "counter")
    Peer.deploy!(peer, "rust", "hello_world")
    :ok = Peer.call(peer, Tidepool, :remove, ["counter"])
    restart(peer)
    assert {:error, %Error{reason: :not_deployed}} = call(peer, "counter", "next")
    assert [%Function{name: "hello_world"}] = list(peer)
    assert %Function{version: 2} = Peer.deploy!(peer, "rust", "counter")
  end

  test "the same deploy after a restart is still unchanged" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "counter", instances: {:warm, 2})
    restart(peer)
    assert %Function{version: 1} = Peer.deploy!(peer, "rust", "counter", instances: {:warm, 2})
  end

  test "a node that crashed comes back with what it had, under another process of the system" do
    data = tmp_folder!()
    peer = Peer.start!(data: data)
    Peer.deploy!(peer, "rust", "hello_world")
    Peer.halt(peer)

    other = Peer.start!(data: data)
    assert call(other, "hello_world", "hello") == {:ok, "Hello, world!"}
  end

  test "a node keeps the modules that it needs, and no others" do
    peer = Peer.start!()
    first = Peer.deploy!(peer, "rust", "hello_world")
    blobs = Path.dirname(blob(peer, first))
    assert File.ls!(blobs) == [first.sha256]

    # The version before is what a rollback goes back to.
    second = Peer.deploy!(peer, "zig", "hello_world")
    assert Enum.sort(File.ls!(blobs)) == Enum.sort([first.sha256, second.sha256])

    # What two functions share stays for as long as one has it.
    counter = Peer.deploy!(peer, "rust", "counter")
    assert Peer.deploy!(peer, "rust", "counter", name: "same_bytes").sha256 == counter.sha256
    :ok = Peer.call(peer, Tidepool, :remove, ["counter"])
    assert Enum.sort(File.ls!(blobs)) == Enum.sort([first.sha256, second.sha256, counter.sha256])
    :ok = Peer.call(peer, Tidepool, :remove, ["same_bytes"])
    assert Enum.sort(File.ls!(blobs)) == Enum.sort([first.sha256, second.sha256])
    :ok = Peer.call(peer, Tidepool, :remove, ["hello_world"])
    assert File.ls!(blobs) == []
  end

  test "a damaged module is named in the log and set aside, its function unavailable, and all others load" do
    peer = Peer.start!(server: true)
    # Whoever calls it is told at once, for there is no node that could bring the module.
    damaged = Peer.deploy!(peer, "rust", "hello_world", limits: [time: 3_600_000])
    Peer.deploy!(peer, "rust", "counter")
    :ok = Peer.stop_application(peer)
    path = blob(peer, damaged)
    File.write!(path, flip(File.read!(path), div(damaged.size, 2)))
    Peer.call(peer, LogWatch, :collect, [])
    {:ok, _started} = Peer.start_application(peer)

    assert {:error, %Error{reason: :unavailable, function: "hello_world"} = error} = call(peer, "hello_world", "hello")
    # Whoever calls is told nothing of this node's folders.
    assert error.message == "its module could not be loaded on this node, whose log says why: deploy it again"
    assert {:error, %Error{reason: :unavailable}} = fetch(peer, "hello_world")
    assert {503, _headers, %{"error" => %{"reason" => "unavailable"}}} = curl_url(Peer.url(peer, "/call/hello_world"))

    assert {503, _headers, %{"error" => %{"reason" => "unavailable"}}} =
             curl_url(Peer.url(peer, "/functions/hello_world"))

    assert call(peer, "counter", "next") == {:ok, "1"}
    assert [%Function{name: "counter"}] = list(peer)
    # It is not forgotten.
    unavailable = [%{"name" => "hello_world", "version" => 1, "sha256" => damaged.sha256}]

    assert {200, _headers, %{"functions" => [%{"name" => "counter"}], "unavailable" => ^unavailable}} =
             curl_url(Peer.url(peer, "/functions"))

    assert {200, _headers, %{"functions" => 1, "functions_unavailable" => 1}} = curl_url(Peer.url(peer, "/health"))
    assert {200, _headers, %{"functions" => functions}} = curl_url(Peer.url(peer, "/cluster"))
    assert [{"counter", []}, {"hello_world", [_this]}] = for(f <- functions, do: {f["name"], f["pending"]})
    {200, _headers, metrics} = curl_url(Peer.url(peer, "/metrics"))
    assert metrics =~ "\ntidepool_functions_unavailable 1\n"
    env = [{"TIDEPOOL_URL", Peer.url(peer, "")}]
    assert {list, 0} = Tool.run(["list"], env: env)
    assert list =~ "hello_world is deployed, and its module could not be loaded on this node"
    assert {status, 0} = Tool.run(["status"], env: env)
    assert status =~ "1 more could not be loaded on this node"

    refute File.exists?(path)
    assert File.exists?(path <> ".damaged")

    assert Enum.any?(Peer.call(peer, LogWatch, :collected, []), fn {level, text} -> level == :error and text =~ path end)

    # The same deploy again is what helps.
    assert %Function{version: 2} = Peer.deploy!(peer, "rust", "hello_world")
    assert call(peer, "hello_world", "hello") == {:ok, "Hello, world!"}
    assert {200, _headers, "Hello, world!"} = curl_url(Peer.url(peer, "/call/hello_world"))
    assert {200, _headers, %{"unavailable" => []}} = curl_url(Peer.url(peer, "/functions"))
    restart(peer)
    assert call(peer, "hello_world", "hello") == {:ok, "Hello, world!"}
  end

  test "a missing module makes its function unavailable and no other" do
    peer = Peer.start!()
    missing = Peer.deploy!(peer, "rust", "hello_world")
    Peer.deploy!(peer, "rust", "counter")
    :ok = Peer.stop_application(peer)
    File.rm!(blob(peer, missing))
    {:ok, _started} = Peer.start_application(peer)
    assert {:error, %Error{reason: :unavailable}} = call(peer, "hello_world", "hello")
    assert call(peer, "counter", "next") == {:ok, "1"}
    assert :ok = Peer.call(peer, Tidepool, :remove, ["hello_world"])
    assert {:error, %Error{reason: :not_deployed}} = call(peer, "hello_world", "hello")
  end

  test "an unfinished record at the catalog's end is left out, and what was before it is whole" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    :ok = Peer.stop_application(peer)
    unfinished = binary_part(File.read!(catalog(peer)), 0, 50)
    File.write!(catalog(peer), unfinished, [:append])
    {:ok, _started} = Peer.start_application(peer)

    assert [%Function{name: "hello_world"}] = list(peer)
    assert call(peer, "hello_world", "hello") == {:ok, "Hello, world!"}
    # Nobody was answered for it: there is nothing to be kept.
    assert Path.wildcard(catalog(peer) <> ".torn*") == []

    # The file is whole again.
    Peer.deploy!(peer, "rust", "counter")
    restart(peer)
    assert [%Function{name: "counter"}, %Function{name: "hello_world"}] = list(peer)
  end

  test "a catalog with a flipped bit costs nothing, one with a lost record its function, and no module" do
    peer = Peer.start!()
    guests = [{"rust", "hello_world"}, {"rust", "counter"}, {"rust", "upper"}, {"zig", "hello_world"}]

    for {{language, guest}, n} <- Enum.with_index(guests),
        do: Peer.deploy!(peer, language, guest, name: "f#{n}", operation: "any")

    before = list(peer)
    blobs = Enum.sort(File.ls!(Path.dirname(blob(peer, hd(before)))))
    :ok = Peer.stop_application(peer)

    {at, _length} = :binary.match(File.read!(catalog(peer)), "f1")
    File.write!(catalog(peer), flip(File.read!(catalog(peer)), at))
    {:ok, _started} = Peer.start_application(peer)
    assert identity(list(peer)) == identity(before)
    assert File.exists?(catalog(peer) <> ".torn")
    :ok = Peer.stop_application(peer)

    # Half a record is nothing but zeros.
    Peer.call(peer, LogWatch, :collect, [])
    bytes = File.read!(catalog(peer))
    {at, _length} = :binary.match(bytes, "f1")
    damaged = binary_part(bytes, 0, at + 2) <> <<0::800>> <> binary_part(bytes, at + 102, byte_size(bytes) - at - 102)
    File.write!(catalog(peer), damaged)
    {:ok, _started} = Peer.start_application(peer)
    assert for(%{name: name} <- list(peer), do: name) == ["f0", "f2", "f3"]
    assert {:error, %Error{reason: :not_deployed}} = call(peer, "f1", nil)
    assert File.read!(catalog(peer) <> ".torn.1") == damaged
    errors = for {:error, text} <- Peer.call(peer, LogWatch, :collected, []), do: text
    assert Enum.any?(errors, &(&1 =~ ~r/catalog.log: bytes \d+ to \d+ are damaged.*: the function f1/))

    # No start after it and no change makes it worse.
    restart(peer)
    Peer.deploy!(peer, "wat", "trap_unreachable")
    restart(peer)
    assert for(%{name: name} <- list(peer), do: name) == ["f0", "f2", "f3", "trap_unreachable"]
    assert blobs -- File.ls!(Path.dirname(blob(peer, hd(before)))) == []
    assert length(Path.wildcard(catalog(peer) <> ".torn*")) == 2

    # Whoever has looked at what was kept and removes it is rid of the modules, too.
    :ok = Peer.stop_application(peer)
    for kept <- Path.wildcard(catalog(peer) <> ".torn*"), do: File.rm!(kept)
    {:ok, _started} = Peer.start_application(peer)
    assert length(blobs -- File.ls!(Path.dirname(blob(peer, hd(before))))) == 1
  end

  test "a catalog that is missing costs no module" do
    for files <- [["catalog.log"], ["catalog.log", "catalog.end"]] do
      peer = Peer.start!()
      function = Peer.deploy!(peer, "rust", "hello_world")
      :ok = Peer.stop_application(peer)
      for file <- files, do: File.rm!(Path.join(Peer.folder(peer), file))
      {:ok, _started} = Peer.start_application(peer)
      assert list(peer) == []
      restart(peer)
      assert File.exists?(blob(peer, function))
    end
  end

  test "the data of a node is its user's alone, and what others could read is closed and named" do
    data = tmp_folder!()
    peer = Peer.start!(data: data)
    Peer.deploy!(peer, "rust", "counter")
    folder = Peer.folder(peer)
    rights = fn path -> Bitwise.band(File.stat!(path).mode, 0o777) end
    assert rights.(folder) == 0o700
    eventually(fn -> length(compiled(peer)) == 1 end, 30_000)
    for path <- Path.wildcard(folder <> "/**"), File.regular?(path), do: assert({path, rights.(path)} == {path, 0o600})

    :ok = Peer.stop_application(peer)
    File.chmod!(folder, 0o755)
    Peer.call(peer, LogWatch, :collect, [])
    {:ok, _started} = Peer.start_application(peer)
    assert rights.(folder) == 0o700

    assert [_text] =
             for(
               {:warning, text} <- Peer.call(peer, LogWatch, :collected, []),
               text =~ "could be read by others",
               do: text
             )
  end

  test "many changes don't grow the catalog without bound" do
    peer = Peer.start!()
    wasm = guest("wat", "trap_unreachable")

    for _change <- 1..600 do
      {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: "changing"]])
      :ok = Peer.call(peer, Tidepool, :remove, ["changing"])
    end

    # Without compaction there would be 1,200 records, of some 300 bytes each.
    {entries, []} = Tidepool.Catalog.Record.decode(File.read!(catalog(peer)))
    assert length(entries) < 1_100
    restart(peer)
    assert %Function{version: 601} = Peer.deploy!(peer, "wat", "trap_unreachable", name: "changing")
  end

  test "stopping the application lets requests in flight finish" do
    peer = Peer.start!(server: true, drain: 30_000)
    Peer.deploy!(peer, "rust", "sleepy", limits: [time: 60_000])
    url = Peer.url(peer, "/call/sleepy?payload=10000")
    # The instance that the deploy has tried may still be on its way out.
    eventually(fn -> %{live: 0} = Peer.call(peer, Engine, :instances, []) end)
    request = Task.async(fn -> curl_url(url) end)
    eventually(fn -> %{live: 1} = Peer.call(peer, Engine, :instances, []) end)
    assert :ok = Peer.stop_application(peer)
    assert {200, _headers, "slept 10000"} = Task.await(request, 60_000)
    assert {_output, 7} = System.cmd("curl", ["-sS", url], stderr_to_stdout: true)
  end

  test "a request that takes longer than the drain is cut" do
    peer = Peer.start!(server: true, drain: 50)
    Peer.deploy!(peer, "rust", "sleepy", limits: [time: 600_000])
    url = Peer.url(peer, "/call/sleepy?payload=600000")
    eventually(fn -> %{live: 0} = Peer.call(peer, Engine, :instances, []) end)
    request = Task.async(fn -> System.cmd("curl", ["-sS", "--max-time", "60", url], stderr_to_stdout: true) end)
    eventually(fn -> %{live: 1} = Peer.call(peer, Engine, :instances, []) end)
    assert :ok = Peer.stop_application(peer)
    assert {_output, status} = Task.await(request, 60_000)
    # Neither an answer nor curl's own timeout.
    assert status not in [0, 28]
  end

  # What is in the cache; code is written after its deploy was answered.
  defp compiled(peer), do: Path.wildcard(Path.join([Peer.folder(peer), "compiled", "*-*"]))
  defp metrics(peer), do: Peer.call(peer, Tidepool.Native, :metrics, [Peer.call(peer, Engine, :runtime, []), [], []])

  test "what was compiled before is not compiled again, neither after a stop nor after a crash" do
    data = tmp_folder!()
    peer = Peer.start!(data: data)
    for {language, guest} <- [{"rust", "counter"}, {"go", "hello_world"}], do: Peer.deploy!(peer, language, guest)
    eventually(fn -> length(compiled(peer)) == 2 end, 60_000)
    restart(peer)
    assert metrics(peer) =~ ~r/^tidepool_compiles_total 0$/m
    assert metrics(peer) =~ ~r/^tidepool_compiles_cached_total 2$/m
    assert call(peer, "hello_world", "hello", "Ada") == {:ok, "Hello, Ada!"}
    Peer.halt(peer)

    other = Peer.start!(data: data)
    assert metrics(other) =~ ~r/^tidepool_compiles_total 0$/m
    assert call(other, "hello_world", "hello", "Ada") == {:ok, "Hello, Ada!"}
    assert call(other, "counter", "next") == {:ok, "1"}
  end

  test "compiled code that was damaged is named in the log and compiled anew" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    [path] = eventually(fn -> compiled(peer) |> Enum.take(1) |> then(&(&1 != [] && &1)) end, 30_000)
    :ok = Peer.stop_application(peer)
    bytes = File.read!(path)
    File.write!(path, flip(bytes, div(byte_size(bytes), 2)))
    Peer.call(peer, LogWatch, :collect, [])
    {:ok, _started} = Peer.start_application(peer)
    assert call(peer, "hello_world", "hello", "Ada") == {:ok, "Hello, Ada!"}

    eventually(fn ->
      assert Enum.any?(Peer.call(peer, LogWatch, :collected, []), fn {_level, text} -> text =~ path end)
    end)

    eventually(fn -> File.exists?(path) end, 30_000)
  end

  test "a node that can't keep compiled code says so and serves all the same" do
    peer = Peer.boot!()
    folder = Path.join(Peer.folder(peer), "compiled")
    File.mkdir_p!(Path.dirname(folder))
    File.write!(folder, "not a folder")
    Peer.call(peer, LogWatch, :collect, [])
    {:ok, _started} = Peer.start_application(peer)
    Peer.deploy!(peer, "rust", "hello_world")
    assert call(peer, "hello_world", "hello", "Ada") == {:ok, "Hello, Ada!"}
    assert [{:warning, _text}] = Enum.filter(Peer.call(peer, LogWatch, :collected, []), &(elem(&1, 1) =~ folder))
  end

  test "a node that is to keep no compiled code has no folder for it" do
    peer = Peer.start!(compile_cache: 0)
    Peer.deploy!(peer, "rust", "hello_world")
    restart(peer)
    assert call(peer, "hello_world", "hello", "Ada") == {:ok, "Hello, Ada!"}
    refute File.exists?(Path.join(Peer.folder(peer), "compiled"))
  end

  defp flip(bytes, at) do
    <<before::binary-size(at), byte, rest::binary>> = bytes
    <<before::binary, Bitwise.bxor(byte, 1), rest::binary>>
  end
end
