defmodule Tidepool.Cli.ProjectsTest do
  # From an empty folder to an answer, with the compilers that bin/guests has, and on to the answers of what is saved.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Peer, Tool}

  @changes sample(4, 20)
  # However busy the machine is.
  @patience 300_000

  setup_all do
    Tool.path!()
    peer = Peer.start!(server: true)
    %{url: Peer.url(peer, "")}
  end

  defp project!(what, name, url) do
    what = List.wrap(what)
    env = [{"TIDEPOOL_URL", url} | Tool.compilers(List.last(what))]
    folder = tmp_folder!()
    %{"made" => ^name} = Tool.json!(["new" | what] ++ [name], cd: folder, env: env)
    {Path.join(folder, name), env}
  end

  for language <- ~w(rust assemblyscript zig go c) do
    test "a new project in #{language} builds as it is, and answers when deployed", %{url: url} do
      name = "new_" <> unquote(language)
      {folder, env} = project!(unquote(language), name, url)
      assert %{"built" => _path, "size" => size} = Tool.json!(["build"], cd: folder, env: env)
      assert size > 0
      deploy = Tool.json!(["deploy", "--no-build", "--project", folder], env: env)
      assert %{"name" => ^name, "version" => 1, "operation" => "hello"} = deploy
      assert {200, _headers, "Hello, Ada!"} = curl_url(url <> "/call/#{name}", ["--data-binary", "Ada"])
      assert {422, _headers, _error} = curl_url(url <> "/call/#{name}/other")

      # A compiler that is there is not what a build lacks.
      File.write!(source(folder), "no source")
      assert {answer, 4} = Tool.run(["build", "--json"], cd: folder, env: env)
      assert answer =~ ~s("reason":"build_failed")
    end
  end

  # What ends the call in each, and which part of its error says where that is.
  @traps %{
    "rust" => {"_ => Err(", ~S{b"trap" => Ok(vec![payload[7]]), _ => Err(}, {:file, "src/lib.rs"}},
    "zig" =>
      {"return .{ .err", ~S{if (payload[payload.len + 7] == 0) unreachable; return .{ .err}, {:file, "main.zig"}},
    "c" =>
      {"return (reply){0", ~S{if (wapc_is(operation, "trap")) __builtin_trap(); return (reply){0}, {:file, "main.c"}},
    # These compilers make no line tables for WebAssembly: names are in the backtrace, and the line is in what is printed.
    "go" => {"return nil, errors", "return []byte{payload[7]}, errors", {"main.guestCall", "main.go:"}},
    "assemblyscript" =>
      {"return Reply.error(", "if (payload.slice(0, 1).byteLength) throw new Error();\n  return Reply.error(",
       {"index/handle", "index.ts:"}}
  }

  for {language, {before, trap, where}} <- @traps do
    test "a call that traps in a new project in #{language} says in which line of its source", %{url: url} do
      name = "trap_" <> unquote(language)
      {folder, env} = project!(unquote(language), name, url)
      source = source(folder)
      text = File.read!(source)
      assert text =~ unquote(before)
      File.write!(source, String.replace(text, unquote(before), unquote(trap)))
      assert %{"version" => 1} = Tool.json!(["deploy", "--project", folder], env: env)
      assert {_status, _headers, %{"error" => error}} = curl_url(url <> "/call/#{name}/trap", ["--data-binary", "Ada"])
      assert %{"reason" => "trap", "backtrace" => frames} = error

      case unquote(Macro.escape(where)) do
        {:file, file} ->
          assert %{"line" => line} = Enum.find(frames, &(&1["file"] == file))
          assert line > 0

        {function, line} ->
          assert function in Enum.map(frames, & &1["function"])
          assert Enum.any?(error["console"], &(&1 =~ line))
      end
    end
  end

  test "of debug data no more than lines is deployed, and the file stays what the compiler made", %{url: url} do
    {folder, env} = project!("zig", "lines", url)
    assert %{"built" => file, "size" => size} = Tool.json!(["build", "--project", folder], env: env)
    built = File.read!(file)
    assert built =~ ".debug_info" and byte_size(built) > size
    assert %{"version" => 1} = Tool.json!(["deploy", "--no-build", "--project", folder], env: env)
    {wasm, 0} = System.cmd("curl", ["-sS", url <> "/functions/lines/wasm"])
    assert byte_size(wasm) == size
    assert wasm =~ ".debug_line" and not (wasm =~ ".debug_info")
    assert File.read!(file) == built
  end

  # Rust's crates take a newer compiler than that of Debian 12: test/ship/toolchains_test.exs has them.
  for language <- ~w(go javascript python) do
    if language != "go", do: @tag(skip: Tool.lacks_components())

    test "a new handler of HTTP in #{language} builds as it is, and answers when deployed", %{url: url} do
      name = "http_" <> unquote(language)
      assert %{"name" => ^name, "abi" => "http"} = built!("--http", unquote(language), name, url)
      assert {200, _headers, "Hello, Ada!"} = curl_url(url <> "/call/#{name}", ["--data-binary", "Ada"])
      assert {404, _headers, "there is nothing here\n"} = curl_url(url <> "/call/#{name}/other")
    end
  end

  for language <- ~w(go javascript python) do
    if language != "go", do: @tag(skip: Tool.lacks_components())

    test "a new component in #{language} builds as it is, and answers when deployed", %{url: url} do
      name = "component_" <> unquote(language)
      assert %{"name" => ^name, "abi" => "typed"} = built!("--component", unquote(language), name, url)
      assert {200, _headers, "Hello, Ada!"} = curl_url(url <> "/call/#{name}/hello", ["-d", ~s(["Ada"])])
    end
  end

  # What the deploy of a new project has answered.
  defp built!(kind, language, name, url) do
    {folder, env} = project!([kind, language], name, url)
    assert %{"built" => _path} = Tool.json!(["build"], cd: folder, env: env)
    Tool.json!(["deploy", "--no-build", "--project", folder], env: env)
  end

  # A project whose module is to become a component of the world in its WIT, without a compiler.
  defp world!(more \\ "") do
    folder = tmp_folder!()
    File.mkdir_p!(Path.join(folder, "wit"))

    File.write!(Path.join(folder, "tidepool.toml"), """
    name = "world"

    [build]
    command = "printf '\\\\0asm\\\\1\\\\0\\\\0\\\\0' >guest.wasm"
    output = "guest.wasm"
    world = "nothing"
    watch = []
    #{more}
    """)

    folder
  end

  test "with component = false a module stays the module that it is" do
    world = "package none:none;\n\nworld nothing {}\n"
    [made, left] = for more <- ["", "component = false"], do: world!(more)

    for {folder, head} <- [{made, <<0, "asm", 13, 0, 1, 0>>}, {left, <<0, "asm", 1, 0, 0, 0>>}] do
      File.write!(Path.join(folder, "wit/nothing.wit"), world)
      assert %{"built" => _path} = Tool.json!(["build", "--project", folder])
      assert <<^head::binary-size(8), _rest::binary>> = File.read!(Path.join(folder, "guest.wasm"))
    end
  end

  test "Ctrl-C ends a build whose component is being made" do
    folder = world!()
    fifo = Path.join(folder, "wit/nothing.wit")
    {_output, 0} = System.cmd("mkfifo", [fifo])
    {port, pid} = watch!(folder, [], ["build", "--json"])
    # It opens for writing when the tool reads the world, and stays open, so that there is no end of it.
    held = ~S(exec 3>"$0"; kill -INT "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.05; done)
    {_output, 0} = System.cmd("timeout", ["120", "sh", "-c", held, fifo, "#{pid}"])
    assert_receive {^port, {:exit_status, 130}}, @patience
  end

  for language <- ~w(rust assemblyscript zig go c) do
    test "each of #{@changes} saved changes in #{language} is answered, with no build too many", %{url: url} do
      name = "watched_" <> unquote(language)
      {folder, env} = project!(unquote(language), name, url)

      source = source(folder)
      text = File.read!(source)
      watch = watch!(folder, env)
      assert %{"event" => "watching"} = event(watch)
      assert %{"event" => "built"} = event(watch)
      assert %{"event" => "deployed", "version" => 1} = event(watch)

      for change <- 1..@changes do
        save(source, String.replace(text, "Hello, ", "#{change}: "))
        assert %{"event" => "built"} = event(watch)
        assert %{"event" => "deployed", "version" => version} = event(watch)
        assert version == change + 1
        answered!(url, name, "#{change}: Ada!")
      end

      # What does not compile leaves the one before.
      save(source, "no source")
      assert %{"event" => "failed", "error" => %{"reason" => "build_failed"}} = event(watch)
      answered!(url, name, "#{@changes}: Ada!")
      stop!(watch)
    end
  end

  defp source(folder) do
    [source] = folder |> Path.join("**/*.{rs,ts,zig,go,c}") |> Path.wildcard() |> Enum.filter(&greets?/1)
    source
  end

  defp greets?(source), do: File.read!(source) =~ "Hello, "

  defp answered!(url, name, answer) do
    assert {200, _headers, ^answer} = curl_url(url <> "/call/#{name}", ["--data-binary", "Ada"])
  end

  # As editors do, so that nobody sees half of it.
  defp save(source, text) do
    File.write!(source <> ".new", text)
    File.rename!(source <> ".new", source)
  end

  defp watch!(folder, env, arguments \\ ["watch", "--json"]) do
    env = for {name, value} <- env, do: {to_charlist(name), (value && to_charlist(value)) || false}
    # Its end is that of the port, which closes what nobody writes to; so it is told to end, too.
    options = [:binary, :exit_status, line: 65_536, args: arguments, cd: folder, env: env]
    port = Port.open({:spawn_executable, Tool.path!()}, options)
    {:os_pid, pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-TERM", "#{pid}"], stderr_to_stdout: true) end)
    {port, pid}
  end

  defp event({port, _pid}) do
    assert_receive {^port, {:data, {:eol, line}}}, @patience
    {:ok, event} = Tidepool.Native.json_decode(line)
    event
  end

  defp stop!({port, pid}) do
    {_output, 0} = System.cmd("kill", ["-INT", "#{pid}"])
    assert_receive {^port, {:exit_status, 130}}, @patience
    # Nothing more was built.
    assert %{"error" => %{"reason" => "interrupted"}} = event({port, pid})
    refute_received {^port, {:data, _line}}
  end
end
