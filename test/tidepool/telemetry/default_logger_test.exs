defmodule Tidepool.DefaultLoggerTest do
  # On a node of its own: whether anybody listens is the node's.
  use Tidepool.Case, async: true

  alias Tidepool.{LogWatch, Native, Peer, Telemetry, Testing}
  alias Tidepool.Telemetry.DefaultLogger

  setup_all do
    peer = Peer.start!()
    :ok = Peer.call(peer, :logger, :set_primary_config, [:level, :debug])
    :ok = Peer.call(peer, LogWatch, :collect, [])
    %{peer: peer}
  end

  setup %{peer: peer} do
    on_exit(fn -> Peer.call(peer, Telemetry, :detach_default_logger, []) end)
    %{seen: length(Peer.call(peer, LogWatch, :collected, []))}
  end

  defp attach!(peer, options), do: :ok = Peer.call(peer, Telemetry, :attach_default_logger, [options])
  defp deploy_on!(peer, guest, options), do: Peer.call(peer, Tidepool, :deploy!, [Testing.guest(guest), options])

  defp entries(%{peer: peer, seen: seen}) do
    for {level, "{\"" <> _rest = text} <- Enum.drop(Peer.call(peer, LogWatch, :collected, []), seen) do
      {:ok, entry} = Native.json_decode(text)
      {level, entry}
    end
  end

  test "what ends is logged as a line of JSON, with what it took and no payload", %{peer: peer} = context do
    attach!(peer, level: :notice)
    deploy_on!(peer, :host, name: "host")
    Peer.call(peer, Tidepool, :call, ["host", "secret/name/space", "the payload"])
    Peer.call(peer, Tidepool, :call, [deploy_on!(peer, :echo, name: "echo").name, nil, "the payload"])

    events = for {:notice, entry} <- entries(context), do: {entry["event"], entry}
    names = for {name, _entry} <- events, do: name

    assert names == ~w(compile:stop deploy:stop host_call:stop call:exception compile:stop deploy:stop call:stop)

    assert {_name, %{"function" => "host", "version" => 1, "change" => "created", "module_bytes" => bytes}} =
             List.keyfind(events, "deploy:stop", 0)

    assert bytes == byte_size(Testing.guest(:host))

    assert {_name, %{"function" => "host", "operation" => "secret/name/space", "reason" => "guest_error", "depth" => 1}} =
             List.keyfind(events, "call:exception", 0)

    assert {_name, %{"binding" => "secret", "namespace" => "name", "result" => "error"}} =
             List.keyfind(events, "host_call:stop", 0)

    {_name, stopped} = List.last(events)
    assert %{"source" => "tidepool", "function" => "echo", "operation" => nil} = stopped
    assert %{"payload_bytes" => 11, "reply_bytes" => 11, "peak_memory_bytes" => 65_536, "queue_time_us" => 0} = stopped
    assert stopped["cpu_time_us"] <= stopped["duration_us"]
    refute inspect(events) =~ "the payload"
    refute inspect(events) =~ "no host function"
  end

  test "a trap and a limit are said by name", %{peer: peer} = context do
    attach!(peer, events: [:call])
    deploy_on!(peer, :trap, name: "trap")
    deploy_on!(peer, :loop, name: "loop", limits: [cpu_time: 5])
    for name <- ["trap", "loop", "nobody"], do: Peer.call(peer, Tidepool, :call, [name, nil])

    assert [
             {:info, %{"function" => "trap", "reason" => "trap", "trap" => "unreachable"}},
             {:info, %{"function" => "loop", "reason" => "limit", "limit" => "cpu_time"}},
             {:info, %{"function" => "nobody", "reason" => "not_deployed"}}
           ] = entries(context)
  end

  test "only the events that are asked for are logged, at the level alone that is given", %{peer: peer} = context do
    attach!(peer, :debug)
    name = deploy_on!(peer, :echo, name: "level").name
    assert [{:debug, %{"event" => "compile:stop"}}, {:debug, %{"event" => "deploy:stop"}}] = entries(context)
    assert {:error, :already_exists} = Peer.call(peer, Telemetry, :attach_default_logger, [[]])
    :ok = Peer.call(peer, Telemetry, :detach_default_logger, [])
    assert {:error, :not_found} = Peer.call(peer, Telemetry, :detach_default_logger, [])

    attach!(peer, events: [:deploy])
    Peer.call(peer, Tidepool, :call, [name, nil])
    assert length(entries(context)) == 2
    refute Peer.call(peer, Tidepool, :remove, [name]) != :ok
  end

  test "without encoding an entry is a report", %{peer: peer, seen: seen} do
    attach!(peer, encode: false, events: [:call])
    name = deploy_on!(peer, :echo, name: "report").name
    Peer.call(peer, Tidepool, :call, [name, "an operation"])

    logged =
      for {:info, text} <- Enum.drop(Peer.call(peer, LogWatch, :collected, []), seen), text =~ "call:stop", do: text

    assert [text] = logged
    assert text =~ ~s|operation: "an operation"|
    assert text =~ ~s|source: "tidepool"|
  end

  test "names that are no text are logged readable, and break no line", %{peer: peer} = context do
    attach!(peer, events: [:call])
    name = deploy_on!(peer, :echo, name: "names").name
    for operation <- [<<255, 254>>, "two\nlines"], do: Peer.call(peer, Tidepool, :call, [name, operation])
    assert [{:info, %{"operation" => "<<255, 254>>"}}, {:info, %{"operation" => "two\nlines"}}] = entries(context)
  end

  test "groups of events that are none, or no list, are refused, and nothing is attached", %{peer: peer} do
    for events <- [[], [:nothing], [:call, :nothing], :call, "call", nil, [:call | :deploy]] do
      assert_raise ArgumentError, ~r/:events/, fn ->
        Peer.call(peer, Telemetry, :attach_default_logger, [[events: events]])
      end

      assert Peer.call(peer, Telemetry, :detach_default_logger, []) == {:error, :not_found}
    end
  end

  test "the documentation has every option, and every group of events" do
    {:docs_v1, _line, _language, _format, _doc, _metadata, functions} = Code.fetch_docs(Telemetry)

    {_key, _line, _signature, %{"en" => text}, _metadata} =
      List.keyfind(functions, {:function, :attach_default_logger, 1}, 0)

    for key <- Keyword.keys(DefaultLogger.schema()), do: assert(text =~ "\n- `:#{key}`: ")
    for [:tidepool, group, _suffix] <- Telemetry.events(), do: assert(text =~ "`:#{group}`")
  end
end
