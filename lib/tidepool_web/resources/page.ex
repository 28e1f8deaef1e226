defmodule TidepoolWeb.Resources.Page do
  @moduledoc """
  The page at `/ui/`: files of `priv/ui`.
  """

  @behaviour TidepoolWeb.Resource

  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resource.Files

  @impl true
  def routes do
    [
      {"GET", "/", scope: :read, public: true, query: :ignored},
      {"GET", "/ui", scope: :read, public: true, query: :ignored},
      {"GET", "/ui/", Files.route()},
      {"GET", "/ui/:file", Files.route()},
      {"GET", "/ui/:folder/:file", Files.route()}
    ]
  end

  @impl true
  # Relative, for whom a proxy has these under a path of its own.
  def serve("GET", [path], _request) when path in ["", "ui"], do: {302, :text, [{"location", "ui/"}], ""}
  def serve("GET", ["ui", ""], request), do: file(["index.html"], request)
  def serve("GET", ["ui" | path], request), do: file(path, request)

  defp file(path, request) do
    case Files.fetch("ui", path, request) do
      {:ok, answer} -> answer
      :error -> Reply.refusal(:not_found, "the page has no such file", %{path: Enum.join(path, "/")})
    end
  end
end
