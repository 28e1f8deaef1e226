defmodule Tidepool.Ship.McpTest do
  # `/mcp` by the protocol's own kit for Python, which checks messages and results by its own types and by the schemas that tools
  # have: what it gets is what `/call` answers.
  use Tidepool.Case, async: false

  alias Tidepool.{Native, Peer}

  @moduletag :ship

  @patience_ms 120_000
  # Versions that begin with `initialize`, and the newest.
  @modes [{"legacy", "2025-11-25"}, {"auto", "2026-07-28"}]

  setup_all do
    {python, 0} = System.cmd(Path.expand("test/ship/mcp/python"), [])
    {:ok, python: String.trim(python)}
  end

  defp connect(python, peer, mode) do
    arguments = ["test/ship/mcp/client.py", Peer.url(peer, "/mcp"), mode]
    port = Port.open({:spawn_executable, python}, [:binary, :exit_status, {:line, 1_000_000}, args: arguments])
    on_exit(fn -> if Port.info(port), do: Port.close(port) end)
    port
  end

  defp ask(port, words) do
    true = Port.command(port, [Native.json_encode(words), ?\n])
    {:ok, answer} = port |> line("") |> Native.json_decode()
    answer
  end

  defp line(port, before) do
    receive do
      {^port, {:data, {:eol, line}}} -> before <> line
      {^port, {:data, {:noeol, piece}}} -> line(port, before <> piece)
      {^port, {:exit_status, status}} -> flunk("the client ended with #{status}")
    after
      @patience_ms -> flunk("the client has not answered")
    end
  end

  defp metric(peer, line) do
    {200, _headers, text} = curl_url(Peer.url(peer, "/metrics"), [])
    text |> String.split("\n") |> Enum.find_value(0, &(String.starts_with?(&1, line <> " ") && value(&1)))
  end

  defp value(line), do: line |> String.split(" ") |> Enum.at(1) |> Float.parse() |> elem(0)

  defp live(peer) do
    {200, _headers, %{"instances" => %{"live" => live}}} = curl_url(Peer.url(peer, "/health"), [])
    live
  end

  for {mode, version} <- @modes do
    test "the protocol's own client lists all tools, and has of each call what /call answers, in #{version}", %{
      python: python
    } do
      peer = Peer.start!(server: true)
      Peer.deploy!(peer, "component", "values", name: "values", tools: ["*"])
      for index <- 1..30, do: Peer.deploy!(peer, "component", "tools", name: "f#{index}", tools: ["*"])
      client = connect(python, peer, unquote(mode))

      calls = [
        {"f1", "move", %{"from" => %{"x" => -1, "y" => 2_147_483_647}, "along-x" => 5}},
        {"f1", "jump", %{"far" => 3}},
        {"f1", "jump", %{"far" => 30}},
        {"f1", "only", %{}},
        {"values", "people", %{"all" => [%{"name" => "Ada", "tags" => ["é", ""]}]}},
        {"values", "shapes", %{"all" => [%{"circle" => 1.5}, "square", %{"pair" => [1, "x"]}]}},
        {"values", "naturals", %{"all" => [0, 18_446_744_073_709_551_615]}},
        {"values", "floats", %{"all" => [0.1, "NaN", "-Infinity"]}},
        {"values", "perms-of", %{"all" => [["read"], []]}}
      ]

      assert ask(client, ["version"]) == unquote(version)
      names = for %{"name" => name} <- ask(client, ["tools"]), do: name
      assert length(names) == 30 * 5 + 11 and Enum.uniq(names) == names
      assert %{"code" => -32_602} = ask(client, ["call", "nobody", %{}])

      for {name, export, arguments} <- calls do
        answer = ask(client, ["call", name <> "__" <> export, arguments])

        {status, _headers, value} =
          curl_url(Peer.url(peer, "/call/#{name}/#{export}"), ["--data-binary", Native.json_encode(arguments)])

        assert %{"content" => [text], "error" => error?, "object" => object} = answer
        {:ok, told} = Native.json_decode(text)

        case {status, value} do
          {200, value} -> assert told == value and not error? and object == if(is_map(value), do: value)
          {422, %{"error" => %{"value" => value}}} -> assert told == value and error? and object == nil
        end
      end
    end

    test "it calls exports of plain modules and of plug-ins, in #{version}", %{python: python} do
      peer = Peer.start!(server: true)
      Peer.deploy!(peer, "wat", "numbers", name: "numbers", tools: ["add", "swap"])
      Peer.deploy!(peer, "rust", "vowels", name: "vowels", tools: ["*"])
      client = connect(python, peer, unquote(mode))
      tools = Map.new(ask(client, ["tools"]), &{&1["name"], &1["inputSchema"]})
      assert %{"required" => ["arg1", "arg2"]} = tools["numbers__swap"]
      assert %{"properties" => %{"input" => %{"type" => "string"}}} = tools["vowels__count_vowels"]

      sum = %{"arg1" => 19, "arg2" => 23}
      assert %{"error" => false, "content" => ["42"]} = ask(client, ["call", "numbers__add", sum])
      swapped = %{"arg1" => 17, "arg2" => 2.5}
      assert %{"error" => false, "content" => ["[2.5,17]"]} = ask(client, ["call", "numbers__swap", swapped])
      low_tide = %{"input" => "low tide"}
      assert %{"error" => false, "content" => ["low tide"]} = ask(client, ["call", "vowels__echo", low_tide])
      assert %{"error" => true, "content" => [text]} = ask(client, ["call", "vowels__fails", %{"input" => "sorry"}])
      assert text =~ "no tide today: sorry"
    end

    test "it is told of a call's progress, and a call that it cancels is killed while it stays, in #{version}", %{
      python: python
    } do
      peer = Peer.start!(server: true)
      Peer.deploy!(peer, "component", "calc", name: "calc", tools: ["*"], limits: [time: 600_000, cpu_time: 600_000])
      client = connect(python, peer, unquote(mode))
      aborted = fn -> metric(peer, ~s(tidepool_calls_total{function="calc",reason="aborted"})) end

      for {progress?, least, count} <- [{true, 2, 1}, {false, 0, 2}] do
        assert ask(client, ["start", "calc__spin", %{}, progress?]) == "started"
        eventually(fn -> live(peer) == 1 end, @patience_ms)
        told = ask(client, ["stop", least])
        assert length(told) >= least
        elapsed = for [elapsed, _message] <- told, do: elapsed
        assert elapsed == Enum.sort(Enum.uniq(elapsed))
        for [elapsed, message] <- told, do: assert(message == "running for #{trunc(elapsed)} s")
        eventually(fn -> aborted.() == count and live(peer) == 0 end, @patience_ms)
      end

      assert %{"content" => ["42"]} = ask(client, ["call", "calc__add", %{"one" => 19, "other" => 23}])
    end

    test "beside a hundred deploys and removals it lists no stale tool when it was told, and no call of another fails, whichever version it is of, in #{version}",
         %{python: python} do
      peer = Peer.start!(server: true)
      Peer.deploy!(peer, "component", "tools", name: "stays", tools: ["only"])
      client = connect(python, peer, unquote(mode))
      # Who listens by `GET` is told once at first.
      at_first = if unquote(mode) == "legacy", do: 1, else: 0
      assert [told, ["stays__only"]] = ask(client, ["changed_by", at_first])
      only = %{"error" => false, "object" => nil, "content" => ["7"]}
      assert ask(client, ["call", "stays__only", %{}]) == only
      assert ask(client, ["keep", "stays__only", %{}, only]) == "kept"

      Enum.reduce(1..100, told, fn round, told ->
        name = "f#{round}"
        # Of what has no tools the client is not told.
        Peer.deploy!(peer, "component", "tools", name: "silent#{round}")
        Peer.deploy!(peer, "component", "tools", name: name, tools: ["move"])
        assert [told, names] = ask(client, ["changed_by", told + 1])
        assert Enum.sort(names) == Enum.sort([name <> "__move", "stays__only"])
        assert %{"error" => false} = ask(client, ["call", name <> "__move", %{"from" => %{"x" => 1, "y" => 2}}])
        # The tool that is called all the time is another version's.
        Peer.deploy!(peer, "component", "tools", name: "stays", tools: ["only"], limits: [time: 10_000 + round])
        assert [told, ^names] = ask(client, ["changed_by", told + 1])
        :ok = Peer.call(peer, Tidepool, :remove, [name])
        assert [told, ["stays__only"]] = ask(client, ["changed_by", told + 1])
        assert told == at_first + 3 * round
        told
      end)

      assert [made, []] = ask(client, ["kept"])
      assert made > 100
    end
  end
end
