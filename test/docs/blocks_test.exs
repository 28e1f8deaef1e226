Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.BlocksTest do
  # The documents' code blocks, those of each against a node of its own.
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, Tool}
  alias Tidepool.Docs.Markdown

  # Commands of the README that a test can't run on this node, and what does.
  @elsewhere %{
    "bin/start" => "test/ship/start_test.exs",
    "iex -S mix phx.server" => "test/ship/start_test.exs",
    "iex --name a@127.0.0.1 -S mix phx.server" => "test/ship/cluster_test.exs",
    "PORT=4001 iex --name b@127.0.0.1 -S mix phx.server" => "test/ship/cluster_test.exs",
    "PORT=4002 iex --name c@127.0.0.1 -S mix phx.server" => "test/ship/cluster_test.exs",
    "MIX_ENV=prod mix release" => "test/ship/release_test.exs",
    "bin/test" => ".ci/run"
  }

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

  defp start!(_document), do: [Peer.start!(server: true)]

  # Not within the time of a test: it may have to be built.
  setup_all do
    Tool.path!()
    :ok
  end

  defp environment("docs/cli.md", [address]) do
    folder = Path.dirname(Tool.path!())
    [{"TIDEPOOL_URL", "http://" <> address}, {"PATH", folder <> ":" <> System.fetch_env!("PATH")}]
  end

  defp environment(_document, _addresses), do: []

  for document <- [
        "README.md",
        "docs/cluster.md",
        "docs/http.md",
        "docs/host-callbacks.md",
        "docs/guests.md",
        "docs/embedding.md",
        "docs/processes.md",
        "docs/files.md",
        "docs/actors.md",
        "docs/configuration.md",
        "examples/chat/README.md",
        "docs/cli.md"
      ] do
    test "what #{document} shows is what happens" do
      [peer | _others] = peers = start!(unquote(document))

      addresses =
        for peer <- peers do
          "http://" <> address = Peer.url(peer, "")
          address
        end

      Markdown.run_console!(unquote(document), addresses, environment(unquote(document), addresses))
      Markdown.run_elixir!(unquote(document), Peer.shell(peer))
    end
  end

  test "every command of the README is run by some test" do
    for {"sh", text, _line} <- Markdown.blocks("README.md"), line <- String.split(text, "\n", trim: true) do
      [command | _comment] = String.split(line, ~r/ +# /)
      assert file = @elsewhere[command], "nothing is known to run #{inspect(command)}"
      assert File.exists?(file)
    end
  end
end
