defmodule TidepoolWeb.BookTest do
  # The book at /docs/, as a node serves it. What is in it is in test/docs/book_test.exs.
  use Tidepool.Case, async: true

  alias Tidepool.Peer

  # A node whose library has this in `priv/book`, or no such folder.
  defp node!(book) do
    peer = Peer.start!(server: true)
    library = Path.join(tmp_folder!(), "tidepool")
    File.mkdir_p!(Path.join(library, "priv"))
    File.ln_s!(Application.app_dir(:tidepool, "ebin"), Path.join(library, "ebin"))
    if book, do: File.ln_s!(book, Path.join(library, "priv/book"))
    true = Peer.call(peer, :code, :replace_path, [:tidepool, to_charlist(Path.join(library, "ebin"))])
    peer
  end

  @types %{
    ".html" => "text/html; charset=utf-8",
    ".css" => "text/css; charset=utf-8",
    ".js" => "text/javascript; charset=utf-8",
    ".svg" => "image/svg+xml",
    ".png" => "image/png"
  }

  test "every file of the book is served with its type, and with a policy that lets it load nothing from elsewhere" do
    folder = Tidepool.Book.build!()
    peer = node!(folder)
    files = for path <- Path.wildcard(folder <> "/**"), File.regular?(path), do: Path.relative_to(path, folder)
    assert "searcher" in Enum.map(files, &(&1 |> String.split("-") |> hd()))

    for file <- files do
      assert {200, headers, text} = curl_url(Peer.url(peer, "/docs/#{file}"))
      assert is_map(text) or text == File.read!(Path.join(folder, file)), file
      assert headers["content-type"] == Map.get(@types, Path.extname(file), "text/plain; charset=utf-8"), file
      assert headers["content-security-policy"] =~ "default-src 'none'; script-src 'self'; style-src 'self';"
      refute headers["content-security-policy"] =~ "unsafe"
    end

    assert {200, %{"content-type" => "text/html; charset=utf-8"}, _page} = curl_url(Peer.url(peer, "/docs/"))
    assert {302, %{"location" => "docs/"}, ""} = curl_url(Peer.url(peer, "/docs"))
  end

  test "nothing is served but the book's files, and a node without a book says how it gets one" do
    folder = tmp_folder!()
    File.write!(Path.join(folder, "index.html"), "<p>")

    error = fn peer, path ->
      assert {404, _headers, %{"error" => %{"reason" => "not_found"} = error}} =
               curl_url(Peer.url(peer, "/docs/#{path}"), ["--path-as-is"])

      error["message"]
    end

    with_book = node!(folder)

    for path <- ~w(nothing.html css .. ..%2fui%2fapp.mjs css/..%2fbook.toml %2e%2e/native),
        do: refute(error.(with_book, path) =~ "bin/book")

    without = node!(nil)
    for path <- ["", "index.html", "api/Tidepool.html"], do: assert(error.(without, path) =~ "bin/book builds it")
  end

  test "a file that was asked for is neither read nor packed again, and is when it is another" do
    alias TidepoolWeb.Resource.Files
    fetch = fn -> Files.fetch("ui", ["app.mjs"], %{headers: [{"accept-encoding", "gzip"}]}) end
    assert {:ok, {200, _type, headers, packed}} = fetch.()
    :erlang.trace_pattern({:zlib, :gzip, 1}, true, [])
    1 = :erlang.trace(self(), true, [:call])
    assert {:ok, {200, _type, ^headers, ^packed}} = fetch.()
    1 = :erlang.trace(self(), false, [:call])
    :erlang.trace_pattern({:zlib, :gzip, 1}, false, [])
    delivered = :erlang.trace_delivered(self())
    assert_receive {:trace_delivered, _self, ^delivered}, 20_000
    refute_received {:trace, _self, :call, _packed}

    folder = tmp_folder!()
    peer = node!(folder)

    # In the same second, and as long.
    for text <- ["<p>1", "<p>2"] do
      File.write!(Path.join(folder, "index.html"), text)
      assert {200, _headers, ^text} = curl_url(Peer.url(peer, "/docs/index.html"), ["--compressed"])
    end
  end
end
