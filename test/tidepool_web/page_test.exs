defmodule TidepoolWeb.PageTest do
  # The files of the page at /ui/. What it does in a browser is in test/browser.
  use Tidepool.Case, async: true

  @folder "priv/ui"

  defp files, do: for(path <- Path.wildcard("#{@folder}/**"), File.regular?(path), do: Path.relative_to(path, @folder))

  defp type(file) do
    case Path.extname(file) do
      ".html" -> "text/html; charset=utf-8"
      ".css" -> "text/css; charset=utf-8"
      ".svg" -> "image/svg+xml"
      ".txt" -> "text/plain; charset=utf-8"
      script when script in [".js", ".mjs"] -> "text/javascript; charset=utf-8"
    end
  end

  test "every file is served with its type, and with a policy that lets the page load nothing from elsewhere" do
    for file <- files() do
      assert {200, headers, text} = curl("/ui/#{file}")
      assert text == File.read!(Path.join(@folder, file))
      assert headers["content-type"] == type(file)
      assert headers["x-content-type-options"] == "nosniff"
      assert headers["content-security-policy"] =~ "default-src 'none'; script-src 'self';"
      assert headers["content-security-policy"] =~ "frame-ancestors 'none'"
      refute headers["content-security-policy"] =~ "unsafe"
    end

    assert {200, %{"content-type" => "text/html; charset=utf-8"}, _page} = curl("/ui/")
  end

  test "a browser that has a file is not sent it again, and one that takes gzip gets that" do
    assert {200, %{"etag" => etag, "vary" => "accept-encoding"}, text} = curl("/ui/app.mjs")
    assert {304, %{"etag" => ^etag}, ""} = curl("/ui/app.mjs", ["-H", "if-none-match: #{etag}"])
    assert {200, _headers, ^text} = curl("/ui/app.mjs", ["-H", ~s(if-none-match: "another")])
    assert {200, %{"content-encoding" => "gzip"}, ^text} = curl("/ui/app.mjs", ["--compressed"])
    assert {200, headers, ^text} = curl("/ui/app.mjs", ["-H", "accept-encoding: br, gzip;q=0"])
    refute headers["content-encoding"]
  end

  test "the address of the node leads to the page" do
    for path <- ["/", "/ui"], do: assert({302, %{"location" => "ui/"}, ""} = curl(path))
  end

  test "nothing is served but the page's files" do
    for path <-
          ~w(nothing.mjs vendor vendor/ .. ..%2fui%2fapp.mjs vendor/..%2fapp.mjs %2e%2e/native vendor/.hidden app.mjs%00) do
      assert {404, _headers, %{"error" => %{"reason" => "not_found"}}} = curl("/ui/#{path}", ["--path-as-is"])
    end
  end

  test "all of it is 100 KB at most, as it goes over the wire" do
    bytes = for file <- files(), do: @folder |> Path.join(file) |> File.read!() |> :zlib.gzip() |> byte_size()
    assert Enum.sum(bytes) < 100_000
  end

  test "no file of the page names another place to load from, and none has a mark-up of a guest's" do
    for file <- files(), not String.starts_with?(file, "vendor/") do
      text = File.read!(Path.join(@folder, file))
      refute text =~ ~r{(src|href|from|import)\s*[=(]?\s*["']https?:}, file
      refute text =~ ~r/innerHTML|outerHTML|insertAdjacentHTML|document\.write|sessionStorage|eval\(/, file
      # The key of a session, and nothing else, is kept.
      if file != "api.mjs", do: refute(text =~ "localStorage", file)
    end
  end
end
