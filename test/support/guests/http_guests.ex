defmodule Tidepool.HttpGuests do
  @moduledoc """
  What the guests of `guests/http` serve, as its README says, for any host that runs them: each check takes the URL at which one is.
  """

  import ExUnit.Assertions
  import Tidepool.Case, only: [curl_url: 2]

  @all [:hello, :headers, :statuses, :missing, :events, :echo, :trailers, :sha256]

  @doc "Languages, each with the name of its module in them, with what they lack of the checks, and whether they are heavy."
  def guests do
    [
      {"rust", "http", [], false},
      {"c", "http", [], false},
      {"go", "http", [], false},
      {"component", "python_http", [], true},
      {"component", "js_http", [:trailers, :sha256], true}
    ]
  end

  @doc "All checks but those that a guest lacks."
  def check_all(url, lacks), do: for(check <- @all -- lacks, do: check(check, url))

  @doc "One of them."
  def check(:hello, url) do
    assert {200, %{"content-type" => "text/plain"}, "hello"} = curl_url(url <> "/hello", [])
  end

  def check(:headers, url) do
    {200, _headers, text} =
      curl_url(url <> "/headers?a=b", ["-H", "x-low: tide", "-H", "host: shop.example", "-H", "accept;"])

    lines = String.split(text, "\n", trim: true)
    names = for line <- lines, do: hd(Regex.run(~r/\A:?[^:]+/, line))
    assert names == Enum.sort(names)
    for line <- [":method: GET", ":authority: shop.example", ":scheme: http", "x-low: tide"], do: assert(line in lines)
    assert Enum.any?(lines, &(&1 =~ ~r{\A:path: /.*headers\?a=b\z}))
  end

  def check(:statuses, url) do
    for {code, method} <- [{200, "PUT"}, {204, "DELETE"}, {404, "GET"}, {418, "PURGE"}, {503, "POST"}] do
      assert {^code, %{"x-method" => ^method}, ""} = curl_url(url <> "/status/#{code}", ["-X", method])
    end
  end

  def check(:missing, url), do: assert({404, _headers, ""} = curl_url(url <> "/not/there", []))

  def check(:events, url) do
    events = for event <- 1..20, into: "", do: "data: #{event}\n\n"
    assert {200, %{"content-type" => "text/event-stream"}, ^events} = curl_url(url <> "/events?n=20", [])
  end

  def check(:echo, url) do
    for bytes <- ["", "low tide", :binary.copy("0123456789abcdef", 65_536)] do
      {200, headers, back} = post(url <> "/echo", bytes, ["-H", "content-type: text/tide"])
      assert headers["content-type"] == "text/tide"
      assert back == bytes
    end
  end

  def check(:trailers, url) do
    uri = URI.parse(url)
    {:ok, socket} = :gen_tcp.connect(to_charlist(uri.host), uri.port, [:binary, active: false])

    head =
      "POST #{uri.path}/echo HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n"

    :ok = :gen_tcp.send(socket, head <> "connection: close\r\n\r\n4\r\ntide\r\n0\r\nx-sum: 7\r\n\r\n")
    assert [_head, body] = String.split(all(socket), "\r\n\r\n", parts: 2)
    assert body == "4\r\ntide\r\n0\r\nx-sum: 7\r\n\r\n"
  end

  def check(:sha256, url) do
    for bytes <- ["", "abc", :binary.copy("tide", 300_000)] do
      line = Base.encode16(:crypto.hash(:sha256, bytes), case: :lower) <> "\n"
      assert {200, _headers, ^line} = post(url <> "/sha256", bytes, [])
    end
  end

  defp post(url, bytes, options) do
    path = Path.join(System.tmp_dir!(), "tidepool-body-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.write!(path, bytes)

    try do
      # Without a wait for the permission to send.
      curl_url(url, ["-H", "expect:", "--data-binary", "@#{path}" | options])
    after
      File.rm!(path)
    end
  end

  defp all(socket, so_far \\ "") do
    case :gen_tcp.recv(socket, 0, 30_000) do
      {:ok, bytes} -> all(socket, so_far <> bytes)
      {:error, :closed} -> so_far
    end
  end
end
