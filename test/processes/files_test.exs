defmodule Tidepool.Processes.FilesTest do
  # Programs with folders, as Rust's standard library sees them: in memory, answered by a module, and of this machine.
  # It changes the node's setting `files`.
  use Tidepool.Case, async: false

  import ExUnit.CaptureLog
  import Tidepool.ProgramClient

  alias Tidepool.{Config, Error}
  alias Tidepool.Files.Folder

  @moduletag :lunatic

  # Answers with what it is asked, and fails as its names say.
  defmodule Answers do
    @behaviour Tidepool.Files

    @impl true
    def stat([], _context), do: {:ok, %{type: :directory}}
    def stat(["echo" | _] = path, context), do: {:ok, %{type: :file, size: byte_size(text(path, context)), modified: 7}}
    def stat(["slow"], %{argument: tester}), do: hang(tester)
    def stat(["raise"], _context), do: raise("as told")
    def stat(["exit"], _context), do: exit(:as_told)
    def stat(["wrong"], _context), do: {:ok, %{type: :pipe}}
    def stat(["denied"], _context), do: {:error, :eacces}
    def stat(["odd"], _context), do: {:error, :as_told}
    def stat(["long"], _context), do: {:ok, %{type: :file, size: 1}}
    def stat(_path, _context), do: {:error, :enoent}

    @impl true
    def list([], _context), do: {:ok, [{"echo", :file}, {"nothing", :directory}]}
    def list(_path, _context), do: {:error, :enotdir}

    @impl true
    def read(["long"], _offset, length, _context), do: {:ok, String.duplicate("x", length + 1)}
    def read(path, offset, length, context), do: {:ok, Tidepool.Files.slice(text(path, context), offset, length)}

    defp text(path, context), do: "#{Enum.join(path, " ")} for #{context.function} in #{context.folder}"

    defp hang(tester) do
      send(tester, {:asked, self()})
      Process.sleep(:infinity)
    end
  end

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
    {:ok, config: config}
  end

  defp settings!(config, settings) do
    config = Map.merge(config, Map.new(settings))
    Config.put(%{config | files: Tidepool.Files.Setting.read(config.files)})
  end

  # What the guest says of one thing that it was told to do.
  defp said!(name, args, options \\ []) do
    program = start!(name, [args: [name | args]] ++ options)
    [_line, said] = line!(~r/^((?:ok|failed) .*)$/)
    assert ended!(program) == :normal
    String.trim(said)
  end

  # One program by both WASIs: preview 1, and 0.2 as a component.
  @guests [{"lunatic", "files"}, {"rust", "files_command"}]

  defp program!({language, module} \\ {"lunatic", "files"}, files), do: deploy!(language, module, files: files)

  for guest <- @guests do
    @tag guest: guest
    test "the standard library's functions work in memory and in a folder of this machine alike, by #{elem(guest, 1)}",
         %{config: config, guest: guest} do
      folder = tmp_folder!()
      settings!(config, files: [work: {Folder, path: folder, write: true}])
      host = program!(guest, ["/data=host:work:rw"])
      File.write!(Path.join(folder, "in"), "put in")
      memory = program!(guest, ["/data=memory"])

      for {name, options} <- [{memory, [files: %{"/data/in" => "put in"}]}, {host, []}] do
        assert said!(name, ["read", "/data/in"], options) == "ok put in"
        assert said!(name, ["size", "/data/in"], options) == "ok 6"
        assert said!(name, ["read", "/data/none"], options) == "failed 44"
        assert said!(name, ["read", "/data/in/x"], options) == "failed 54"
        assert said!(name, ["edit", "/data/edited"], options) == "ok low Ti"
        assert said!(name, ["append", "/data/in", "more"], options) == "ok 10"
        assert said!(name, ["make", "/data/a/b/c"], options) == "ok"
        assert said!(name, ["large", "/data/large", "700000"], options) == "ok true"
        assert said!(name, ["copy", "/data/in", "/data/copy"], options) =~ ~r/^ok \d+$/
        assert said!(name, ["many", "/data", "300"], options) =~ ~r/^ok 30\d$/
        # Relative names are those of the root.
        assert said!(name, ["size", "data/in"], options) =~ ~r/^ok /
        assert said!(name, ["size", "/data/a/../in"], options) =~ ~r/^ok /
        assert said!(name, ["size", "/data/../data/in"], options) == "failed 63"
        assert said!(name, ["read", "/etc/passwd"], options) =~ ~r/^failed /
        assert said!(name, ["read", "/data/../../etc/passwd"], options) =~ ~r/^failed /
      end

      assert said!(host, ["rename", "/data/in", "/data/a/renamed"]) == "ok"
      assert File.read!(Path.join(folder, "a/renamed")) == "put inmore"
      assert said!(host, ["list", "/data/a"]) == "ok b/ renamed"
      assert said!(host, ["remove", "/data/a"]) =~ ~r/^failed 31/
      assert said!(host, ["remove", "/data/a/renamed"]) == "ok"
      assert said!(host, ["remove-all", "/data/a"]) == "ok"
      refute File.exists?(Path.join(folder, "a"))
    end
  end

  test "functions of streams that wait for nothing read and write files in memory and of this machine", %{
    config: config
  } do
    folder = tmp_folder!()
    settings!(config, files: [work: {Folder, path: folder, write: true}])
    large = :binary.copy("low tide ", 40_000)
    for name <- ["in", "empty"], do: File.write!(Path.join(folder, name), if(name == "in", do: large, else: ""))
    memory = program!({"rust", "streams_command"}, ["/data=memory"])
    host = program!({"rust", "streams_command"}, ["/data=host:work:rw"])

    for {name, options} <- [{memory, [files: %{"/data/in" => large, "/data/empty" => ""}]}, {host, []}] do
      for how <- ["copy", "splice"] do
        assert said!(name, [how, "in", how], options) == "ok 360000"
        assert said!(name, [how, "empty", "empty-too"], options) == "ok 0"
      end

      assert said!(name, ["tail", "in", "359991"], options) == "ok low tide"
      assert said!(name, ["zeroes", "zeroes", "5000"], options) == "ok 5000"
    end

    for how <- ["copy", "splice"], do: assert(File.read!(Path.join(folder, how)) == large)
    assert File.read!(Path.join(folder, "zeroes")) == :binary.copy(<<0>>, 5_000)
    assert File.read!(Path.join(folder, "empty-too")) == ""

    # What fails there is the stream's error.
    settings!(config, files: %{"answers" => {Answers, self()}})
    answers = program!({"rust", "streams_command"}, ["/data=host:answers"])
    assert said!(answers, ["tail", "echo", "5"]) == "ok for #{answers} in answers"
    assert said!(answers, ["tail", "long", "1"]) =~ ~s(name: "io")
  end

  test "all processes of a program have its folders, and another start has none of what was in them" do
    name = program!(["/data=memory"])
    files = [files: %{"/data/a/b" => "here", "/data/c" => ""}]
    assert said!(name, ["child", "list", "/data"], files) == "ok a/ c"
    assert said!(name, ["list", "/data"]) == "ok"
    assert said!(name, ["child", "read", "/data/a/b"], files) == "ok here"
  end

  test "a child gets the folders of its configuration, within those of its maker" do
    name = program!(["/data=memory"])
    files = [files: %{"/data/a/b" => "here", "/data/c" => "not there"}]
    assert said!(name, ["child-within", "/data/a", "read", "/data/a/b"], files) == "ok here"
    assert said!(name, ["child-within", "/data/a", "read", "/data/c"], files) =~ ~r/^failed /

    for folder <- ["/etc", "/", "/data/none", "/data/a/b", "/data/.."] do
      program = start!(name, [args: [name, "child-within", folder, "list", folder]] ++ files)
      assert {%Error{reason: {:trap, _kind}, message: message}, []} = ended!(program)
      assert message =~ "there is no folder `#{folder}`"
    end
  end

  for guest <- @guests do
    @tag guest: guest
    test "a module answers for a folder, and is told who asks, by #{elem(guest, 1)}", %{config: config, guest: guest} do
      settings!(config, files: %{"answers" => {Answers, self()}})
      name = program!(guest, ["/etc/app=host:answers"])
      assert said!(name, ["read", "/etc/app/echo"]) == "ok echo for #{name} in answers"
      assert said!(name, ["read", "/etc/app/echo/a/../b"]) == "ok echo b for #{name} in answers"
      assert said!(name, ["list", "/etc/app"]) == "ok echo nothing/"
      assert said!(name, ["read", "/etc/app/denied"]) == "failed 2"
      assert said!(name, ["write", "/etc/app/echo", "x"]) == "failed 69"
      writable = program!(guest, ["/etc/app=host:answers:rw"])
      assert said!(writable, ["append", "/etc/app/echo", "x"]) == "failed 69"
    end
  end

  for guest <- @guests do
    @tag guest: guest
    test "an answer that fails, is none, or takes too long is the guest's error, and no other program's, by #{elem(guest, 1)}",
         %{config: config, guest: guest} do
      settings!(config, files: %{"answers" => {Answers, self()}}, file_timeout: 300)
      name = program!(guest, ["/etc/app=host:answers"])

      log =
        capture_log(fn ->
          for file <- ["raise", "exit", "wrong", "odd", "long"],
              do: assert(said!(name, ["read", "/etc/app/#{file}"]) == "failed 29")
        end)

      assert log =~ "as told"
      assert said!(name, ["read", "/etc/app/slow"]) == "failed 29"
      assert_received {:asked, handler}
      refute Process.alive?(handler)

      # It ends with the process that waits for it.
      settings!(config, files: %{"answers" => {Answers, self()}}, file_timeout: 60_000)
      program = start!(name, args: [name, "read", "/etc/app/slow"])
      assert_receive {:asked, handler}
      monitor = Process.monitor(handler)
      assert said!(name, ["size", "/etc/app/echo"]) =~ ~r/^ok /
      Process.exit(program, :kill)
      assert ended!(program) == :killed
      assert_receive {:DOWN, ^monitor, :process, ^handler, :killed}
    end
  end

  for guest <- @guests do
    @tag guest: guest
    test "a folder of this machine shows neither links nor what is no file, and is left by nothing, by #{elem(guest, 1)}",
         %{config: config, guest: guest} do
      folder = tmp_folder!()
      inside = Path.join(folder, "inside")
      File.mkdir_p!(Path.join(inside, "sub"))
      File.write!(Path.join(folder, "secret"), "secret")
      File.write!(Path.join(inside, "file"), "read")
      File.ln_s!("../secret", Path.join(inside, "link"))
      File.ln_s!("file", Path.join(inside, "near"))
      File.ln_s!(folder, Path.join(inside, "sub/out"))
      {_output, 0} = System.cmd("mkfifo", [Path.join(inside, "pipe")])
      settings!(config, files: [ro: inside, rw: {Folder, path: inside, write: true}])

      for folder <- ["ro", "rw:rw"], name = program!(guest, ["/in=host:#{folder}"]) do
        assert said!(name, ["list", "/in"]) == "ok file sub/"
        assert said!(name, ["list", "/in/sub"]) == "ok"
        for link <- ["link", "near", "sub/out/secret"], do: assert(said!(name, ["read", "/in/#{link}"]) == "failed 32")
        assert said!(name, ["read", "/in/pipe"]) == "failed 2"
        assert said!(name, ["read", "/in/sub/../../secret"]) =~ ~r/^failed /
      end

      writable = program!(guest, ["/in=host:rw:rw"])
      assert said!(writable, ["write", "/in/link", "x"]) == "failed 32"
      assert said!(writable, ["rename", "/in/near", "/in/x"]) == "failed 32"
      assert said!(writable, ["write", "/in/sub/out/new", "x"]) == "failed 32"
      # The setting gives it for reading, whatever the deploy says.
      for grant <- ["ro:rw", "rw", "ro"], name = program!(guest, ["/in=host:#{grant}"]) do
        assert said!(name, ["append", "/in/file", "x"]) == "failed 69"
        assert said!(name, ["remove", "/in/file"]) == "failed 69"
        assert said!(name, ["make", "/in/new"]) == "failed 69"
      end

      assert File.read!(Path.join(folder, "secret")) == "secret"
      assert Enum.sort(File.ls!(inside)) == ["file", "link", "near", "pipe", "sub"]
    end
  end

  for guest <- @guests do
    @tag guest: guest
    test "a program has as many files and bytes as the limits say, by #{elem(guest, 1)}", %{guest: guest} do
      name = program!(guest, ["/data=memory"])
      # The runtime has the setting, which is not changed here: 10,000 files, 64 MiB.
      assert said!(name, ["many", "/data", "10000"]) == "ok 10000"
      assert said!(name, ["many", "/data", "10001"]) == "failed 51"
      assert said!(name, ["size", "/data/file"], files: %{"/data/file" => zeros(66_000_000)}) == "ok 66000000"
      tight = deploy!(elem(guest, 0), elem(guest, 1), files: ["/data=memory"], limits: [total_memory: 4_000_000])
      assert said!(tight, ["size", "/data/file"], files: %{"/data/file" => zeros(3_000_000)}) == "ok 3000000"

      for {name, bytes} <- [{name, 68_000_000}, {tight, 5_000_000}] do
        started = Tidepool.Process.start(name, [name], files: %{"/data/file" => zeros(bytes)})
        assert {:error, %Error{reason: :overloaded, message: message}} = started
        assert message =~ "no room"
      end

      for files <- [["/data/../file"], ["/data/a", "/data/a/b"], ["/other/file"], ["/data"]] do
        started = Tidepool.Process.start(name, [name], files: Map.new(files, &{&1, ""}))
        assert {:error, %Error{reason: :invalid_option, message: message}} = started
        assert message =~ List.last(files)
      end
    end
  end

  defp zeros(bytes), do: :binary.copy(<<0>>, bytes)

  test "neither a deploy nor a start names what the node does not have", %{config: config} do
    wasm = File.read!("guests/build/lunatic/files.wasm")
    deploy = fn files -> Tidepool.deploy(wasm, name: unique_name("files"), files: files) end
    assert {:error, %Error{reason: :invalid_option, message: message}} = deploy.(["/etc/app=host:answers"])
    assert message =~ "no folder `answers`"

    for files <- [
          ["data=memory"],
          ["/data=disk"],
          ["/a=memory", "/a=memory"],
          ["/a=host:Elixir.File:x"],
          "/data=memory"
        ],
        do: assert({:error, %Error{reason: :invalid_option}} = deploy.(files))

    settings!(config, files: [answers: Answers])
    {:ok, %{name: name, files: ["/etc/app=host:answers"]}} = deploy.(["/etc/app=host:answers"])
    on_exit(fn -> Tidepool.remove(name) end)
    settings!(config, files: [])
    assert {:error, %Error{reason: :invalid_option}} = Tidepool.Process.start(name, [name])

    memory = program!(["/data=memory"])

    for files <- [%{"/other" => ""}, %{"/data" => ""}, %{"/data/x" => 1}, [{"/data/x", ""}]],
        do: assert({:error, %Error{reason: :invalid_option}} = Tidepool.Process.start(memory, [memory], files: files))

    # One lies where the other needs a folder.
    assert {:error, %Error{}} = Tidepool.Process.start(memory, [memory], files: %{"/data/x" => "", "/data/x/y" => ""})
  end

  test "the setting is read once, and not for each request", %{config: config} do
    settings!(config, files: "certs=/etc/certs,work=/srv/work:rw")
    read = %{"certs" => {Folder, [path: "/etc/certs"]}, "work" => {Folder, [path: "/srv/work", write: true]}}
    assert Config.get(:files) == read
  end

  test "the setting names modules with the behaviour, and folders by whole paths" do
    check = fn files -> Config.Schema.check(files: files) end

    for files <- [
          [],
          "",
          [a: Answers],
          %{"a" => {Answers, 1}},
          [a: "/srv"],
          "a=/srv,b=/var:rw",
          [a: {Folder, path: "/srv"}]
        ],
        do: assert({:ok, %{files: _files}} = check.(files))

    for files <- [
          [a: Enum],
          [a: NoSuch.Module],
          [a: "srv"],
          "a",
          "a=srv",
          [{"a b", "/srv"}],
          [a: {Folder, []}],
          :a,
          [1]
        ],
        do: assert({:error, %Error{reason: :invalid_option}} = check.(files))
  end
end
