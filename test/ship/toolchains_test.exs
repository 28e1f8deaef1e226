defmodule Tidepool.Ship.ToolchainsTest do
  # From a machine without compilers to an answer, for each language and each kind of project: `tidepool setup` for real, by the
  # registries' own clients. It takes a network, for some 900 MB. One way is taken for each language; with TIDEPOOL_LONG, as by `bin/test --long`, all of them are.
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, Tool}

  @moduletag :ship

  # What clients need to fetch, unpack and start.
  @programs ~w(sh mkdir mv rm cat env dirname id tar xz python3)
  # What fetches the compiler of languages, in the ways that there are, and programs that it takes.
  @ways [
    {["zig", "c"], "by pip", []},
    {["go"], "by pip", []},
    {["assemblyscript"], "by npm", ~w(node npm)},
    {["assemblyscript"], "with Node.js by pip", []},
    {["javascript"], "by npm", ~w(node npm)},
    {["python"], "by pip", []},
    {["rust"], "by apt-get", ~w(apt-get apt-cache apt-config dpkg dpkg-deb dpkg-query)}
  ]

  # What projects are beside those of `new` alone. Components of Rust take more than some ways bring, and have a test of their own.
  @kinds %{"go" => ["--http", "--component"], "javascript" => ["--component"], "python" => ["--component"]}
  # Projects of `new` alone that are handlers of HTTP.
  @handlers ["javascript", "python"]

  @rustup System.find_executable("rustup")

  @taken (if System.get_env("TIDEPOOL_LONG", "") != "" do
            @ways
          else
            # The first for each language, where it is not rustup's, which has a test of its own.
            for {languages, _way, _programs} = way <- Enum.uniq_by(@ways, &elem(&1, 0)),
                languages != ["rust"] or @rustup == nil,
                do: way
          end)

  setup_all do
    Tool.path!()
    %{url: Peer.url(Peer.start!(server: true), "")}
  end

  for {languages, way, programs} <- @taken do
    languages_text = Enum.join(languages, " and ")

    test "a machine without compilers sets up #{languages_text} #{way}, and new projects are deployed and answer",
         %{url: url} do
      {folder, env} = bare!(unquote(programs), url)
      answer!(unquote(languages), folder, env)
    end
  end

  @tag skip: @rustup == nil && "there is no rustup: the way by apt-get is all there is"
  test "where rustup is, it brings Rust, and leaves the user's own as it was", %{url: url} do
    {folder, env} = bare!([], url)
    {"PATH", path} = List.keyfind(env, "PATH", 0)
    {before, 0} = System.cmd("rustup", ["toolchain", "list"])
    File.ln_s!(System.find_executable("rustup"), Path.join(path, "rustup"))
    answer!(["rust"], folder, env)
    rust_components_answer!(folder, env)
    assert {^before, 0} = System.cmd("rustup", ["toolchain", "list"])
  end

  # A home that nobody has used, and no program but those.
  defp bare!(programs, url) do
    folder = tmp_folder!()
    for part <- ~w(bin home), do: File.mkdir_p!(Path.join(folder, part))
    bin = Path.join(folder, "bin")

    for program <- @programs ++ programs, path = executable(program), do: File.ln_s!(path, Path.join(bin, program))

    env = [
      {"PATH", bin},
      {"HOME", Path.join(folder, "home")},
      {"XDG_DATA_HOME", nil},
      {"XDG_CACHE_HOME", nil},
      {"TIDEPOOL_TOOLCHAINS", nil},
      {"TIDEPOOL_URL", url},
      {"ZIG", nil},
      {"RUSTC", nil}
    ]

    {folder, env}
  end

  # What a version manager puts in a program's place would look for the program in PATH.
  defp executable("python3") do
    {path, 0} = System.cmd("python3", ["-c", "import sys; print(sys.executable)"])
    String.trim(path)
  end

  defp executable(program), do: System.find_executable(program)

  defp answer!([language | others] = languages, folder, env) do
    projects =
      for language <- languages,
          kind <- [nil | Map.get(@kinds, language, [])],
          do: {language, kind, project!(language, kind, folder, env)}

    for {language, _kind, project} <- projects do
      assert {refused, 4} = Tool.run(["build", "--json"], cd: project, env: env, stderr_to_stdout: true)
      assert refused =~ ~s("reason":"no_compiler")
      assert refused =~ "tidepool setup #{language}"
    end

    assert %{"fetched" => true, "folder" => place} = Tool.json!(["setup", language], env: env)
    assert Path.dirname(place) == Path.join(folder, "home/.local/share/tidepool/toolchains")
    for again <- [language | others], do: assert(%{"fetched" => false} = Tool.json!(["setup", again], env: env))

    for {language, kind, project} <- projects, do: answers!(language, kind, project, env)

    assert %{"removed" => true} = Tool.json!(["setup", language, "--remove"], env: env)
    assert Path.wildcard(Path.dirname(place) <> "/*") == []

    for {_language, _kind, project} <- projects do
      assert {_refused, 4} = Tool.run(["build"], cd: project, env: env, stderr_to_stdout: true)
    end
  end

  # Its crates come from their registry.
  defp rust_components_answer!(folder, env) do
    env = [{"CARGO_HOME", nil}, {"CARGO_TARGET_DIR", nil} | env]
    assert %{"fetched" => true, "components" => true} = Tool.json!(["setup", "rust"], env: env)

    for kind <- ["--http", "--component"] do
      project = project!("rust", kind, folder, env)
      # Procedural macros take a linker of the machine's.
      answers!("rust", kind, project, List.keyreplace(env, "PATH", 0, linking(env)))
    end
  end

  defp answers!(language, kind, project, env) do
    name = Path.basename(project)
    assert %{"name" => ^name, "version" => 1} = Tool.json!(["deploy"], cd: project, env: env)
    {call, reply} = call(language, kind)
    assert %{"reply" => ^reply} = Tool.json!(["call", name | call], env: env)
  end

  defp call(_language, "--component"), do: {["hello", "--data", ~s(["Ada"])], ~s("Hello, Ada!")}

  defp call(language, kind) when kind == "--http" or language in @handlers,
    do: {["POST", "/", "--data", "Ada"], "Hello, Ada!"}

  defp call(_language, nil), do: {["--data", "Ada"], "Hello, Ada!"}

  defp linking(env) do
    {"PATH", path} = List.keyfind(env, "PATH", 0)
    {"PATH", path <> ":" <> Path.dirname(System.find_executable("cc"))}
  end

  defp project!(language, kind, folder, env) do
    name = "set_up_#{language}_#{System.unique_integer([:positive])}"
    Tool.json!(["new" | List.wrap(kind)] ++ [language, name], cd: folder, env: env)
    Path.join(folder, name)
  end
end
