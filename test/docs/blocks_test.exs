Code.require_file("markdown.exs", __DIR__)
Code.require_file("../../bin/support/book/pages.exs", __DIR__)

defmodule Tidepool.Docs.BlocksTest do
  # The documents' code blocks, those of each against a node of its own, in a clone: what is not committed is there when the page says
  # how it is made.
  use Tidepool.Case, async: true

  @moduletag timeout: 600_000

  alias Tidepool.{Book, Peer, TestRegistry, Tool}
  alias Tidepool.Docs.Markdown

  # Commands that are not for this node, by how they begin, variables before them left out, and what runs them.
  @elsewhere %{
    "bin/start" => "test/ship/start_test.exs",
    "curl -sS --data-binary" => "test/docs/blocks_test.exs",
    "curl -sS -F wasm=@guests/ledger/rust/ledger.wasm -F actor=true" => "test/docs/blocks_test.exs",
    "curl -sS localhost:4000/members" => "test/cluster/replicated_test.exs",
    "iex -S mix phx.server" => "test/ship/start_test.exs",
    "iex -S mix tidepool.server" => "test/ship/start_test.exs",
    "iex --name" => "test/ship/cluster_test.exs",
    "mix release" => "test/ship/release_test.exs",
    "bin/test" => ".ci/run",
    "bin/dev" => "test/docs/dev_test.exs",
    "bin/cli" => "test/support/tools/tool.ex",
    "bin/book" => "test/support/tools/book.ex",
    "bin/archive" => "test/ship/install_test.exs",
    "bin/release" => "test/ship/published_test.exs",
    "ops/sums" => "test/ship/published_test.exs",
    "ops/image" => "test/ship/published_test.exs",
    "curl -fsSL https://example.org/tidepool/install.sh | sh" => "test/ship/install_test.exs",
    "bin/tidepool eval" => "test/ship/release_test.exs",
    "bin/tidepool rpc" => "test/ship/release_test.exs",
    "bin/tidepool run" => "test/ship/release_test.exs",
    "/opt/tidepool/bin/tidepool start" => "test/ship/release_test.exs",
    "ops/deb" => "test/ship/package_test.exs",
    ". bin/support/tls.sh" => "test/tidepool/cluster/certificates_test.exs",
    "mix compile" => "bin/test",
    "mix test" => "bin/test",
    "cd native && cargo test" => "bin/test",
    "mix tidepool.actors" => "test/tidepool/actor/archive_test.exs",
    "mix tidepool.adopt" => "test/tidepool/data_test.exs",
    "mix tidepool.call" => "test/tidepool/mix/call_task_test.exs",
    "echo 'low tide' | mix tidepool.call" => "test/tidepool/mix/call_task_test.exs",
    "mix tidepool.certs" => "test/tidepool/cluster/certificates_test.exs",
    "mix tidepool.check" => "test/tidepool/data/check_test.exs",
    "mix tidepool.cluster" => "test/cluster/cluster_test.exs",
    "mix tidepool.replay" => "test/tidepool/mix/replay_task_test.exs",
    "mix tidepool.run" => "test/tidepool/mix/run_task_test.exs",
    "openssl genpkey" => "test/tidepool/function/signature_test.exs",
    "openssl pkeyutl" => "test/tidepool/function/signature_test.exs",
    "openssl req" => "test/cli/access_test.exs",
    "tidepool replay fetched/" => "test/cli/recordings_test.exs",
    "tidepool list --ca" => "test/cli/access_test.exs",
    "tidepool setup rust" => "test/ship/toolchains_test.exs",
    "curl -F signature" => "test/tidepool/function/signature_test.exs",
    "curl -F wasm=@hello.wasm" => "test/docs/blocks_test.exs",
    "curl -d Ada" => "test/docs/blocks_test.exs",
    "curl -F wasm=@app.wasm -F files" => "test/processes/files_test.exs",
    "curl -F wasm=@chat.wasm -F net" => "test/processes/sockets_test.exs",
    "cargo build" => "bin/guests",
    "rustc -O" => "bin/guests",
    "python3 bin/support/dev/reload_time.py" => "bin/support/dev/reload_time.py"
  }

  # What installs and runs programs of others, and is theirs to hold.
  @theirs ~w(adduser apt cargo chown cp docker export kubectl perf rustup systemctl)

  @token "s3cret-token"

  # Those that show several nodes.
  @clusters ["README.md", "docs/cluster.md"]

  defp start!(document) when document in @clusters do
    cookie = Peer.cookie()
    names = for stem <- ["a", "b", "c"], do: Peer.name(stem)
    peers = for name <- names, do: Peer.start!([server: true, cluster: true, seeds: names], name: name, cookie: cookie)

    for peer <- peers do
      eventually(fn -> length(Peer.call(peer, Tidepool.Cluster, :status, []).nodes) == length(peers) end, 20_000)
    end

    peers
  end

  defp start!("docs/recipes.md"), do: [Peer.start!(server: true, token: @token)]

  defp start!("docs/namespaces.md") do
    namespaces = "shop/instances=200,shop/calls_per_second=500,blog/modules=1"
    [Peer.start!(server: true, token: @token, calls: :token, reads: :token, namespaces: namespaces)]
  end

  defp start!("docs/http-handlers.md"), do: [Peer.start!(server: true, sites_port: 0, builtins: [:function])]
  defp start!(_document), do: [Peer.start!(server: true)]

  # Not within the time of a test: they may have to be built.
  setup_all do
    Tool.path!()
    Book.build!()
    folder = Path.join(System.tmp_dir!(), "tidepool-clones-#{System.pid()}")
    on_exit(fn -> File.rm_rf!(folder) end)
    [bare, started] = for name <- ["bare", "started"], do: clone!(Path.join(folder, name))
    # What `bin/start` compiles, with the dates by which Mix sees that nothing has changed since.
    for part <- ["_build/test", "priv/native"] do
      File.mkdir_p!(Path.dirname(Path.join(started, part)))
      {_nothing, 0} = System.cmd("cp", ["-a", Path.expand(part), Path.join(started, part)])
    end

    %{bare: bare, started: started}
  end

  # The files of the checkout that are, or would be, committed.
  defp clone!(folder) do
    File.mkdir_p!(folder)
    copy = "git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "
    {_nothing, 0} = System.cmd("bash", ["-o", "pipefail", "-c", copy <> folder])
    folder
  end

  # Where `mix` runs, all of Tidepool would be compiled otherwise.
  defp clone("docs/recipes.md", clones), do: clones.started

  # In the other one the guests are built that the page has had built, and no others. Its tests run one after the other.
  defp clone(document, %{bare: folder}) do
    build = Path.join(folder, "guests/build")
    File.rm_rf!(build)
    File.mkdir_p!(build)

    for language <- document |> File.read!() |> Markdown.builds() |> languages(),
        do: File.ln_s!(Path.expand(Path.join("guests/build", language)), Path.join(build, language))

    folder
  end

  defp languages(:all), do: File.ls!("guests/build")
  defp languages(named), do: named

  # Where its commands run, and with which variables.
  defp surroundings("docs/namespaces.md", _addresses), do: [env: [{"TIDEPOOL_TOKEN", @token}]]

  defp surroundings("docs/recipes.md", [address]),
    do: [env: [{"TIDEPOOL_TOKEN", @token}, {"MIX_ENV", "test"} | tool(address)]]

  defp surroundings(page, [address]) when page in ["docs/cli.md", "docs/http-handlers.md"], do: [env: tool(address)]
  defp surroundings("docs/registries.md", [address]), do: [env: [{"REGISTRY", TestRegistry.start!()} | tool(address)]]
  defp surroundings("docs/start.md", addresses), do: surroundings("docs/languages/rust.md", addresses)

  # A folder with the files that the page shows, and compilers that fetch nothing.
  defp surroundings("docs/languages/" <> page = document, [address]) do
    folder = tmp_folder!()

    for {_language, text, _line} <- Markdown.blocks(document),
        [_all, name] <- [Regex.run(~r{\A(?://|#) (\S+)\n}, text)],
        do: File.write!(Path.join(folder, name), text)

    # Crates of these versions have been fetched.
    if page == "rust.md", do: File.cp!("guests/hello_world/rust_hello/Cargo.lock", Path.join(folder, "Cargo.lock"))
    compilers = page |> Path.rootname() |> Tool.compilers()

    with {"NODE_PATH", modules} <- List.keyfind(compilers, "NODE_PATH", 0),
         do: File.ln_s!(modules, Path.join(folder, "node_modules"))

    [cd: folder, env: tool(address, compilers)]
  end

  defp surroundings(_document, _addresses), do: []

  defp tool(address, env \\ []) do
    folders = Map.get(Map.new(env), "PATH", System.fetch_env!("PATH"))
    path = {"PATH", Path.dirname(Tool.path!()) <> ":" <> folders}
    [path, {"TIDEPOOL_URL", "http://" <> address} | List.keydelete(env, "PATH", 0)]
  end

  for document <- [
        "README.md",
        "docs/cluster.md",
        "docs/http.md",
        "docs/host-callbacks.md",
        "docs/guests.md",
        "docs/plain-modules.md",
        "docs/components.md",
        "docs/extism.md",
        "docs/http-handlers.md",
        "docs/commands.md",
        "docs/keyvalue.md",
        "docs/tools.md",
        "docs/coming-from/wasmex.md",
        "docs/coming-from/spin.md",
        "docs/coming-from/extism.md",
        "docs/embedding.md",
        "docs/phoenix.md",
        "docs/processes.md",
        "docs/files.md",
        "docs/registries.md",
        "docs/actors.md",
        "docs/namespaces.md",
        "docs/configuration.md",
        "docs/operations.md",
        "docs/tracing.md",
        "examples/chat/README.md",
        "docs/cli.md",
        "docs/start.md",
        "docs/recipes.md",
        "docs/replay.md",
        "docs/book.md",
        "docs/languages/rust.md",
        "docs/languages/assemblyscript.md",
        "docs/languages/zig.md",
        "docs/languages/go.md",
        "docs/languages/c.md",
        "docs/languages/javascript.md",
        "docs/languages/python.md"
      ] do
    # Each of a language builds guests in it.
    if document =~ "languages/", do: @tag(:slow)
    if document =~ ~r"languages/(javascript|python)", do: @tag(skip: Tool.lacks_components())

    test "what #{document} shows is what happens", clones do
      [peer | _others] = peers = start!(unquote(document))

      addresses =
        for peer <- peers do
          "http://" <> address = Peer.url(peer, "")
          address
        end

      folder = clone(unquote(document), clones)
      surroundings = unquote(document) |> surroundings(addresses) |> Keyword.put_new(:cd, folder)
      Markdown.run_console!(unquote(document), addresses, surroundings)
      Peer.call(peer, File, :cd!, [folder])
      Markdown.run_elixir!(unquote(document), Peer.shell(peer))
    end
  end

  test "every command that the documents show without what it writes is run elsewhere" do
    for document <- Tidepool.Book.Pages.documents(),
        {"sh", text, line} <- Markdown.blocks(document),
        command <- text |> String.replace(~r/\\\n\s*/, "") |> String.split("\n", trim: true),
        command = Regex.replace(~r/^([A-Z][A-Z_]*=\S+ +)+/, command, ""),
        hd(String.split(command)) not in @theirs do
      file = Enum.find_value(@elsewhere, fn {beginning, file} -> String.starts_with?(command, beginning) && file end)
      assert file, "#{document}:#{line}: nothing is known to run #{inspect(command)}"
      assert File.exists?(file)
    end
  end
end
