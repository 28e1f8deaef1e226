defmodule TidepoolWeb.Resources.Page do
  @moduledoc """
  The page at `/ui/`: files of `priv/ui`, as they are there, so that a change shows with the next reload.

  They load nothing from anywhere else, and run no script that is not among them: their headers have the browser see to that.
  """

  @behaviour TidepoolWeb.Resource

  alias TidepoolWeb.Reply

  @types %{
    ".html" => "text/html; charset=utf-8",
    ".css" => "text/css; charset=utf-8",
    ".js" => "text/javascript; charset=utf-8",
    ".mjs" => "text/javascript; charset=utf-8",
    ".svg" => "image/svg+xml",
    ".txt" => "text/plain; charset=utf-8"
  }

  # `data:` images are the marks that style sheets draw.
  @policy "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " <>
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

  @headers [
    {"content-security-policy", @policy},
    {"cross-origin-opener-policy", "same-origin"},
    {"cross-origin-resource-policy", "same-origin"},
    {"referrer-policy", "no-referrer"},
    {"cache-control", "no-cache"},
    {"vary", "accept-encoding"}
  ]

  @wanted [scope: :read, headers: ["if-none-match", "accept-encoding"]]

  @impl true
  def routes do
    [
      {"GET", "/", scope: :read},
      {"GET", "/ui", scope: :read},
      {"GET", "/ui/", @wanted},
      {"GET", "/ui/:file", @wanted},
      {"GET", "/ui/:folder/:file", @wanted}
    ]
  end

  @impl true
  # Relative, for whom a proxy has these under a path of its own.
  def serve("GET", [path], _request) when path in ["", "ui"], do: {302, :text, [{"location", "ui/"}], ""}
  def serve("GET", ["ui", ""], request), do: file(["index.html"], request)
  def serve("GET", ["ui" | path], request), do: file(path, request)

  # Segments come decoded, and may be anything.
  defp file(path, request) do
    with true <- Enum.all?(path, &(&1 =~ ~r/\A[A-Za-z0-9_-]+(\.[A-Za-z0-9]+)*\z/)),
         type when type != nil <- @types[path |> List.last() |> Path.extname()],
         {:ok, text} <- [:code.priv_dir(:tidepool), "ui" | path] |> Path.join() |> File.read() do
      answer(text, type, Map.new(request.headers))
    else
      _none -> Reply.refusal(404, :not_found, "the page has no such file", %{path: Enum.join(path, "/")})
    end
  end

  defp answer(text, type, wanted) do
    etag = ~s("#{:sha256 |> :crypto.hash(text) |> Base.url_encode64(padding: false)}")
    headers = [{"etag", etag} | @headers]

    cond do
      wanted["if-none-match"] == etag -> {304, type, headers, ""}
      gzip?(wanted["accept-encoding"]) -> {200, type, [{"content-encoding", "gzip"} | headers], :zlib.gzip(text)}
      true -> {200, type, headers, text}
    end
  end

  defp gzip?(nil), do: false
  defp gzip?(encodings), do: encodings =~ ~r/\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/
end
