defmodule Tidepool.LogTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Log, LogWatch, Peer, TestModule}
  alias Tidepool.Log.Budget

  # The next line about a function: its text, and its metadata as documented.
  defp logged(name) do
    assert_receive {:logged, ^name, level, text, metadata}
    check(level, text, metadata)
  end

  defp check(level, text, %{tidepool_event: event} = metadata) do
    assert {^level, keys} = Log.events()[event]
    own = for {key, value} <- metadata, String.starts_with?("#{key}", "tidepool_"), into: %{}, do: {key, value}
    assert Map.keys(own) -- [:tidepool_event | keys] == []
    refute text =~ "\n"
    {text, own}
  end

  defp silent(name) do
    # Lines come in order, so nothing was between this one and those before it.
    Log.deployed(struct!(Tidepool.Function, marker(name)), 0, :elixir)
    assert {_text, %{tidepool_abi: :marker}} = logged(name)
  end

  defp marker(name) do
    %{
      name: name,
      version: 0,
      sha256: "",
      size: 0,
      abi: :marker,
      imports: [],
      operation: "",
      instances: :fresh,
      limits: %{}
    }
  end

  defp watched(stem) do
    name = unique_name(stem)
    on_exit(fn -> Tidepool.remove(name) end)
    LogWatch.watch(name)
    name
  end

  test "a deploy and a removal are a line each, with who asked, and a deploy that changes nothing is none" do
    name = watched("changes")
    wasm = guest("rust", "hello_world")
    {:ok, function} = Tidepool.deploy(wasm, name: name)
    {text, metadata} = logged(name)
    assert text =~ "#{name}: version 1 deployed by Elixir code"

    assert %{tidepool_event: :deployed, tidepool_version: 1, tidepool_abi: :wapc, tidepool_tier: tier} = metadata
    assert %{tidepool_by: :elixir, tidepool_size: size, tidepool_ms: ms} = metadata
    assert {tier, size} == {function.tier, byte_size(wasm)}
    assert is_integer(ms) and ms >= 0
    refute Map.has_key?(metadata, :tidepool_peer)

    {:ok, _function} = Tidepool.deploy(wasm, name: name)
    silent(name)
    :ok = Tidepool.remove(name)
    {text, metadata} = logged(name)
    assert text == "#{name}: version 1 removed by Elixir code"
    assert %{tidepool_event: :removed, tidepool_version: 1, tidepool_by: :elixir} = metadata
  end

  test "a change over HTTP is logged with the client's address" do
    name = watched("changes")
    assert {201, _headers, _function} = curl_deploy(guest("rust", "hello_world"), name: name)
    assert {_text, %{tidepool_by: :no_token, tidepool_peer: "127.0.0.1:" <> port}} = logged(name)
    assert String.to_integer(port) in 1..65_535
    assert {200, _headers, _removed} = curl("/functions/#{name}", ["-X", "DELETE"])
    assert {text, %{tidepool_by: :no_token, tidepool_peer: "127.0.0.1:" <> port}} = logged(name)
    assert text == "#{name}: version 1 removed without a token from 127.0.0.1:#{port}"
  end

  test "a refused deploy is a warning with its step and reason, whoever asks" do
    # Refusals of a node share their budget.
    peer = Peer.start!(server: true)
    Peer.call(peer, LogWatch, :collect, [])
    url = Peer.url(peer, "/deploy")
    assert {:error, %Error{reason: :not_wasm}} = Peer.call(peer, Tidepool, :deploy, ["no module", [name: "f"]])
    assert {422, _headers, _error} = curl_deploy_url(url, "no module", name: "f")
    assert {400, _headers, _error} = curl_deploy_url(url, "no module", name: "f", limits: ~s({"memory": 1}))
    assert {400, _headers, _error} = curl_deploy_url(url, "no module", name: "a\e[2Jb")

    assert [by_elixir, by_client, wrong_field, wrong_name] = events(peer, 4)
    assert {text, %{tidepool_event: :refused, tidepool_step: :compile, tidepool_reason: "not_wasm"}} = by_elixir
    assert text =~ "f: refused by Elixir code at the step compile (not_wasm)"
    assert {_text, %{tidepool_by: :no_token, tidepool_peer: "127.0.0.1:" <> _port}} = by_client
    assert {text, %{tidepool_reason: "invalid_option", tidepool_step: :options, tidepool_function: "f"}} = wrong_field
    assert text =~ "limits.memory"
    assert {text, %{tidepool_reason: "invalid_option"}} = wrong_name
    refute text =~ "\e"
  end

  # The first lines of a peer that have an event.
  defp events(peer, count) do
    events =
      eventually(fn ->
        all = Peer.call(peer, LogWatch, :collected_events, [])
        events = Enum.filter(all, fn {_level, _text, metadata} -> metadata[:tidepool_event] end)
        length(events) == count && events
      end)

    for {level, text, metadata} <- events, do: check(level, text, metadata)
  end

  test "a node with a token logs who has it and who has not, and never the token" do
    peer = Peer.start!(server: true, token: "s3cret-token")
    Peer.call(peer, Logger, :put_module_level, [Log, :info])
    Peer.call(peer, LogWatch, :collect, [])
    {wasm, url} = {guest("rust", "hello_world"), Peer.url(peer, "/deploy")}
    token = ["-H", "authorization: Bearer s3cret-token"]

    assert {401, _headers, _error} =
             curl_deploy_url(url, wasm, [name: "f"], ["-H", "authorization: Bearer wrong-token"])

    assert {401, _headers, _error} = curl_url(Peer.url(peer, "/functions/f%0A"), ["-X", "DELETE"])
    assert {401, _headers, _error} = curl_url(Peer.url(peer, "/functions/f/wasm"))
    assert {201, _headers, _function} = curl_deploy_url(url, wasm, [name: "f"], token)

    events = events(peer, 4)
    texts = for {text, _metadata} <- events, do: text
    {refused, [deployed]} = Enum.split_with(texts, &(&1 =~ "refused"))
    assert [removal, module, deploy] = Enum.sort(refused)
    assert deploy =~ ~r"\APOST /deploy from 127\.0\.0\.1:\d+ was refused \(unauthorized\)\z"
    assert module =~ "GET /functions/f/wasm from"
    assert removal =~ "DELETE /functions/f%0A from"
    assert deployed =~ "with the token from 127.0.0.1:"
    refute inspect(events, limit: :infinity, printable_limit: :infinity) =~ ~r/s3cret-token|wrong-token/
  end

  test "a call that traps is logged once, with version, operation and kind, however it was made" do
    name = watched("trapping")
    {:ok, _function} = Tidepool.deploy(guest("wat", "trap_unreachable"), name: name)
    {:ok, _function} = Tidepool.deploy(guest("wat", "trap_divide_by_zero"), name: name)
    for _version <- 1..2, do: assert({_text, %{tidepool_event: :deployed}} = logged(name))

    calls = [
      fn -> Tidepool.call(name, "add", "a payload") end,
      fn -> curl("/call/#{name}/add", ["-d", "a payload"]) end,
      fn -> Task.await(Task.async(fn -> Tidepool.call(name, "add", "a payload", timeout: 5_000) end), 60_000) end
    ]

    for call <- calls do
      call.()
      assert {text, %{tidepool_event: :failed} = metadata} = logged(name)
      assert %{tidepool_version: 2, tidepool_operation: "add"} = metadata
      assert %{tidepool_reason: "trap", tidepool_kind: "integer_division_by_zero"} = metadata
      assert text =~ "#{name}: version 2 failed in add (trap integer_division_by_zero)"
      refute text =~ "a payload"
      silent(name)
    end
  end

  test "calls over a limit are logged, and those that succeed or whose guest says that they failed are not" do
    name = watched("limited")
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name, limits: [payload: 10, time: 60_000])
    assert {_text, %{tidepool_event: :deployed}} = logged(name)
    assert {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    assert {200, _headers, _reply} = curl("/call/#{name}/hello")
    assert {:error, %Error{reason: :guest_error}} = Tidepool.call(name, "fail")
    assert {422, _headers, _error} = curl("/call/#{name}/fail")
    silent(name)
    assert {:error, %Error{reason: {:limit, :payload}}} = Tidepool.call(name, "hello", "more than ten bytes")
    assert {_text, %{tidepool_reason: "limit", tidepool_kind: "payload"}} = logged(name)
    assert {413, _headers, _error} = curl("/call/#{name}/hello", ["-d", "more than ten bytes"])
    assert {_text, %{tidepool_reason: "limit", tidepool_kind: "payload"}} = logged(name)
    assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, "hello", "", timeout: 0)
    assert {_text, %{tidepool_reason: "timeout"}} = logged(name)
  end

  test "an operation can't look like a line of the log, nor fill it" do
    name = watched("operation")
    {:ok, _function} = Tidepool.deploy(guest("wat", "trap_unreachable"), name: name)
    assert {_text, %{tidepool_event: :deployed}} = logged(name)

    for operation <- ["a\n[error] all is lost", "\e[2J", <<255, 0>>, String.duplicate("x", 100_000)] do
      Tidepool.call(name, operation)
      assert {text, %{tidepool_operation: told}} = logged(name)
      assert byte_size(text) < 3_000
      for text <- [text, told], do: assert(String.valid?(text) and not (text =~ ~r/[\x00-\x1f]/))
    end
  end

  test "of a function that keeps failing there are a few lines, and the next one counts the others" do
    name = watched("failing")
    other = watched("failing")
    for name <- [name, other], do: {:ok, _function} = Tidepool.deploy(guest("wat", "trap_unreachable"), name: name)
    for name <- [name, other], do: assert({_text, %{tidepool_event: :deployed}} = logged(name))
    for _call <- 1..500, do: assert({:error, _error} = Tidepool.call(name, "x"))
    Tidepool.call(other, "x")
    # A function's lines are its own.
    assert {_text, %{tidepool_event: :failed}} = logged(other)
    {lines, left_out} = failures(name, 0, 0)
    {most, _window_ms} = Budget.limits()
    assert lines >= most and lines < 400
    # The last ones are still to be told.
    assert lines + left_out <= 500
  end

  defp failures(name, lines, left_out) do
    receive do
      {:logged, ^name, _level, _text, metadata} ->
        failures(name, lines + 1, left_out + Map.get(metadata, :tidepool_left_out, 0))
    after
      0 -> {lines, left_out}
    end
  end

  test "a key has so many lines in a window, then counts, and tells the count with the first line of the next" do
    key = make_ref()
    {lines, window_ms} = Budget.limits()
    for _line <- 1..lines, do: assert(Budget.take(key, 0) == {:ok, 0})
    for _left_out <- 1..7, do: assert(Budget.take(key, window_ms - 1) == :left_out)
    assert Budget.take(make_ref(), 0) == {:ok, 0}
    assert Budget.take(key, window_ms) == {:ok, 7}
    assert Budget.take(key, window_ms) == {:ok, 0}
    :ok = Budget.drop(key)
    assert Budget.take(key, window_ms) == {:ok, 0}
  end

  test "processes that take from one key at once lose no count" do
    key = make_ref()
    takes = fn -> Enum.map(1..1_000, fn _take -> Budget.take(key, 0) end) end
    taken = 1..8 |> Enum.map(fn _process -> Task.async(takes) end) |> Enum.flat_map(&Task.await(&1, 60_000))
    {lines, window_ms} = Budget.limits()
    assert Enum.count(taken, &(&1 == {:ok, 0})) == lines
    assert Budget.take(key, window_ms) == {:ok, 8_000 - lines}
  end

  test "a change that another node has made is logged with that node" do
    cookie = Peer.cookie()
    names = for index <- 1..2, do: Peer.name("n#{index}")
    settings = [cluster: true, discovery_interval: 100, seeds: names]
    [a, b] = for name <- names, do: Peer.start!(settings, name: name, cookie: cookie)
    Peer.call(b, Logger, :put_module_level, [Log, :info])
    Peer.call(b, LogWatch, :collect, [])
    eventually(fn -> length(Peer.call(b, Tidepool.Cluster, :status, []).nodes) == 2 end, 20_000)
    wasm = TestModule.variant(guest("rust", "hello_world"), "elsewhere")
    {:ok, _function} = Peer.call(a, Tidepool, :deploy, [wasm, [name: "f"]])
    node = to_string(a.node)

    deployed = received(b, :deployed)
    assert {text, %{tidepool_function: "f", tidepool_version: 1, tidepool_peer: ^node}} = deployed
    assert {_text, %{tidepool_by: :cluster, tidepool_admitted: _admitted}} = deployed
    assert text =~ "f: version 1 deployed on #{node}"
    :ok = Peer.call(a, Tidepool, :remove, ["f"])
    assert {_text, %{tidepool_by: :cluster, tidepool_peer: ^node}} = received(b, :removed)
  end

  defp received(peer, event) do
    eventually(
      fn ->
        Enum.find_value(Peer.call(peer, LogWatch, :collected_events, []), fn {level, text, metadata} ->
          if metadata[:tidepool_event] == event, do: check(level, text, metadata)
        end)
      end,
      20_000
    )
  end
end
