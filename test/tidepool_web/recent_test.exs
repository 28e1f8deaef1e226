defmodule TidepoolWeb.RecentTest do
  # GET /functions/NAME/logs and /failures: what is kept of a function on this node.
  use Tidepool.Case, async: true

  alias Tidepool.{EventClient, Peer}

  @frame ["function", "index", "offset"]

  defp get!(path) do
    assert {200, _headers, answer} = curl(path)
    answer
  end

  test "a call that fails is kept with time, operation, reason, message, trap and backtrace, and one that succeeds is not" do
    name = deploy!("wat", "trap_unreachable")
    assert %{"failures" => [], "missed" => 0, "name" => ^name} = get!("/functions/#{name}/failures")
    assert {500, _headers, %{"error" => told}} = curl("/call/#{name}/some%20operation")
    assert %{"failures" => [failure], "position" => position} = get!("/functions/#{name}/failures")

    assert %{"reason" => "trap", "trap" => "unreachable", "operation" => "some operation", "version" => 1} = failure

    assert %{"at_ms" => at_ms, "message" => message, "backtrace" => [frame | _frames], "position" => ^position} =
             failure

    assert_in_delta at_ms, System.os_time(:millisecond), 60_000
    assert message == told["message"]
    assert failure["backtrace"] == told["backtrace"]
    assert @frame -- Map.keys(frame) == []
    refute is_map_key(failure, "payload_base64")
    greeter = deploy!("rust", "hello_world")
    assert {200, _headers, _reply} = curl("/call/#{greeter}/hello", ["--data-binary", "Ada"])
    assert %{"failures" => []} = get!("/functions/#{greeter}/failures")
  end

  test "calls that end in Elixir are kept as well: at their time limit, and when their client hangs up" do
    name = deploy!("wat", "loop", limits: [time: 50])
    assert {:error, %{reason: :timeout}} = Tidepool.call(name, "late")
    assert %{"failures" => [%{"reason" => "timeout", "operation" => "late"}]} = get!("/functions/#{name}/failures")

    patient = deploy!("rust", "hello_world")
    test = self()

    answer = fn _call ->
      send(test, :asked)
      Process.sleep(:infinity)
    end

    Tidepool.Host.register({"host", patient, "hold"}, answer)
    on_exit(fn -> Tidepool.Host.unregister({"host", patient, "hold"}) end)
    {pid, monitor} = spawn_monitor(fn -> Tidepool.call(patient, "host", "host/#{patient}/hold\n") end)
    assert_receive :asked
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    aborted? = fn -> match?([%{"reason" => "aborted"}], get!("/functions/#{patient}/failures")["failures"]) end
    eventually(aborted?)
  end

  test "the beginning of a payload is kept where the deploy says so" do
    name = deploy!("rust", "hello_world", keep_payloads: true)
    payload = :crypto.strong_rand_bytes(1_000)
    assert {:error, _error} = Tidepool.call(name, "fail", payload)
    assert %{"failures" => [%{"payload_base64" => kept}]} = get!("/functions/#{name}/failures")
    assert Base.decode64!(kept) == binary_part(payload, 0, 256)
  end

  test "lines are kept with time, version, stream and level, and markup is text" do
    name = deploy!("rust", "hello_world")
    hostile = "<img src=x onerror=alert(1)> \e[31m"
    {:ok, ""} = Tidepool.call(name, "log", hostile)
    assert %{"lines" => [line], "position" => position} = get!("/functions/#{name}/logs")

    assert %{"text" => ^hostile, "stream" => "console", "level" => "info", "version" => 1, "dropped" => 0} = line
    assert_in_delta line["at_ms"], System.os_time(:millisecond), 60_000
    for text <- ["two", "three"], do: {:ok, ""} = Tidepool.call(name, "log", text)
    texts = fn query -> for line <- get!("/functions/#{name}/logs?#{query}")["lines"], do: line["text"] end
    assert texts.("limit=2") == ["two", "three"]
    assert texts.("after=#{position}") == ["two", "three"]
    assert texts.("after=#{position}&limit=1") == ["two"]
    assert texts.("after=999999999999999") == []
  end

  test "what is asked for wrongly, and what is not deployed, is refused" do
    name = deploy!("rust", "hello_world")

    for wrong <- ["limit=0", "limit=501", "limit=x", "after=-1", "after=x", "before=1", "limit=1&limit=1"],
        do: assert({400, _headers, _error} = curl("/functions/#{name}/logs?#{wrong}"), wrong)

    assert {400, _headers, _error} = curl("/functions/#{name}/failures?limit=51")

    for what <- ["logs", "failures"],
        do: assert({404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = curl("/functions/nobody/#{what}"))
  end

  test "what is kept of a function goes with it" do
    name = unique_name("gone")
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
    {:ok, ""} = Tidepool.call(name, "log", "a line")
    :ok = Tidepool.remove(name)
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
    on_exit(fn -> Tidepool.remove(name) end)
    assert %{"lines" => []} = get!("/functions/#{name}/logs")
  end

  test "tokens read what their scope and functions let them, by list and by stream" do
    peer = Peer.start!(server: true, token: "s3cret")

    # Of an answer that goes on its head is enough.
    ask = fn path, secret ->
      headers = if secret, do: [{"authorization", "Bearer #{secret}"}], else: []
      client = EventClient.connect(URI.parse(Peer.url(peer, path)).port, headers, path)
      EventClient.close(client)
      client.status
    end

    secret = fn name, scopes, functions ->
      body = Tidepool.Native.json_encode(%{name: name, scopes: scopes, functions: functions})
      headers = ["-H", "authorization: Bearer s3cret", "--data-binary", body]
      {201, _headers, %{"secret" => secret}} = curl_url(Peer.url(peer, "/tokens"), headers)
      secret
    end

    for name <- ["shop-a", "other"],
        do: {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [guest("rust", "hello_world"), [name: name]])

    shop = secret.("shop", ["read"], "shop-*")
    all = secret.("all", ["read"], "*")
    caller = secret.("caller", ["call"], "*")

    for {path, statuses} <- [
          {"/functions/shop-a/logs", [401, 200, 200, 403, 200]},
          {"/functions/other/failures", [401, 403, 200, 403, 200]},
          {"/events?topics=logs:shop-a,failures:shop-a", [401, 200, 200, 403, 200]},
          {"/events?topics=logs:other", [401, 403, 200, 403, 200]},
          {"/events?topics=functions,logs", [401, 403, 200, 403, 200]},
          {"/events?topics=functions,figures", [200, 200, 200, 200, 200]}
        ],
        do: assert(Enum.map([nil, shop, all, caller, "s3cret"], &ask.(path, &1)) == statuses, path)
  end
end
