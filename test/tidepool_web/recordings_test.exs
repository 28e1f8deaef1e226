defmodule TidepoolWeb.RecordingsTest do
  # GET, DELETE /recordings and POST /replay.
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, Recording}

  defp recording!(name) do
    {:error, _failed} = Tidepool.call(name, "fail", "as asked")
    assert {200, _headers, %{"recordings" => [%{"id" => id} = recording]}} = curl("/recordings?function=#{name}")
    {id, recording}
  end

  defp replay(body), do: curl("/replay", ["--data-binary", body])

  test "recordings are listed, fetched, replayed, and deleted" do
    name = deploy!("rust", "hello_world", record: :failures)
    {id, recording} = recording!(name)

    assert %{"function" => ^name, "version" => 1, "reason" => "guest_error", "operation" => "fail", "calls" => 1} =
             recording

    assert %{"payload_bytes" => 8, "redacted" => false, "sha256" => sha256, "bytes" => bytes} = recording
    assert {:ok, %{sha256: ^sha256}} = Tidepool.fetch(name)
    assert {200, headers, file} = curl("/recordings/#{id}")
    assert headers["content-disposition"] =~ "#{id}.tiderec"
    assert byte_size(file) >= bytes

    assert {200, _headers, %{"verdict" => "same", "recorded" => %{"message" => message}}} =
             replay(~s({"recording":"#{Base.encode64(file)}"}))

    assert message =~ "as asked"

    against =
      ~s({"recording":"#{Base.encode64(file)}","module":"#{Base.encode64(guest("c", "hello_world"))}","against":true})

    assert {200, _headers, %{"verdict" => "same"}} = replay(against)
    assert {200, _headers, %{"deleted" => ^id}} = curl("/recordings/#{id}", ["-X", "DELETE"])
    assert {404, _headers, %{"error" => %{"reason" => "unknown_recording"}}} = curl("/recordings/#{id}")
    assert {404, _headers, _error} = curl("/recordings/#{id}", ["-X", "DELETE"])
    assert {200, _headers, %{"recordings" => []}} = curl("/recordings?function=#{name}")
  end

  test "a token for some functions is told of theirs, however many others have newer ones" do
    # Longer than what a list looks at.
    node = Peer.start!(server: true, token: "s3cret-token")
    for name <- ~w(one/hello other/hello), do: Peer.deploy!(node, "rust", "hello_world", name: name, record: :all)

    {:ok, _token, secret} =
      Peer.call(node, Tidepool.Tokens, :make, [[name: "ci", scopes: ["read"], functions: "one/*"]])

    {:ok, _answer} = Peer.call(node, Tidepool, :call, ["one/hello", "echo", ""])
    for _call <- 1..1_000, do: {:ok, _answer} = Peer.call(node, Tidepool, :call, ["other/hello", "echo", ""])
    listed = fn path -> curl_url(Peer.url(node, path), ["-H", "authorization: Bearer #{secret}"]) end
    assert {200, _headers, %{"recordings" => [%{"function" => "one/hello"}]}} = listed.("/recordings")
    assert {200, _headers, %{"recordings" => []}} = listed.("/recordings?function=other/hello")
    assert {:ok, [%{function: "other/hello"} | _older]} = Peer.call(node, Recording, :list, ["other/*", 10])
  end

  test "of what a failure says a list of recordings has the beginning, and a replay tells it from others" do
    name = deploy!("rust", "hello_world", record: :failures)
    said = String.duplicate("x", 30_000)
    for _call <- 1..20, do: {:error, _failed} = Tidepool.call(name, "fail", said)
    assert {200, _headers, %{"recordings" => recordings}} = curl("/recordings?function=#{name}")
    assert length(recordings) == 20

    for %{"message" => message} <- recordings do
      assert byte_size(message) <= 4_096 and message =~ "as asked: xxx"
      assert message =~ ~r/… \(\d{5} bytes, BLAKE3 [0-9a-f]{32}\)$/u
    end

    assert {:ok, file} = Recording.fetch(hd(recordings)["id"])
    assert {:ok, %{"verdict" => "same"}} = Recording.replay(file)
  end

  test "a body that says nothing to be replayed is refused with what it has to be" do
    for body <- ["", "{}", ~s({"recording":1}), ~s({"recording":"!"}), ~s({"recording":"","against":true}), "[]"] do
      assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} = replay(body)
    end

    assert {422, _headers, %{"error" => %{"reason" => "invalid_recording"}}} = replay(~s({"recording":"AAAA"}))
    # Of what is no text there is little: read as terms it would be many times as much.
    list = "[" <> String.duplicate("0,", 3_000) <> "0]"
    valid = ~s("recording":"AAAA")

    for body <- [
          ~s({#{valid}#{String.duplicate(" ", 5_000)}}),
          ~s({"recording":#{list},#{valid}}),
          # What takes the quote within a name for its end takes the list for a text.
          ~s({"recording\\"":#{list},#{valid}}),
          ~s({"":1,"recording\\\\":#{list},#{valid}}),
          ~s({#{valid},"module":#{list}")
        ] do
      assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} = replay(body)
    end

    spaced = String.duplicate(" ", 1_000)
    body = ~s({#{spaced}"recording"#{spaced}:#{spaced}"AAAA"#{spaced}})
    assert {422, _headers, %{"error" => %{"reason" => "invalid_recording"}}} = replay(body)
  end

  test "what is in no recording's place is none" do
    for id <- ["x", "0-0", "..%2F..%2Fcatalog.log-8", "0000000000000000-1", "-"] do
      assert {404, _headers, %{"error" => %{"reason" => "unknown_recording"}}} = curl("/recordings/#{id}")
    end
  end

  test "a recording is there after its node was killed, and nobody reads it without a token" do
    folder = tmp_folder!()
    settings = [server: true, token: "s3cret-token", data: folder]
    name = Peer.name("recorder")
    node = Peer.start!(settings, name: name)
    {:ok, _function} = Peer.call(node, Tidepool, :deploy, [guest("rust", "hello_world"), [name: "hello", record: :all]])
    {:ok, _greeting} = Peer.call(node, Tidepool, :call, ["hello", "hello", "Ada"])
    {:ok, [%{id: id}]} = Peer.call(node, Recording, :list, [])
    Peer.halt(node)
    again = Peer.start!(settings, name: name)
    assert {:ok, [%{id: ^id, reason: "ok"}]} = Peer.call(again, Recording, :list, [])
    {:ok, recording} = Peer.call(again, Recording, :fetch, [id])
    assert {:ok, %{"verdict" => "same"}} = Peer.call(again, Recording, :replay, [recording])
    bearer = ["-H", "authorization: Bearer s3cret-token"]

    for {path, options} <- [{"/recordings", []}, {"/recordings/#{id}", []}, {"/replay", ["--data-binary", "{}"]}] do
      assert {401, _headers, _error} = curl_url(Peer.url(again, path), options)
      assert {status, _headers, _answer} = curl_url(Peer.url(again, path), bearer ++ options)
      assert status in [200, 400]
    end

    [file] = Path.wildcard(Path.join(folder, "**/recordings/*.rec"))
    assert %{mode: mode} = File.stat!(file)
    assert Bitwise.band(mode, 0o777) == 0o600
  end
end
