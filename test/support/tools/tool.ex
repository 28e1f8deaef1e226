defmodule Tidepool.Tool do
  @moduledoc "The command line tool, as `bin/cli` builds it, and the compilers that `bin/guests` has fetched."

  @built {__MODULE__, :built}
  # What the user has set up comes before what is in PATH.
  @no_toolchains {"TIDEPOOL_TOOLCHAINS", "/no/such/folder"}

  @doc "Path of the tool, built from what is there now, unless `bin/test` has done that before all tests."
  def path! do
    # Cargo takes its time to find that nothing has changed.
    :global.trans({@built, self()}, fn ->
      unless System.get_env("BUILT_FOR_TESTS") || :persistent_term.get(@built, false) do
        {output, status} = System.cmd(Path.expand("bin/cli"), [], stderr_to_stdout: true)
        status == 0 || raise output
        :persistent_term.put(@built, true)
      end
    end)

    Path.expand("priv/cli/tidepool")
  end

  @doc "Runs it to its end: standard output and exit code."
  def run(arguments, options \\ []) do
    env = Keyword.get(options, :env, [])
    own = for name <- ~w(TIDEPOOL_URL TIDEPOOL_TOKEN TIDEPOOL_CA), do: {name, nil}
    env = Enum.uniq_by(env ++ own ++ [@no_toolchains], &elem(&1, 0))
    System.cmd(path!(), arguments, Keyword.put(options, :env, env))
  end

  @doc "Runs it with `--json` to its end, which is a good one: the answer."
  def json!(arguments, options \\ []) do
    {output, 0} = run(arguments ++ ["--json"], options)
    {:ok, answer} = Tidepool.Native.json_decode(output)
    answer
  end

  @doc "Why tests of components in JavaScript and Python can't run here, or `false`: `bin/guests` fetches their compilers for long runs alone."
  def lacks_components do
    System.get_env("TIDEPOOL_LONG", "") == "" and "the compilers of components are fetched with TIDEPOOL_LONG"
  end

  @doc "Variables with which a project in the language finds the compilers of `bin/guests`, and fetches nothing."
  def compilers(language) do
    [@no_toolchains | compilers(language, tools())]
  end

  defp compilers("rust", tools) do
    rust = Path.join(tools, "rust/usr")
    [linker | _] = Path.wildcard(rust <> "/bin/wasm-ld-*")
    [libraries | _] = Path.wildcard(rust <> "/lib/*-linux-gnu")

    [
      path(rust <> "/bin"),
      {"LD_LIBRARY_PATH", libraries},
      {"RUSTC", rust <> "/bin/rustc"},
      {"CARGO_HOME", Path.join(tools, "cargo")},
      {"CARGO_TARGET_DIR", nil},
      {"CARGO_NET_OFFLINE", "true"},
      # Debian 12's cargo has the registry's present protocol behind a flag.
      {"RUSTC_BOOTSTRAP", "1"},
      {"CARGO_UNSTABLE_SPARSE_REGISTRY", "true"},
      {"CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker}
    ]
  end

  defp compilers("assemblyscript", tools) do
    [compiler | _] = Path.wildcard(tools <> "/npm-*/node_modules/.bin/asc", match_dot: true)
    folder = Path.dirname(compiler)

    [
      path(folder),
      {"NODE_PATH", Path.dirname(folder)},
      {"NPM_CONFIG_OFFLINE", "true"},
      {"NPM_CONFIG_UPDATE_NOTIFIER", "false"}
    ]
  end

  defp compilers("go", tools) do
    [go | _] = Path.wildcard(tools <> "/go-[0-9]*/go/bin")

    [
      path(go),
      {"GOENV", "off"},
      {"GOTOOLCHAIN", "local"},
      {"GOTELEMETRY", "off"},
      {"GOPROXY", "off"},
      {"GOCACHE", Path.join(tools, "go-cache")},
      {"GOPATH", Path.join(tools, "go-path")}
    ]
  end

  defp compilers(language, tools) when language in ["zig", "c"] do
    [zig | _] = Path.wildcard(tools <> "/zig-[0-9]*/ziglang")
    cache = Path.join(tools, "zig-cache")
    # It is a package of Python, too.
    [
      path(zig),
      {"ZIG", nil},
      {"PYTHONPATH", Path.dirname(zig)},
      {"ZIG_GLOBAL_CACHE_DIR", cache},
      {"ZIG_LOCAL_CACHE_DIR", cache}
    ]
  end

  defp compilers("javascript", tools) do
    [compiler | _] = Path.wildcard(tools <> "/npm-*/node_modules/.bin/componentize-js", match_dot: true)
    [path(Path.dirname(compiler))]
  end

  defp compilers("python", tools) do
    [compiler | _] = Path.wildcard(tools <> "/componentize-py-*/bin")
    [path(compiler), {"PYTHONPATH", Path.dirname(compiler)}]
  end

  defp path(folder), do: {"PATH", folder <> ":" <> System.fetch_env!("PATH")}

  defp tools do
    script = "import sys; sys.path.insert(0, 'guests'); from builder.tools import TOOLS; print(TOOLS)"
    {folder, 0} = System.cmd("python3", ["-B", "-c", script])
    String.trim(folder)
  end
end
