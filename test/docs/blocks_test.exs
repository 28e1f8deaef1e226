Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.BlocksTest do
  # The documents' code blocks, those of each against a node of its own.
  use Tidepool.Case, async: true

  alias Tidepool.Peer
  alias Tidepool.Docs.Markdown

  # Commands of the README that a test can't run on this node, and what does.
  @elsewhere %{
    "bin/start" => "test/ship/start_test.exs",
    "iex -S mix phx.server" => "test/ship/start_test.exs",
    "MIX_ENV=prod mix release" => "test/ship/release_test.exs",
    "bin/test" => ".ci/run"
  }

  for document <- ["README.md", "docs/http.md", "docs/host-callbacks.md", "docs/embedding.md", "docs/configuration.md"] do
    test "what #{document} shows is what happens" do
      peer = Peer.start!(server: true)
      "http://" <> address = Peer.url(peer, "")
      Markdown.run_console!(unquote(document), address)
      Markdown.run_elixir!(unquote(document), &Peer.call(peer, Code, :eval_string, [&1, &2, &3]))
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
