defmodule Tidepool.Cli.RecordingsTest do
  # Recordings of a node, and what comes of them when the tool has them run again.
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, Tool}

  @token "s3cret"

  setup_all do
    Tool.path!()
    peer = Peer.start!(server: true, token: @token)
    env = [{"TIDEPOOL_URL", Peer.url(peer, "")}, {"TIDEPOOL_TOKEN", @token}]
    deploy!(env, "hello", guest_path("rust", "hello_world"), "all")
    deploy!(env, "faulty", guest_path("rust", "faulty"), "failures")
    %{env: env, peer: peer}
  end

  defp deploy!(env, name, module, record) do
    arguments = ["deploy", module, "--name", name, "--field", "record=#{record}"]
    assert %{"record" => ^record} = Tool.json!(arguments, env: env)
  end

  # The newest recording of a function, after a call of it.
  defp recorded!(env, name, operation, data) do
    {_reply, _status} = Tool.run(["call", name, operation, "--data", data], env: env, stderr_to_stdout: true)
    %{"recordings" => [%{"id" => id} | _older]} = Tool.json!(["recordings", name], env: env)
    id
  end

  test "recordings are listed newest first, of one function or of all, fetched for their user alone, and deleted", %{
    env: env
  } do
    older = recorded!(env, "hello", "echo", "one")
    newer = recorded!(env, "hello", "fail", "two")
    trapped = recorded!(env, "faulty", "index", "3")

    assert {table, 0} = Tool.run(["recordings", "hello"], env: env)
    assert ["ID" <> _head, first, second | _more] = String.split(table, "\n", trim: true)
    assert first =~ ~r/^#{newer} +\S+ ago +hello +1 +fail +guest_error: /
    assert second =~ ~r/^#{older} +\S+ ago +hello +1 +echo +ok$/
    assert {table, 0} = Tool.run(["recordings", "-n", "1"], env: env)
    assert table =~ ~r/^#{trapped} .* faulty +1 +index +trap: /m
    refute table =~ older
    assert {"none is kept\n", 0} = Tool.run(["recordings", "--", "get"], env: env)

    folder = tmp_folder!()
    assert {said, 0} = Tool.run(["recordings", "get", older], env: env, cd: folder)
    assert said =~ older <> ".tiderec ("
    kept = Path.join(folder, older <> ".tiderec")
    assert Bitwise.band(File.stat!(kept).mode, 0o777) == 0o600
    other = Path.join(folder, "other")
    assert %{"bytes" => size, "file" => ^other} = Tool.json!(["recordings", "get", older, "-o", other], env: env)
    assert {bytes, 0} = Tool.run(["recordings", "get", older, "-o", "-"], env: env)
    assert byte_size(bytes) == size
    assert [bytes, bytes] == [File.read!(kept), File.read!(other)]

    assert {error, 2} = Tool.run(["recordings", "get", older, "-o", folder, "--json"], env: env)
    assert error =~ ~s("reason":"unreadable")
    assert {error, 2} = Tool.run(["recordings", "get", older, "-o", folder <> "/no/file", "--json"], env: env)
    assert error =~ ~s("reason":"unwritable")

    assert {deleted, 0} = Tool.run(["recordings", "delete", older], env: env)
    assert deleted == older <> " is deleted\n"

    for command <- [["recordings", "get", older], ["recordings", "delete", older], ["replay", older]] do
      assert {error, 1} = Tool.run(command, env: env, stderr_to_stdout: true)
      assert error =~ "(unknown_recording)\ntidepool:   tidepool recordings lists"
    end
  end

  test "a call that trapped traps again, from a file or from where the node keeps it, and the status is 0", %{env: env} do
    id = recorded!(env, "faulty", "index", "3")
    folder = tmp_folder!()
    file = Path.join(folder, "a.tiderec")
    {_said, 0} = Tool.run(["recordings", "get", id, "-o", file], env: env)

    for {named, member} <- [{file, "file"}, {id, "id"}] do
      assert %{"verdict" => "same", "exact" => true, ^member => ^named} = Tool.json!(["replay", named], env: env)
      assert {text, 0} = Tool.run(["replay", named], env: env)
      assert [head, "  replayed: trap: " <> _message, "      in " <> _frame | _frames] = String.split(text, "\n")
      assert head == named <> ": same"
    end
  end

  test "what is printed of a replay is what the Mix task prints of it", %{env: env} do
    calls = [{"faulty", "faulty", "index", "3"}, {"hello", "hello_world", "host", "host/nobody/asks\nx"}]

    for {name, guest, operation, data} <- calls do
      file = Path.join(tmp_folder!(), "a.tiderec")
      {_said, 0} = Tool.run(["recordings", "get", recorded!(env, name, operation, data), "-o", file], env: env)
      {:ok, report} = Tidepool.Recording.replay(File.read!(file), guest("rust", guest))
      lines = for line <- Tidepool.Recording.Text.lines(report, true), do: "  #{line}\n"
      assert Enum.any?(lines, &(&1 =~ " → ")) == (operation == "host")
      assert {text, 0} = Tool.run(["replay", file, "--log"], env: env)
      assert text == "#{file}: same\n#{lines}"
    end
  end

  test "a node that has not the module takes it along, and only the one that was called", %{env: env} do
    id = recorded!(env, "hello", "echo", "x")
    folder = tmp_folder!()
    {_said, 0} = Tool.run(["recordings", "get", id], env: env, cd: folder)
    other = [{"TIDEPOOL_URL", Peer.url(Peer.start!(server: true), "")}]
    replay = &Tool.run(["replay", id <> ".tiderec", "--json" | &1], env: other, cd: folder)
    assert {error, 1} = replay.([])
    assert error =~ ~s("reason":"not_deployed")
    assert {error, 1} = replay.(["--wasm", guest_path("zig", "hello_world")])
    assert error =~ ~s("reason":"invalid_recording")
    assert {report, 0} = replay.(["--wasm", guest_path("rust", "hello_world")])
    assert report =~ ~s("verdict":"same")
  end

  test "another version that comes to something else ends with status 3, and says what is otherwise", %{env: env} do
    id = recorded!(env, "hello", "hello", "Ada")
    assert {text, 3} = Tool.run(["replay", id, "--against", guest_path("rust", "faulty")], env: env)
    assert text =~ ~r/\A#{id}: trapped\n  recorded: 11 bytes, "Hello, Ada!"\n  replayed: trap: /

    assert {"#{id}: same\n  replayed: 11 bytes, \"Hello, Ada!\"\n", 0} ==
             Tool.run(["replay", id, "--against", guest_path("zig", "hello_world")], env: env)
  end

  test "a folder is a table against another version, with a count, and each that is otherwise is told", %{env: env} do
    folder = tmp_folder!()
    get = fn id -> Tool.run(["recordings", "get", id], env: env, cd: folder) end
    hello = recorded!(env, "hello", "hello", "Ada")
    get.(hello)
    echo = recorded!(env, "hello", "echo", "")
    get.(echo)
    replay = &Tool.run(["replay", "." | &1], Keyword.merge([env: env, cd: folder], &2))

    assert {table, 3} = replay.(["--against", guest_path("go", "hello")], [])
    assert ["RECORDING" <> _head, first, second, "1 failed, 1 same of 2"] = String.split(table, "\n", trim: true)
    assert first =~ ~r/^\S*#{hello}.tiderec +same +"Hello, Ada!"$/
    assert second =~ ~r/^\S*#{echo}.tiderec +failed +"" → guest_error: /
    assert {lines, 3} = replay.(["--against", guest_path("go", "hello"), "--json"], [])
    assert [_first, _second, ~s({"counts":{"failed":1,"same":1}})] = String.split(lines, "\n", trim: true)

    # One that is damaged keeps no other from being replayed.
    File.write!(Path.join(folder, "0.tiderec"), "no recording")
    assert {text, 1} = replay.([], [])
    assert text =~ ~r/0.tiderec: .*\(invalid_recording\)\n.*#{hello}.tiderec: same\n  .*\n.*#{echo}.tiderec: same\n/
    assert text =~ "\n1 error, 2 same of 3\n"

    # What is wrong with all of them is an error of the command.
    stranger = List.keyreplace(env, "TIDEPOOL_TOKEN", 0, {"TIDEPOOL_TOKEN", "wrong"})
    assert {error, 1} = replay.([], env: stranger, stderr_to_stdout: true)
    assert error =~ ~r/\Atidepool: error: .*\(unauthorized\)/
  end

  test "a command line that makes no sense asks nobody" do
    env = [{"TIDEPOOL_URL", "http://127.0.0.1:1"}]
    folder = tmp_folder!()

    wrong = [
      {["none.tiderec"], "unreadable"},
      {["no/such"], "unreadable"},
      {["."], "no_recordings"},
      {["id", "--wasm", "none"], "unreadable"},
      {["id", "--wasm", "a", "--against", "b"], "usage"}
    ]

    for {arguments, reason} <- wrong do
      assert {error, 2} = Tool.run(["replay", "--json" | arguments], env: env, cd: folder)
      assert error =~ ~s("reason":"#{reason}")
    end
  end
end
