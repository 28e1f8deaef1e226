defmodule TidepoolWeb.Resources.Book do
  @moduledoc """
  The documentation as a book at `/docs/`, if this checkout or release has one: `bin/book` builds it into `priv/book`.
  """

  @behaviour TidepoolWeb.Resource

  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resource.Files

  @impl true
  def routes do
    [
      {"GET", "/docs", scope: :read, public: true, query: :ignored},
      {"GET", "/docs/", Files.route()},
      {"GET", "/docs/:file", Files.route()},
      {"GET", "/docs/:folder/:file", Files.route()}
    ]
  end

  @impl true
  # Relative, for whom a proxy has this under a path of its own.
  def serve("GET", ["docs"], _request), do: {302, :text, [{"location", "docs/"}], ""}
  def serve("GET", ["docs", ""], request), do: file(["index.html"], request)
  def serve("GET", ["docs" | path], request), do: file(path, request)

  defp file(path, request) do
    case Files.fetch("book", path, request) do
      {:ok, answer} -> answer
      :error -> Reply.refusal(:not_found, missing(), %{path: Enum.join(path, "/")})
    end
  end

  defp missing do
    if File.exists?(Path.join(:code.priv_dir(:tidepool), "book/index.html")),
      do: "the book has no such page",
      else: "this node has no book: bin/book builds it"
  end
end
