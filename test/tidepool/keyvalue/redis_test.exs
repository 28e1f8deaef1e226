defmodule Tidepool.Keyvalue.RedisTest do
  # Not async: the node has one store, by its settings, and one list of authorities.
  #
  # What a Redis may be and do to those who ask it: one that says nothing, one that is asked by TLS, one that others write to, too.
  use Tidepool.Case

  import Tidepool.Certificates

  alias Tidepool.{Config, Keyvalue, Redis}
  alias Tidepool.Keyvalue.Redis.{Connection, Protocol}

  @timeout 2_000

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
  end

  defp use!(url, changes \\ []) do
    changes = Map.new([keyvalue: {Keyvalue.Redis, url: url}] ++ changes)
    Config.put(Map.merge(:persistent_term.get(Config), changes))
    children = Keyvalue.Redis.children([])
    start_supervised!(%{id: :connections, start: {Supervisor, :start_link, [children, [strategy: :one_for_one]]}})
  end

  # What the guest answers to each line.
  defp run(name, lines) do
    assert {:ok, text} = Tidepool.call(name, :run, [Enum.join(lines, "\n")])
    String.split(text, "\n")
  end

  # A socket that takes connections: its port, and it.
  defp listen!(options \\ []) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, reuseaddr: true] ++ options)
    {:ok, port} = :inet.port(listener)
    {listener, "127.0.0.1:#{port}"}
  end

  # One connection to a server of the test's.
  defp connection!(changes) do
    {listener, place} = listen!()

    Config.put(
      Map.merge(
        :persistent_term.get(Config),
        Map.new([keyvalue: {Keyvalue.Redis, url: "redis://" <> place}] ++ changes)
      )
    )

    start_supervised!({Connection, __MODULE__.Connection})
    listener
  end

  defp ask(space), do: Connection.command(__MODULE__.Connection, space, ["GET", "k"])

  describe "a server that" do
    test "sends a piece now and then is heard, and is left when it has been silent since the last one" do
      listener = connection!(keyvalue_timeout: @timeout)
      asked = Task.async(fn -> {ask("a"), now()} end)
      {:ok, socket} = :gen_tcp.accept(listener)
      assert {:ok, "*2\r\n" <> _command} = :gen_tcp.recv(socket, 0)
      began = now()
      # An answer that has no end, for longer than the setting allows silence.
      :ok = :gen_tcp.send(socket, "$1000\r\n")
      last = send_pieces(socket, began + @timeout * 3 / 2)
      assert {{:error, "the store is away: it has said nothing for " <> silent}, at} = Task.await(asked, 60_000)
      assert {silent, " ms"} = Integer.parse(silent)
      assert silent >= @timeout
      # It was left after the last piece, and not after the first.
      assert at - last >= @timeout
      assert last - began > @timeout
      assert {:error, :closed} = :gen_tcp.recv(socket, 0)
    end

    defp send_pieces(socket, until) do
      at = now()
      :ok = :gen_tcp.send(socket, "x")

      receive do
      after
        50 -> if now() < until, do: send_pieces(socket, until), else: at
      end
    end

    test "takes no connection for its packets are lost is an error in time, and at once to who asks after that" do
      # A queue of connections that is full: what comes then is dropped, as by a host that swallows packets.
      {listener, place} = listen!(backlog: 0)
      filled = fill(place, [])
      assert filled != []
      use!("redis://" <> place)
      name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])
      other = deploy!("rust", "keyvalue_draft2")
      tasks = for _caller <- 1..8, do: Task.async(fn -> run(name, ["open a", "get k", "get k"]) end)
      assert run(other, ["open a"]) == ["error access-denied"]
      away = "error other the store can't be reached"
      for answers <- Task.await_many(tasks, 60_000), do: assert(answers == ["ok", away, away])
      assert length(filled) > 0 and is_port(listener)
    end

    defp fill(place, filled) do
      [host, port] = String.split(place, ":")
      {:ok, host} = :inet.parse_address(to_charlist(host))

      case :gen_tcp.connect(host, String.to_integer(port), [active: false], 300) do
        {:ok, socket} -> fill(place, [socket | filled])
        {:error, :timeout} -> filled
      end
    end

    test "takes connections and never answers is an error in time, whether it is greeted or not" do
      for {login, timeout, said} <- [
            {"", 300, "error other the store "},
            {":tide@", 5_000, "error other the store can't be reached"}
          ] do
        {listener, place} = listen!()
        use!("redis://" <> login <> place, keyvalue_timeout: timeout)
        name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])
        assert ["ok", answer] = run(name, ["open a", "get k"])
        assert String.starts_with?(answer, said)
        stop_supervised!(:connections)
        :gen_tcp.close(listener)
      end
    end

    test "has sixteen requests of a namespace on a connection is asked no more of it, and what others ask" do
      listener = connection!(keyvalue_timeout: 60_000)
      asked = for _request <- 1..16, do: Task.async(fn -> ask("many") end)
      {:ok, socket} = :gen_tcp.accept(listener)
      eventually(fn -> :sys.get_state(__MODULE__.Connection).count == 16 end)
      busy = {:error, "busy: the store has 16 requests of this namespace to answer before this one"}
      assert ask("many") == busy
      others = for space <- ["other", nil], do: Task.async(fn -> ask(space) end)
      eventually(fn -> :sys.get_state(__MODULE__.Connection).count == 18 end)
      # Each answer makes room for one more.
      :ok = :gen_tcp.send(socket, "+1\r\n")
      eventually(fn -> :sys.get_state(__MODULE__.Connection).count == 17 end)
      more = Task.async(fn -> ask("many") end)
      eventually(fn -> :sys.get_state(__MODULE__.Connection).count == 18 end)
      assert ask("many") == busy
      :ok = :gen_tcp.send(socket, String.duplicate("+2\r\n", 18))
      assert [{:ok, _first} | _others] = Task.await_many(asked ++ others ++ [more], 60_000)
      assert Protocol.start() == :sys.get_state(__MODULE__.Connection).part
    end
  end

  describe "by TLS" do
    setup do
      folder = Path.join(System.tmp_dir!(), unique_name("tidepool-redis"))
      File.mkdir_p!(folder)
      on_exit(fn -> File.rm_rf!(folder) end)
      {server, client} = certificates()
      {certificate, key} = identity(server)
      files = %{certificate: certificate, key: key, authority: Enum.map(client[:cacerts], &pem(:Certificate, &1))}

      files =
        Map.new(files, fn {name, text} ->
          path = Path.join(folder, "#{name}.pem")
          File.write!(path, text)
          {name, path}
        end)

      {_server, "redis://" <> place} = Redis.start!(password: "tide", tls: files)
      [login, port] = String.split(place, "127.0.0.1:")
      on_exit(fn -> :public_key.cacerts_clear() end)

      %{
        url: "rediss://#{login}localhost:#{port}/2",
        address: "rediss://#{login}127.0.0.1:#{port}/2",
        files: files,
        folder: folder
      }
    end

    test "a server is asked for whose certificate an authority vouches that is trusted", %{url: url, files: files} do
      :ok = :public_key.cacerts_load(to_charlist(files.authority))
      use!(url)
      name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])
      large = String.duplicate("x", 100_000)

      assert run(name, ["open a", "set k low tide", "get k", "set l #{large}", "get l", "add n 1", "list"]) ==
               ["ok", "ok", "low tide", "ok", large, "1", "1 k l n"]
    end

    test "a server is not asked whose certificate is of another authority, or of another name", context do
      {_server, other} = certificates()
      [stranger | _more] = other[:cacerts]
      strangers = Path.join(context.folder, "strangers.pem")
      File.write!(strangers, pem(:Certificate, stranger))
      name = deploy!("rust", "keyvalue_draft2", keyvalue: ["a"])

      for {url, trusted, why} <- [
            {context.url, strangers, "unknown_ca"},
            {context.address, context.files.authority, "hostname_check_failed"},
            # What speaks TLS is no Redis without it.
            {String.replace(context.url, "rediss://", "redis://"), context.files.authority, "closed"}
          ] do
        :ok = :public_key.cacerts_load(to_charlist(trusted))
        use!(url)

        log =
          ExUnit.CaptureLog.capture_log(fn ->
            assert run(name, ["open a", "get k"]) == ["ok", "error other the store can't be reached"]
          end)

        assert log =~ "the Redis of the setting `keyvalue` can't be reached" and log =~ why
        refute log =~ "tide"
        stop_supervised!(:connections)
      end
    end
  end

  for draft <- ["draft", "draft2"] do
    test "keys that no guest of #{draft} could ask for end no listing: it goes on behind them" do
      {_server, url} = Redis.start!()
      use!(url)
      bucket = unique_name("keys")
      name = deploy!("rust", "keyvalue_#{unquote(draft)}", keyvalue: [bucket], limits: [time: 60_000])
      longest = String.duplicate("l", 1_024)
      sets = ["open #{bucket}", "sets a=1 b=2 ü=3 #{longest}=4", "list"]
      assert run(name, sets) == ["ok", "ok", "1 a b #{longest} ü"]

      # By another program: more than a page that are no text, behind the first key and behind the last one, and one that is too long.
      script =
        "for i = 1, 2500 do redis.call('ZADD', KEYS[1], 0, 'a' .. string.char(255) .. i) end " <>
          "for i = 1, 1500 do redis.call('ZADD', KEYS[1], 0, string.char(255) .. i) end " <>
          "redis.call('ZADD', KEYS[1], 0, string.rep('l', 1025))"

      Redis.cli(url, ["EVAL", script, "1", "{tidepool:#{bucket}}:keys"])
      assert [_ok, listed] = run(name, ["open #{bucket}", "list"])
      assert [_pages, "a", "b", ^longest, "ü"] = String.split(listed, " ")
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
