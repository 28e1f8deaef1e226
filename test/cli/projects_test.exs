defmodule Tidepool.Cli.ProjectsTest do
  # From an empty folder to an answer, with the compilers that bin/guests has, and on to the answers of what is saved.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Peer, Tool}

  @changes sample(4, 20)
  # However busy the machine is.
  @patience 120_000

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

  for language <- ~w(javascript python) do
    @tag skip: Tool.lacks_components()
    test "a new component in #{language} builds as it is, and answers when deployed", %{url: url} do
      name = "component_" <> unquote(language)
      assert %{"name" => ^name, "abi" => "typed"} = built!("--component", unquote(language), name, url)
      assert {200, _headers, ~s("Hello, Ada!")} = curl_url(url <> "/call/#{name}/hello", ["-d", ~s(["Ada"])])
    end
  end

  # What the deploy of a new project has answered.
  defp built!(kind, language, name, url) do
    {folder, env} = project!([kind, language], name, url)
    assert %{"built" => _path} = Tool.json!(["build"], cd: folder, env: env)
    Tool.json!(["deploy", "--no-build", "--project", folder], env: env)
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

  defp watch!(folder, env) do
    env = for {name, value} <- env, do: {to_charlist(name), (value && to_charlist(value)) || false}
    # Its end is that of the port, which closes what nobody writes to; so it is told to end, too.
    options = [:binary, :exit_status, line: 65_536, args: ["watch", "--json"], cd: folder, env: env]
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
