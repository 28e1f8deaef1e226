defmodule Tidepool.TierTest do
  # On nodes of its own: from which size modules are compiled twice is the node's.
  use Tidepool.Case, async: true

  alias Tidepool.{EventLog, Peer, Telemetry}

  defp fetch!(peer, name) do
    {:ok, function} = Peer.call(peer, Tidepool, :fetch, [name])
    function
  end

  defp optimised!(peer, name) do
    eventually(fn -> fetch!(peer, name).tier == :optimised end, 60_000)
    fetch!(peer, name)
  end

  defp call(peer, name), do: Peer.call(peer, Tidepool, :call, [name, "hello", "Ada"])

  test "a large module is served by the baseline first and by optimised code later, and no call fails or sees another version" do
    peer = Peer.start!(server: true)
    wasm = guest("go", "hello_world")
    deploy = fn options -> Peer.call(peer, Tidepool, :deploy, [wasm, [name: "large"] ++ options]) end
    {:ok, deployed} = deploy.([])
    assert %{tier: :baseline, version: 1, start: :snapshot} = deployed
    assert {200, _headers, %{"tier" => "baseline"}} = curl_url(Peer.url(peer, "/functions/large"))

    callers =
      for _caller <- 1..3 do
        Task.async(fn -> call_until_optimised(peer, 0) end)
      end

    assert Enum.sum(Task.await_many(callers, 300_000)) > 0
    # The same but for its code.
    assert optimised!(peer, "large") == %{deployed | tier: :optimised}
    assert {200, _headers, %{"tier" => "optimised", "version" => 1}} = curl_url(Peer.url(peer, "/functions/large"))
    assert {:ok, %{version: 1, tier: :optimised}} = deploy.([])

    # Started anew it has the optimised code from the disk.
    compiled = Path.join([Peer.folder(peer), "compiled", "*-*"])
    eventually(fn -> match?([_file], Path.wildcard(compiled)) end, 30_000)
    :ok = Peer.stop_application(peer)
    {:ok, _started} = Peer.start_application(peer)
    assert %{tier: :optimised, version: 1} = fetch!(peer, "large")
    assert call(peer, "large") == {:ok, "Hello, Ada!"}
  end

  defp call_until_optimised(peer, calls) do
    assert call(peer, "large") == {:ok, "Hello, Ada!"}
    if fetch!(peer, "large").tier == :optimised, do: calls, else: call_until_optimised(peer, calls + 1)
  end

  test "listeners are told which compiler was asked, and when the other one is done" do
    peer = Peer.start!(baseline: 1)
    {:ok, _log} = Peer.call(peer, EventLog, :start, [])
    :ok = Peer.call(peer, EventLog, :attach, [Telemetry])
    Peer.deploy!(peer, "rust", "hello_world")

    events =
      eventually(fn ->
        send(self(), {:events, Peer.call(peer, EventLog, :take, [])})
        Enum.any?(received(), &match?({[:tidepool, :optimise, _suffix], _measurements, _metadata}, &1)) && received()
      end)

    assert [%{tier: :baseline, cached: false}] =
             for({[:tidepool, :compile, :stop], _m, metadata} <- events, do: metadata)

    assert [{measurements, metadata}] = for({[:tidepool, :optimise, :stop], m, metadata} <- events, do: {m, metadata})
    assert metadata == %{function: "hello_world", version: 1}
    assert %{duration: duration, monotonic_time: _time} = measurements
    assert duration > 0
    assert Peer.call(peer, Tidepool, :fetch, ["hello_world"]) |> elem(1) |> Map.fetch!(:tier) == :optimised
  end

  # All events so far, which stay in the mailbox.
  defp received do
    {:messages, messages} = Process.info(self(), :messages)
    for {:events, events} <- messages, event <- events, do: event
  end

  test "with the setting 0 a large module is compiled once" do
    peer = Peer.start!(baseline: 0)

    assert {:ok, %{tier: :optimised}} =
             Peer.call(peer, Tidepool, :deploy, [guest("go", "hello_world"), [name: "large"]])
  end
end
