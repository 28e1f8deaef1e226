defmodule Tidepool.Mix.PrintedTest do
  # What guests, servers and files say, as tasks print it.
  use ExUnit.Case, async: true

  alias Mix.Tasks.Tidepool, as: Tasks
  alias Tidepool.Mix.{Request, Table}
  alias Tidepool.Recording.Text

  # It writes to the clipboard of whoever looks, begins a line of its own, and turns what follows around.
  @hostile "a\e]52;c;Zm9v\a\nb\u202E"
  @visible ~S(a\u{1b}]52;c;Zm9v\u{7}\nb\u{202e})

  test "a report of a replay has nothing that a terminal would obey" do
    told = %{
      "reason" => "trap",
      "message" => @hostile,
      "backtrace" => [%{"function" => @hostile, "source" => @hostile}]
    }

    report = %{
      "verdict" => "other",
      "recorded" => told,
      "replayed" => told,
      "parted" => %{"call" => 0, "entry" => 1, "recorded" => @hostile, "asked" => nil},
      "log" => [%{"asked" => @hostile, "answer" => @hostile, "begins" => @hostile}]
    }

    assert [recorded, frame | others] = Text.lines(report, true)
    assert recorded == "recorded: trap: " <> @visible
    assert frame == "    in #{@visible} at #{@visible}"
    assert length(others) == 4
    for line <- others, do: refute(line =~ ~r/[\e\a\n\x{202E}]/u)
  end

  test "a table and what is below it have nothing of the kind, and columns as wide as what is shown" do
    assert Table.of(["NODE", "IS"], [[@hostile, "up"]]) ==
             String.pad_trailing("NODE", String.length(@visible)) <> "  IS\n" <> @visible <> "  up"

    member = %{"node" => "a@host", "votes" => true, "answers" => false, "lacks" => nil, "problem" => @hostile}
    assert String.ends_with?(Tasks.Members.render([member]), "\na@host: " <> @visible)
  end

  test "of an answer that is none of a node's the beginning is told, on one line" do
    {:ok, socket} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(socket)
    body = @hostile <> String.duplicate("x", 100_000)

    spawn_link(fn ->
      {:ok, client} = :gen_tcp.accept(socket)
      {:ok, _request} = :gen_tcp.recv(client, 0)
      head = "HTTP/1.1 500 Down\r\ncontent-length: #{byte_size(body)}\r\nconnection: close\r\n\r\n"
      :ok = :gen_tcp.send(client, [head, body])
      :gen_tcp.close(client)
    end)

    # No certificates are looked for.
    options = [url: "http://127.0.0.1:#{port}", cacert: "none.pem"]
    assert {:error, "status 500, " <> shown} = Request.ask(:get, "/members", options)
    assert String.starts_with?(shown, @visible <> "xxx")
    assert String.ends_with?(shown, "xxx…")
    assert byte_size(shown) < 5_000
  end
end
