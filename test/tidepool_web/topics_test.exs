defmodule TidepoolWeb.TopicsTest do
  # GET /events?topics=…: one stream for several things.
  use Tidepool.Case, async: true

  alias Tidepool.{EventClient, Peer, TestEdge}
  alias TidepoolWeb.{Listener, Resources, Topics}

  doctest TidepoolWeb.Topics

  @mib 1_048_576

  defmodule Pinging do
    @behaviour TidepoolWeb.Resource
    @impl true
    def routes, do: [{"GET", "/events", query: true, headers: ["last-event-id"]}]
    @impl true
    def serve("GET", ["events"], request), do: Resources.Events.answer(request, 20)
  end

  defp connect(query, headers \\ [], port \\ Listener.port()) do
    client = EventClient.connect(port, headers, "/events?" <> query)
    assert client.status == 200
    assert {%{"retry" => _ms, "id" => id}, client} = EventClient.next(client)
    {id, client}
  end

  defp event(client, names) do
    assert {%{"event" => event, "data" => data, "id" => id}, client} = EventClient.next(client, names)
    {event, data, id, client}
  end

  defp print!(name, text), do: {:ok, ""} = Tidepool.call(name, "log", text)

  # The texts of so many lines.
  defp texts(client, count) do
    Enum.map_reduce(1..count, client, fn _index, client ->
      {"log", %{"text" => text}, _id, client} = event(client, ["log"])
      {text, client}
    end)
  end

  defp work(text) do
    {:reductions, before} = Process.info(self(), :reductions)
    read = Topics.read(text)
    {:reductions, behind} = Process.info(self(), :reductions)
    {read, behind - before}
  end

  test "of a list of thousands no more are looked at than a stream may be about" do
    list = fn count -> Enum.map_join(1..count, ",", &"logs:f#{&1}") end
    # What is read first loads modules.
    Topics.read(list.(17))

    assert {{:error, %{reason: :invalid_option, message: message}}, few} = work(list.(17))
    assert message =~ "a stream has 16 topics at most"
    assert {{:error, %{message: ^message}}, many} = work(list.(20_000))
    assert many < 2 * few

    assert {:error, %{message: message}} = Topics.read("functions," <> String.duplicate("logs,", 10_000) <> "log")
    assert message =~ ~s("log" is no topic)
    assert {:ok, [:functions, {:lines, nil}]} = Topics.read("functions" <> String.duplicate(",logs", 10_000))
  end

  test "one stream has lines, failures, changes and figures, each with what it is about" do
    name = deploy!("rust", "hello_world")
    {_id, client} = connect("topics=functions,logs:#{name},failures:#{name},figures")
    print!(name, "a <b>line</b>")
    {"log", line, _id, client} = event(client, ["log"])
    assert %{"function" => ^name, "text" => "a <b>line</b>", "level" => "info", "version" => 1} = line
    {:error, _error} = Tidepool.call(name, "fail", "x")
    {"failure", failure, _id, client} = event(client, ["failure"])
    assert %{"function" => ^name, "operation" => "fail", "reason" => "guest_error"} = failure
    {:ok, _function} = Tidepool.deploy(guest("rust", "upper"), name: name)
    {client, deployed} = next_about(client, name)
    assert %{"version" => 2} = deployed
    {"figures", %{"tick_ms" => 2_000, "functions" => [_one | _others]}, _id, _client} = event(client, ["figures"])
  end

  defp next_about(client, name) do
    case event(client, ["deployed"]) do
      {"deployed", %{"name" => ^name} = data, _id, client} -> {client, data}
      {"deployed", _other, _id, client} -> next_about(client, name)
    end
  end

  test "lines are those of the function alone, or of all, and begin with as many as were asked for" do
    [one, other] = for _ <- 1..2, do: deploy!("rust", "hello_world")
    for number <- 1..5, name <- [one, other], do: print!(name, "#{name} #{number}")
    {_id, client} = connect("topics=logs:#{one}&last=2")
    print!(other, "not this")
    print!(one, "#{one} 6")
    assert {texts, _client} = texts(client, 3)
    assert texts == ["#{one} 4", "#{one} 5", "#{one} 6"]

    {_id, client} = connect("topics=logs")
    print!(one, "first of all")
    print!(other, "second of all")
    assert "second of all" in all_until(client, "second of all")
  end

  defp all_until(client, text) do
    {"log", %{"text" => found}, _id, client} = event(client, ["log"])
    if found == text, do: [found], else: [found | all_until(client, text)]
  end

  test "a client that comes back with its last id gets what was meanwhile, once, of each topic" do
    [one, other] = for _ <- 1..2, do: deploy!("rust", "hello_world")
    query = "topics=logs:#{one},logs:#{other}"
    {first, client} = connect(query)
    print!(one, "before")
    {"log", %{"text" => "before"}, id, client} = event(client, ["log"])
    EventClient.close(client)
    print!(one, "meanwhile")
    print!(other, "elsewhere")

    for {id, expected} <- [{id, ["meanwhile", "elsewhere"]}, {first, ["before", "meanwhile", "elsewhere"]}] do
      {^id, client} = connect(query, [{"last-event-id", id}])
      assert {^expected, client} = texts(client, length(expected))
      EventClient.close(client)
    end
  end

  test "a client that comes back too late is told how much is gone, and with an id from elsewhere that it is not known" do
    name = deploy!("rust", "hello_world")
    query = "topics=failures:#{name}"
    {id, client} = connect(query)
    EventClient.close(client)
    for _call <- 1..60, do: {:error, _error} = Tidepool.call(name, "fail")
    client = EventClient.connect(Listener.port(), [{"last-event-id", id}], "/events?" <> query)
    {%{"event" => "dropped", "data" => dropped}, client} = EventClient.next(client, ["dropped"])
    assert dropped == %{"topic" => "failures:#{name}", "count" => 10}
    for _failure <- 1..50, reduce: client, do: (client -> client |> event(["failure"]) |> elem(3))

    [mark, _positions] = String.split(id, "-")

    for wrong <- [
          "AAAAAAAA-1",
          "#{mark}-999999999999",
          "#{mark}-1.2",
          "#{mark}-",
          "#{mark}--1",
          "x",
          "",
          String.duplicate("9", 5_000),
          <<255>>
        ] do
      client = EventClient.connect(Listener.port(), [{"last-event-id", wrong}], "/events?" <> query)
      assert {%{"event" => "dropped", "data" => %{"count" => nil}}, client} = EventClient.next(client, ["dropped"])
      EventClient.close(client)
    end
  end

  test "a flood is dropped over the function's budget, which its lines and the stream say" do
    name = deploy!("wat", "log_flood", limits: [cpu_time: 200])
    {_id, client} = connect("topics=logs:#{name}")
    {:error, %{reason: {:limit, :cpu_time}}} = Tidepool.call(name, "any")
    # The next one that the budget lets through says how many were not.
    eventually(fn ->
      {:error, _error} = Tidepool.call(name, "any")
      Enum.any?(lines(name), &(&1["dropped"] > 0))
    end)

    assert dropped(client) > 0
  end

  defp lines(name), do: "/functions/#{name}/logs?limit=500" |> curl() |> elem(2) |> Map.fetch!("lines")

  defp dropped(client) do
    case event(client, ["log", "dropped"]) do
      {"log", %{"dropped" => 0}, _id, client} -> dropped(client)
      {"log", %{"dropped" => dropped}, _id, _client} -> dropped
      {"dropped", %{"count" => dropped}, _id, _client} -> dropped
    end
  end

  test "a client that reads nothing costs no more than a MiB, and is told what it has missed" do
    name = deploy!("rust", "hello_world")
    long = String.duplicate("\u0001", 2_000)
    before = streams()
    client = EventClient.connect(Listener.port(), [], "/events?topics=logs:#{name}")
    pid = eventually(fn -> List.first(streams() -- before) end)

    # It has written less than ten of them: the edge and the sockets between are full.
    blocked = fn ->
      before = reductions(pid)
      for _line <- 1..600, do: print!(name, long)
      {:current_stacktrace, frames} = Process.info(pid, :current_stacktrace)
      Enum.any?(frames, &match?({TidepoolWeb.Stream, :push, _arity, _at}, &1)) and reductions(pid) - before < 500
    end

    # And the function keeps none of them any more. Lines over its budget are not kept, so that may take a second or two.
    later = String.duplicate("x", 2_000)

    replaced = fn ->
      for _line <- 1..50, do: print!(name, later)
      Enum.all?(lines(name), &(&1["text"] == later))
    end

    # On a busy machine one that is not blocked may stand still for a while, and go on before all were replaced.
    missed = fn ->
      before = reductions(pid)
      eventually(replaced, 60_000)
      reductions(pid) - before < 500
    end

    eventually(fn -> blocked.() and missed.() end, 240_000)
    assert cost(pid) <= @mib
    assert {:message_queue_len, length} = Process.info(pid, :message_queue_len)
    assert length <= 3
    assert {%{"event" => "dropped", "data" => %{"count" => count}}, _client} = EventClient.next(client, ["dropped"])
    assert count > 0
  end

  defp reductions(pid) do
    {:reductions, count} = Process.info(pid, :reductions)
    count
  end

  # A process's own memory, and all binaries that it holds.
  defp cost(pid) do
    [memory: memory, binary: binaries] = Process.info(pid, [:memory, :binary])
    memory + (binaries |> Enum.uniq_by(&elem(&1, 0)) |> Enum.map(&elem(&1, 1)) |> Enum.sum())
  end

  # The processes of streams.
  defp streams do
    for pid <- Process.list(),
        {:current_stacktrace, frames} <- [Process.info(pid, :current_stacktrace)],
        List.keymember?(frames, Topics.Stream, 0),
        do: pid
  end

  test "a stream ends when its token has, and goes on with one that has not" do
    peer = Peer.start!(server: true, token: "s3cret")
    bearer = ["-H", "authorization: Bearer s3cret"]
    made = ["--data-binary", Tidepool.Native.json_encode(%{name: "reader", scopes: ["read"]}) | bearer]
    {201, _headers, %{"secret" => secret}} = curl_url(Peer.url(peer, "/tokens"), made)
    origin = {{:token, "reader", Tidepool.Tokens.sha256(secret)}, "127.0.0.1:1"}
    assert Peer.call(peer, Topics, :permit, [[{:lines, nil}], origin]) == :ok
    {200, _headers, _revoked} = curl_url(Peer.url(peer, "/tokens/reader"), ["-X", "DELETE" | bearer])
    assert {:error, {401, _type, _reply_headers, _body}} = Peer.call(peer, Topics, :permit, [[{:lines, nil}], origin])
    assert Peer.call(peer, Topics, :permit, [[{:lines, nil}], {:token, "127.0.0.1:1"}]) == :ok
  end

  test "a comment comes each ping, and a drain ends the stream well" do
    {server, port} = TestEdge.start!([Pinging], %{lame_duck_ms: 60_000})
    {_id, client} = connect("topics=logs:nobody", [], port)
    assert {:ping, client} = EventClient.next(client)
    assert {:ping, client} = EventClient.next(client)
    drain = Task.async(fn -> TestEdge.drain(server, 120_000) end)
    assert :done == over(client)
    EventClient.close(client)
    assert {_finished, 0} = Task.await(drain, 60_000)
  end

  defp over(client) do
    case EventClient.next(client) do
      {:ping, client} -> over(client)
      {over, _client} -> over
    end
  end

  test "topics that are none, and parameters that are none, are refused" do
    for wrong <- [
          "topics=",
          "topics=log",
          "topics=logs:",
          "topics=logs:a%2F..%2Fb%00",
          "topics=functions,",
          "topics=#{Enum.map_join(1..17, ",", &"logs:f#{&1}")}",
          "topics=logs&topics=figures",
          "topics=logs&last=501",
          "topics=logs&last=x",
          "last=3",
          "topic=logs"
        ],
        do: assert({400, _headers, _error} = curl("/events?#{wrong}"), wrong)
  end
end
