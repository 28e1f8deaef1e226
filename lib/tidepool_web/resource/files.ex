defmodule TidepoolWeb.Resource.Files do
  @moduledoc """
  Files of `priv` for browsers, as they are there, so that a change shows with the next reload. What a file is packed to is kept, and its
  hash, until the file is another: whoever asks again costs a look at its time.

  They load nothing from anywhere else, and run no script that is not among them: their headers have the browser see to that.
  """

  alias TidepoolWeb.{Reply, Resource}

  @text "text/plain; charset=utf-8"

  # Sources of guests are there to be read.
  @types %{
    ".html" => "text/html; charset=utf-8",
    ".css" => "text/css; charset=utf-8",
    ".js" => "text/javascript; charset=utf-8",
    ".mjs" => "text/javascript; charset=utf-8",
    ".svg" => "image/svg+xml",
    ".png" => "image/png",
    "" => @text,
    ".c" => @text,
    ".go" => @text,
    ".h" => @text,
    ".json" => @text,
    ".py" => @text,
    ".rs" => @text,
    ".service" => @text,
    ".sh" => @text,
    ".ts" => @text,
    ".txt" => @text,
    ".wat" => @text,
    ".yaml" => @text,
    ".yml" => @text,
    ".zig" => @text
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

  # The index of the book has 5 MB.
  @places 64

  # {path, what tells it from another one there, etag, packed text} of each that was asked for. There are as many as files.
  @table __MODULE__
  # Whoever writes twice within the system's second leaves the same time.
  @settled_s 2

  @doc "The table of what is kept, of the calling process."
  @spec new :: :ok
  def new do
    :ets.new(@table, [:named_table, :public, read_concurrency: true])
    :ok
  end

  @doc "What holds for the routes of such files: they tell nothing of functions, and look at no parameter."
  @spec route :: keyword
  def route,
    do: [
      scope: :read,
      public: true,
      query: :ignored,
      headers: ["if-none-match", "accept-encoding"],
      places: @places
    ]

  @doc "The answer with a file of a folder in `priv`, if there is one at these segments of a path, which may be anything."
  @spec fetch(String.t(), [String.t()], Resource.request()) :: {:ok, Reply.t()} | :error
  def fetch(folder, path, request) do
    with true <- Enum.all?(path, &(&1 =~ ~r/\A[A-Za-z0-9_-]+(\.[A-Za-z0-9]+)*\z/)),
         type when type != nil <- @types[path |> List.last() |> Path.extname()],
         path = Path.join([:code.priv_dir(:tidepool), folder | path]),
         {:ok, etag, packed} <- packed(path),
         {:ok, reply} <- answer(path, type, etag, packed, Map.new(request.headers)) do
      {:ok, reply}
    else
      _none -> :error
    end
  end

  defp answer(path, type, etag, packed, wanted) do
    headers = [{"etag", etag} | @headers]

    cond do
      wanted["if-none-match"] == etag -> {:ok, {304, type, headers, ""}}
      gzip?(wanted["accept-encoding"]) -> {:ok, {200, type, [{"content-encoding", "gzip"} | headers], packed}}
      true -> with {:ok, text} <- File.read(path), do: {:ok, {200, type, headers, text}}
    end
  end

  defp packed(path) do
    with {:ok, %File.Stat{type: :regular} = stat} <- File.stat(path, time: :posix) do
      now = {stat.inode, stat.size, stat.mtime, stat.ctime}

      case :ets.lookup(@table, path) do
        [{^path, ^now, etag, packed}] -> {:ok, etag, packed}
        _none_or_another -> pack(path, now)
      end
    end
  end

  defp pack(path, now) do
    with {:ok, text} <- File.read(path) do
      etag = ~s("#{:sha256 |> :crypto.hash(text) |> Base.url_encode64(padding: false)}")
      packed = :zlib.gzip(text)
      {_inode, _size, written, changed} = now

      if max(written, changed) + @settled_s < System.os_time(:second),
        do: :ets.insert(@table, {path, now, etag, packed})

      {:ok, etag, packed}
    end
  end

  defp gzip?(nil), do: false
  defp gzip?(encodings), do: encodings =~ ~r/\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/
end
