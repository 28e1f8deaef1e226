for file <- ["foreground.exs", "built.exs"], do: Code.require_file(file, __DIR__)

defmodule Tidepool.Ship.MonitoringTest do
  # What is in ops/ for Prometheus and Grafana, by a Prometheus that reads a node.
  use Tidepool.Case, async: false

  alias Tidepool.{Built, Foreground, Peer}

  @moduletag :ship

  @alerts "ops/prometheus.rules.yml"
  @cases "test/ship/ops/alerts.yml"
  @dashboard "ops/grafana.json"

  defp dashboard! do
    {:ok, dashboard} = Tidepool.Native.json_decode(File.read!(@dashboard))
    dashboard
  end

  # {title, query} of each.
  defp queries,
    do: for(panel <- dashboard!()["panels"], %{"expr" => query} <- panel["targets"], do: {panel["title"], query})

  defp alerts do
    [%{"groups" => groups}] = Built.yaml!(@alerts)
    for group <- groups, rule <- group["rules"], do: {rule["alert"], rule["expr"]}
  end

  defp busy_node! do
    # One voter alone is a majority.
    name = Peer.name()
    settings = [server: true, cluster: true, epmd: false, actors: {:replicated, [to_string(name)]}]
    peer = Peer.start!(settings, name: name, cookie: Peer.cookie())
    Peer.deploy!(peer, "rust", "hello_world", name: "f", limits: [instances: 4], instances: {:warm, 1})
    Peer.deploy!(peer, "rust", "hello_world", name: "team/g")
    Peer.deploy!(peer, "rust", "http", name: "site")
    Peer.deploy!(peer, "rust", "counter", name: "a", actor: true)
    {:ok, _reply} = Peer.call(peer, Tidepool, :call, ["f", "hello", "Ada"])
    {:error, _error} = Peer.call(peer, Tidepool, :call, ["f", "fail", ""])
    next = fn -> curl_url(Peer.url(peer, "/actors/a/one/next"), ["-X", "POST"]) end
    eventually(fn -> match?({200, _headers, "1"}, next.()) end, 60_000)
    peer
  end

  # Prometheus, as ops/prometheus.yml has it, but for what it reads and how often; its address.
  defp prometheus!(peer) do
    folder = tmp_folder!()
    port = Tidepool.FreePort.take()
    "http://" <> target = Peer.url(peer, "")
    text = File.read!("ops/prometheus.yml")
    assert text =~ "targets: [localhost:4001, localhost:4002, localhost:4003]"

    text =
      text
      |> String.replace("localhost:4001, localhost:4002, localhost:4003", target)
      |> String.replace(": 15s", ": 1s")
      |> String.replace("[prometheus.rules.yml]", "[#{Path.expand(@alerts)}]")

    config = Path.join(folder, "prometheus.yml")
    File.write!(config, text)

    options = [
      "--config.file=#{config}",
      "--storage.tsdb.path=#{folder}/data",
      "--web.listen-address=127.0.0.1:#{port}",
      "--log.level=warn"
    ]

    program = Foreground.start!("prometheus", options, [])
    url = "http://127.0.0.1:#{port}"

    eventually(
      fn -> match?({_output, 0}, System.cmd("curl", ["-fsS", "#{url}/-/ready"], stderr_to_stdout: true)) end,
      60_000
    )

    {program, url}
  end

  defp ask!(url, path, fields) do
    arguments = Enum.flat_map(fields, fn {key, value} -> ["--data-urlencode", "#{key}=#{value}"] end)
    {status, _headers, answer} = curl_url("#{url}/api/v1/#{path}", ["-G" | arguments])
    assert {status, answer["status"]} == {200, "success"}, "#{inspect(fields)}: #{inspect(answer)}"
    answer["data"]
  end

  # What Grafana puts in place of its variables.
  defp filled(query) do
    query = String.replace(query, ~s("$instance"), ~s(".+")) |> String.replace(~s("$function"), ~s(".+"))
    query = String.replace(query, "$__rate_interval", "1m")
    refute query =~ "$"
    query
  end

  test "each query of the dashboard and the alerts is one that Prometheus can answer, and does with data of a node" do
    peer = busy_node!()
    {program, url} = prometheus!(peer)
    up = fn -> ask!(url, "query", query: "count_over_time(up{job=\"tidepool\"}[1m])")["result"] end
    # Rates take two samples.
    eventually(fn -> match?([%{"value" => [_at, count]}] when count not in ["0", "1"], up.()) end, 60_000)
    assert [%{"value" => [_at, "1"]}] = ask!(url, "query", query: "up{job=\"tidepool\"}")["result"]
    assert length(queries()) > 40

    for {title, query} <- queries() do
      # Some are of what goes on now.
      eventually(
        fn ->
          assert {200, _headers, "hello"} = curl_url(Peer.url(peer, "/call/site/hello"))
          found = ask!(url, "query", query: filled(query))["result"]
          assert found != [], "#{title}: #{query} finds nothing"
        end,
        60_000
      )
    end

    for %{"query" => %{"query" => query}} <- dashboard!()["templating"]["list"] do
      [_all, metric, label] = Regex.run(~r/^label_values\((\w+), (\w+)\)$/, query)
      assert [_one | _more] = ask!(url, "label/#{label}/values", "match[]": metric)
    end

    # Alerts find nothing where nothing is wrong.
    loaded = fn -> for %{"rules" => rules} <- ask!(url, "rules", [])["groups"], rule <- rules, do: rule end
    eventually(fn -> Enum.all?(loaded.(), &(&1["health"] == "ok")) end, 60_000)
    assert Enum.sort(for rule <- loaded.(), do: rule["name"]) == Enum.sort(for {name, _query} <- alerts(), do: name)
    for rule <- loaded.(), do: assert(rule["state"] != "firing", "#{rule["name"]} fires")

    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)
  end

  test "each metric that a node has is in a panel or an alert, and what they ask for by name a node has" do
    {200, _headers, text} = curl_url(Peer.url(busy_node!(), "/metrics"))
    types = Regex.scan(~r/^# TYPE (\S+) (\S+)$/m, text, capture: :all_but_first)
    suffixes = %{"counter" => ["_total"], "histogram" => ["_bucket", "_count", "_sum"]}
    expressions = for {_name, expression} <- queries() ++ alerts(), do: expression
    variables = for %{"query" => %{"query" => query}} <- dashboard!()["templating"]["list"], do: query

    asked =
      for text <- expressions ++ variables,
          [name] <- Regex.scan(~r/\b(?:tidepool|beam)_[a-z_]+\b/, text),
          uniq: true,
          do: name

    samples = for [name, type] <- types, do: for(suffix <- suffixes[type] || [""], do: name <> suffix)
    assert length(samples) > 40
    assert asked -- List.flatten(samples) == []
    for names <- samples, do: assert(Enum.any?(names, &(&1 in asked)), "no panel shows #{hd(names)}")
  end

  test "the dashboard has nothing that Grafana's own model does not know, and each panel a place of its own" do
    assert Built.run!(Built.python(), ["test/ship/ops/read.py", "dashboard", @dashboard]) == ""

    # The check finds what is wrong.
    wrong = Path.join(tmp_folder!(), "wrong.json")
    File.write!(wrong, String.replace(File.read!(@dashboard), ~s("displayMode"), ~s("displayModes"), global: false))
    assert Built.run!(Built.python(), ["test/ship/ops/read.py", "dashboard", wrong]) =~ "displayModes"

    panels = dashboard!()["panels"]

    for key <- ["id", "title", "gridPos"],
        do: assert(panels |> Enum.map(& &1[key]) |> Enum.uniq() |> length() == length(panels))

    places =
      for %{"gridPos" => place} <- panels, x <- 1..place["w"], y <- 1..place["h"], do: {place["x"] + x, place["y"] + y}

    assert Enum.uniq(places) == places
    assert places |> Enum.map(&elem(&1, 0)) |> Enum.max() <= 24
  end

  test "each alert is one that Prometheus takes, stays quiet before what it is for, and fires then" do
    Built.run!("promtool", ["check", "config", "ops/prometheus.yml"])
    Built.run!("promtool", ["test", "rules", @cases])
    [%{"tests" => tests}] = Built.yaml!(@cases)
    rules = for %{"alert_rule_test" => rules} <- tests, rule <- rules, do: rule

    for {alert, _expression} <- alerts() do
      assert [_quiet | _more] = for(%{"alertname" => ^alert} = rule <- rules, rule["exp_alerts"] == nil, do: rule)
      assert [_fires | _more] = for(%{"alertname" => ^alert, "exp_alerts" => [_one]} = rule <- rules, do: rule)
    end
  end
end
