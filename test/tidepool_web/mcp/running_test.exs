defmodule TidepoolWeb.Mcp.RunningTest do
  # Calls of tools that go on: what a client is told of them, and who ends them.
  use Tidepool.Case, async: true

  import Tidepool.McpClient

  alias Tidepool.{EventClient, Peer}
  alias TidepoolWeb.Listener
  alias TidepoolWeb.Resources.Mcp.{Envelope, Running}

  setup_all do
    peer = Peer.start!(server: true)
    {:ok, peer: peer, url: Peer.url(peer, "/mcp"), port: Peer.call(peer, Listener, :port, [])}
  end

  defp session, do: [{"mcp-session-id", Envelope.new_session()}]

  # One whose export `spin` goes on until it is stopped.
  defp spinning(peer, options \\ []), do: deployed(peer, "calc", options)

  defp deployed(peer, guest, options) do
    name = unique_name(guest)
    limits = Keyword.merge([time: 600_000, cpu_time: 600_000], options)
    Peer.deploy!(peer, "component", guest, name: name, tools: ["*"], limits: limits)
    name
  end

  defp live(peer), do: Peer.call(peer, Tidepool.Engine, :instances, []).live
  defp running(peer), do: eventually(fn -> live(peer) == 1 end, 60_000)

  defp aborted?(peer, name) do
    {200, _headers, text} = curl_url(Peer.url(peer, "/metrics"), [])
    live(peer) == 0 and text =~ ~s(tidepool_calls_total{function="#{name}",reason="aborted"} 1)
  end

  defp cancel(id, session, url) do
    message = %{jsonrpc: "2.0", method: "notifications/cancelled", params: %{requestId: id}}
    assert {202, _headers, ""} = send_message(message, session, url)
  end

  # A call on a process of its own that waits until it is told to end.
  defp waiting(owner, id) do
    test = self()

    call = fn ->
      send(test, {:begun, self()})
      receive do: (:end -> :done)
    end

    task = Task.async(fn -> Running.run(owner, id, call) end)
    assert_receive {:begun, pid}, 30_000
    {task, pid}
  end

  test "a call is cancelled by its owner and the id of its request, and by nobody else" do
    peer = "127.0.0.1:50000"
    owner = Running.owner({{:token, "a", "sha"}, peer}, "session")
    assert Running.owner({{:token, "renamed", "sha"}, "127.0.0.1:50001"}, "session") == owner
    {task, pid} = waiting(owner, 7)

    others = [
      Running.owner({{:token, "a", "other"}, peer}, "session"),
      Running.owner({{:token, "a", "sha"}, peer}, "other"),
      Running.owner({:token, peer}, "session"),
      Running.owner({:no_token, peer}, "session"),
      Running.owner({{:token, "a", "sha"}, peer}, nil)
    ]

    for other <- others, do: Running.cancel(other, 7)
    for id <- ["7", 8, nil, %{}, 7.0], do: Running.cancel(owner, id)
    send(pid, :end)
    # What was sent before would have come before.
    assert Task.await(task, 60_000) == {:done, :done}

    {task, pid} = waiting(owner, 7)
    {again, other} = waiting(owner, 7)
    monitors = for pid <- [pid, other], do: {pid, Process.monitor(pid)}
    Running.cancel(owner, 7)
    assert Task.await_many([task, again], 60_000) == [:cancelled, :cancelled]
    for {pid, monitor} <- monitors, do: assert_receive({:DOWN, ^monitor, :process, ^pid, :killed})
    # It is over.
    Running.cancel(owner, 7)
  end

  test "a call that is cancelled again and again while its client reads nothing is told so once" do
    {test, owner} = {self(), {:no_token, "not read"}}

    # As a write does for which there is no room.
    tell = fn _elapsed_ms ->
      send(test, :telling)
      receive do: (:room -> {:error, :closed})
    end

    beat = %{stream: %{id: 1}, every_ms: 1, tell: tell}
    task = Task.async(fn -> Running.run(owner, 7, fn -> Process.sleep(:infinity) end, beat) end)
    assert_receive :telling, 30_000
    for _cancel <- 1..1_000, do: Running.cancel(owner, 7)
    assert Process.info(task.pid, :message_queue_len) == {:message_queue_len, 1}
    send(task.pid, :room)
    assert Task.await(task, 60_000) == :closed
  end

  test "a call goes with its request's process" do
    {task, pid} = waiting({:no_token, "session"}, 1)
    monitor = Process.monitor(pid)
    Process.unlink(task.pid)
    Process.exit(task.pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 30_000
  end

  test "a client that cancels a call has its guest killed, and no answer", %{peer: peer, url: url} do
    name = spinning(peer)
    own = session()
    call = request("tools/call", %{name: "#{name}__spin", arguments: %{}}, "a")
    task = Task.async(fn -> send_message(call, own, url) end)
    running(peer)
    # Of another's session, of none, and of no such request.
    cancel("a", session(), url)
    cancel("a", [], url)
    cancel(1, own, url)
    assert live(peer) == 1
    cancel("a", own, url)
    assert {202, _headers, ""} = Task.await(task, 60_000)
    eventually(fn -> aborted?(peer, name) end, 60_000)
  end

  test "a client is told of its call's progress, by its token, and then of the result", %{peer: peer, port: port} do
    name = spinning(peer, cpu_time: 2_500)

    for {token, version} <- [{"é", handshake()}, {7, newest()}] do
      params = %{name: "#{name}__spin", arguments: %{}, _meta: %{progressToken: token}}

      {body, headers} =
        if version == newest(),
          do: newest("tools/call", params),
          else: {request("tools/call", params), [{"mcp-protocol-version", version}]}

      client = stream(port, body, headers)
      assert client.status == 200 and client.headers["content-type"] == "text/event-stream"
      {told, result, client} = progress(client, [])
      assert told != []
      for params <- told, do: assert(params["progressToken"] == token and params["message"] =~ "running for ")
      elapsed = for %{"progress" => elapsed} <- told, do: elapsed
      assert elapsed == Enum.sort(Enum.uniq(elapsed))
      assert %{"id" => 1, "result" => %{"isError" => true, "_meta" => meta}} = result
      assert %{"limit" => "cpu_time"} = meta["tidepool/error"]
      assert {:done, _client} = message(client)
    end
  end

  defp progress(client, told) do
    case message(client) do
      {%{"method" => "notifications/progress", "params" => params}, client} -> progress(client, [params | told])
      {result, client} -> {Enum.reverse(told), result, client}
    end
  end

  test "a client is told the line that its call's guest has printed last, and of no other call's", %{
    peer: peer,
    port: port
  } do
    name = deployed(peer, "steps", [])
    # Its guest prints nothing.
    silent = spinning(peer)

    [client, other] =
      for {tool, token} <- [{"#{name}__work", 1}, {"#{silent}__spin", 2}] do
        {body, headers} = newest("tools/call", %{name: tool, arguments: %{}, _meta: %{progressToken: token}})
        stream(port, body, headers)
      end

    {messages, client} = messages_until(client, &(&1 == "2 of 2"))
    steps = Enum.drop_while(messages, &(&1 =~ "running for "))
    assert steps -- ["1 of 2", "2 of 2"] == [] and List.last(steps) == "2 of 2"
    {messages, other} = messages_until(other, &(&1 != "running for 1 s"))
    for message <- messages, do: assert(message =~ "running for ")
    for client <- [client, other], do: EventClient.close(client)
  end

  # What a client is told, each once, up to a message.
  defp messages_until(client, last?, told \\ []) do
    {%{"method" => "notifications/progress", "params" => %{"message" => message}}, client} = message(client)
    told = [message | told]
    if last?.(message), do: {told |> Enum.reverse() |> Enum.dedup(), client}, else: messages_until(client, last?, told)
  end

  test "a client that closes the stream of a call's progress ends the call", %{peer: peer, port: port} do
    name = spinning(peer)
    params = %{name: "#{name}__spin", arguments: %{}, _meta: %{progressToken: 1}}
    {body, headers} = newest("tools/call", params)
    client = stream(port, body, headers)
    running(peer)
    EventClient.close(client)
    eventually(fn -> aborted?(peer, name) end, 60_000)
  end

  test "a cancelled call's stream ends without an answer", %{peer: peer, url: url, port: port} do
    name = spinning(peer)
    own = session()
    params = %{name: "#{name}__spin", arguments: %{}, _meta: %{progressToken: 1}}
    client = stream(port, request("tools/call", params, 5), own)
    running(peer)
    cancel(5, own, url)
    assert {_told, :done, _client} = progress(client, [])
    eventually(fn -> aborted?(peer, name) end, 60_000)
  end

  test "a token of progress is an integer or a short string, and a client that reads no stream is told of none",
       %{peer: peer, url: url} do
    tool = "#{spinning(peer)}__add"
    streams = [{"accept", "application/json, text/event-stream"}]
    params = &%{name: tool, arguments: %{one: 19, other: 23}, _meta: %{progressToken: &1}}

    for {token, headers} <- [{1.5, []}, {String.duplicate("a", 257), streams}, {[], streams}, {nil, streams}] do
      assert {:error, -32_602, "`progressToken` is " <> _what} = ask("tools/call", params.(token), headers, url)
    end

    assert %{"content" => [%{"text" => "42"}]} = ask("tools/call", params.("t"), [], url)
    # What is no tool's is no stream's either.
    unknown = %{params.("t") | name: "nobody"}
    assert {:error, -32_602, "unknown tool: " <> _name} = ask("tools/call", unknown, streams, url)
  end
end
