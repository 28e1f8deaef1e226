defmodule Tidepool.TelemetryTest do
  # On a node of its own: whether anybody listens is the node's.
  use Tidepool.Case, async: true

  alias Tidepool.{Engine, Error, EventLog, Host, Latch, Peer, Telemetry}

  @page 65_536

  setup_all do
    peer = Peer.start!(server: true, max_instances: 2)
    {:ok, latch} = Peer.call(peer, Latch, :start, [[name: Latch]])
    :ok = Peer.call(peer, Host, :register, [{"host", "latch", :_}, latch])
    {:ok, _log} = Peer.call(peer, EventLog, :start, [])
    Peer.deploy!(peer, "rust", "hello_world")
    %{peer: peer, latch: latch}
  end

  setup %{peer: peer} do
    :ok = Peer.call(peer, EventLog, :attach, [Telemetry])
    on_exit(fn -> Peer.call(peer, Telemetry, :detach, [EventLog]) end)
    take(peer)
    :ok
  end

  defp take(peer), do: Peer.call(peer, EventLog, :take, [])
  defp call(peer, arguments), do: Peer.call(peer, Tidepool, :call, arguments)
  defp names(events), do: for({[:tidepool | name], _measurements, _metadata} <- events, do: name)

  test "a call that is answered has a start and a stop with what it took", %{peer: peer} do
    assert call(peer, ["hello_world", "hello", "Ada"]) == {:ok, "Hello, Ada!"}
    assert [{[:tidepool, :call, :start], started, context}, {[:tidepool, :call, :stop], stopped, context}] = take(peer)

    assert %{function: "hello_world", operation: "hello", depth: 1, telemetry_span_context: span} = context
    assert is_reference(span)
    assert %{payload_bytes: 3, system_time: _, monotonic_time: began} = started
    assert %{payload_bytes: 3, reply_bytes: 11, queue_time: 0, monotonic_time: ended} = stopped
    assert stopped.duration == ended - began
    assert stopped.cpu_time in 1..stopped.duration
    assert stopped.peak_memory_bytes >= @page and rem(stopped.peak_memory_bytes, @page) == 0
  end

  test "the CPU time of a call is that of all its slices, and its host calls are not in it", context do
    %{peer: peer, latch: latch} = context
    parked = Peer.async(peer, Tidepool, :call, ["hello_world", "host", "host/latch/park\n"])
    Peer.call(peer, Latch, :await, [latch, 1])
    # So much passes in the host call.
    Peer.call(peer, :timer, :sleep, [50])
    Peer.call(peer, Latch, :release, [latch])
    Task.await(parked, 60_000)
    assert {[:tidepool, :call, :stop], waited, _metadata} = List.last(take(peer))
    fifty_ms = System.convert_time_unit(50, :millisecond, :native)
    assert waited.duration >= fifty_ms
    assert waited.cpu_time < waited.duration - fifty_ms

    Peer.deploy!(peer, "wat", "loop", limits: [cpu_time: 20])
    take(peer)
    assert {:error, %Error{reason: {:limit, :cpu_time}}} = call(peer, ["loop", "x"])
    assert {[:tidepool, :call, :exception], looped, _metadata} = List.last(take(peer))
    assert looped.cpu_time >= System.convert_time_unit(20, :millisecond, :native)
  end

  test "a call that fails ends with an exception and the error's reason", %{peer: peer} do
    Peer.deploy!(peer, "wat", "trap_unreachable")
    take(peer)

    for {arguments, reason} <- [
          {["hello_world", "fail", "on purpose"], :guest_error},
          {["trap_unreachable", "x"], {:trap, :unreachable}},
          {["nobody", "x"], :not_deployed}
        ] do
      assert {:error, %Error{reason: ^reason}} = call(peer, arguments)
      assert [[:call, :start], [:call, :exception]] = names(events = take(peer))
      assert {_event, measurements, metadata} = List.last(events)
      assert %{kind: :error, reason: ^reason, stacktrace: [], function: function} = metadata
      assert function == hd(arguments)
      assert %{duration: _, cpu_time: _, queue_time: 0, peak_memory_bytes: _} = measurements
      refute Map.has_key?(measurements, :reply_bytes)
    end
  end

  test "the memory that a call has grown is in its stop, whichever way the guest runs", %{peer: peer} do
    Peer.deploy!(peer, "c", "upper", limits: [memory: 64 * 1_048_576])
    Peer.deploy!(peer, "rust", "hello_world", name: "warm", instances: {:warm, 1})
    take(peer)

    for function <- ["hello_world", "warm", "upper"] do
      [small, large] =
        for size <- [1, 4_000_000] do
          assert {:ok, _reply} = call(peer, [function, "echo", :binary.copy("a", size)])
          {[:tidepool, :call, :stop], measurements, _metadata} = List.last(take(peer))
          measurements.peak_memory_bytes
        end

      assert small >= @page
      assert large >= 4_000_000
    end

    :ok = Peer.call(peer, Tidepool, :remove, ["warm"])
  end

  test "a host call has a start and a stop, between those of its call, with the handler's kind of answer", context do
    %{peer: peer, latch: latch} = context
    refused = Peer.async(peer, Tidepool, :call, ["hello_world", "host", "host/latch/x\nabc"])
    Peer.call(peer, Latch, :await, [latch, 1])
    Peer.call(peer, Latch, :release, [latch, {:error, "refused"}])
    assert {:error, %Error{reason: :guest_error}} = Task.await(refused, 60_000)

    assert [[:call, :start], [:host_call, :start], [:host_call, :stop], [:call, :exception]] =
             names(events = take(peer))

    assert [{_, started, metadata}, {_, stopped, later}] = Enum.slice(events, 1, 2)
    assert %{function: "hello_world", binding: "host", namespace: "latch", operation: "x"} = metadata
    assert later == Map.put(metadata, :result, :error)
    assert stopped.payload_bytes == started.payload_bytes
    assert %{duration: _, reply_bytes: 7} = stopped
  end

  test "a host call that is not answered in time has a stop that says so", %{peer: peer, latch: latch} do
    arguments = ["hello_world", "host", "host/latch/x\n", [timeout: 1_000]]

    # On a busy machine its time may be over before the host is called.
    events =
      eventually(fn ->
        assert {:error, %Error{reason: :timeout}} = call(peer, arguments)
        events = take(peer)
        assert names(events) == [[:call, :start], [:host_call, :start], [:host_call, :stop], [:call, :exception]]
        events
      end)

    assert {_, %{reply_bytes: 0}, %{result: :timeout}} = Enum.at(events, 2)
    # It would be taken for the next test's.
    assert Peer.call(peer, Latch, :release, [latch]) == 1
  end

  test "a call that waited for an instance has a queue event, and its queue time is that wait", context do
    %{peer: peer, latch: latch} = context
    eventually(fn -> Peer.call(peer, Engine, :instances, []).live == 0 end)
    running = for _ <- 1..2, do: Peer.async(peer, Tidepool, :call, ["hello_world", "host", "host/latch/park\n"])
    Peer.call(peer, Latch, :await, [latch, 2])
    waiting = Peer.async(peer, Tidepool, :call, ["hello_world", "hello", "Ada"])
    eventually(fn -> Peer.call(peer, Engine, :instances, []).queued == 1 end)
    gives_up = Peer.async(peer, Tidepool, :call, ["hello_world", "hello", "Ada", [timeout: 1_000]])
    assert {:error, %Error{reason: :overloaded}} = Task.await(gives_up, 60_000)
    Peer.call(peer, Latch, :release, [latch])
    assert Task.await(waiting, 60_000) == {:ok, "Hello, Ada!"}
    Task.await_many(running, 60_000)

    events = take(peer)

    assert [{refused, %{admitted: false} = late}, {waited, %{admitted: true} = served}] =
             for({[:tidepool, :queue, :stop], %{duration: duration}, metadata} <- events, do: {duration, metadata})

    assert refused >= System.convert_time_unit(20, :millisecond, :native)

    for {metadata, duration} <- [{late, refused}, {served, waited}] do
      assert [^duration] =
               for(
                 {[:tidepool, :call, ending], %{queue_time: time}, %{telemetry_span_context: span}} <- events,
                 ending in [:stop, :exception],
                 span == metadata.telemetry_span_context,
                 do: time
               )
    end
  end

  test "a deploy has a start and a stop around those of its compile; one that is refused an exception", context do
    %{peer: peer} = context
    name = unique_name("deployed")
    wasm = guest("wat", "returns_1_silent")
    {:ok, function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: name]])
    assert [[:deploy, :start], [:compile, :start], [:compile, :stop], [:deploy, :stop]] = names(events = take(peer))
    assert [_, _, {_, %{module_bytes: bytes}, %{abi: :wapc}}, {_, measurements, metadata}] = events
    assert %{duration: _, module_bytes: ^bytes} = measurements
    assert bytes == byte_size(wasm)
    assert %{function: ^name, change: :created, version: version} = metadata
    assert version == function.version

    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: name]])
    assert [_start, {[:tidepool, :deploy, :stop], _measurements, %{change: :unchanged}}] = take(peer)

    {:error, %Error{reason: :not_wasm}} = Peer.call(peer, Tidepool, :deploy, ["no module", [name: name]])
    assert [_, _, {_, _, compiled}, {[:tidepool, :deploy, :exception], _, deployed}] = take(peer)
    assert %{kind: :error, reason: :not_wasm} = compiled
    assert %{kind: :error, reason: :not_wasm, step: :compile, function: ^name} = deployed
  end

  test "a call over HTTP has the same events", %{peer: peer} do
    assert {200, _headers, "Hello, Ada!"} =
             curl_url(Peer.url(peer, "/call/hello_world/hello"), ["--data-binary", "Ada"])

    assert [_start, {[:tidepool, :call, :stop], %{reply_bytes: 11}, %{operation: "hello"}}] = take(peer)
  end

  test "when the last handler is detached nobody is told, and nobody listens", %{peer: peer} do
    assert Peer.call(peer, Telemetry, :listening?, [])
    assert Peer.call(peer, Telemetry, :detach, [EventLog]) == :ok
    refute Peer.call(peer, Telemetry, :listening?, [])
    assert call(peer, ["hello_world", "hello"]) == {:ok, "Hello, world!"}
    assert take(peer) == []
    assert Peer.call(peer, Telemetry, :detach, [EventLog]) == {:error, :not_found}
  end

  test "a handler that raises is detached, and the call and other handlers don't notice", %{peer: peer} do
    arguments = ["fails", [[:tidepool, :call, :stop]], &EventLog.fail/4]
    assert Peer.call(peer, Telemetry, :attach, arguments) == :ok
    assert Peer.call(peer, Telemetry, :attach, arguments) == {:error, :already_exists}
    assert call(peer, ["hello_world", "hello"]) == {:ok, "Hello, world!"}
    assert names(take(peer)) == [[:call, :start], [:call, :stop]]
    assert Peer.call(peer, Telemetry, :detach, ["fails"]) == {:error, :not_found}
  end

  test "an event that there is not can't be listened to", %{peer: peer} do
    arguments = ["unknown", [[:tidepool, :call, :stopped]], &EventLog.record/4]
    assert_raise ArgumentError, fn -> Peer.call(peer, Telemetry, :attach, arguments) end
  end

  test "every event is in the documentation's table, and no other" do
    {:docs_v1, _, :elixir, _, %{"en" => text}, _, _} = Code.fetch_docs(Telemetry)
    documented = for [_, event] <- Regex.scan(~r/^\| `(\[:tidepool[^`]*)` \|/m, text), do: event
    assert documented == Enum.map(Telemetry.events(), &inspect/1)
  end

  describe "in an application with :telemetry" do
    # Its packages are not at hand: a stand-in with the same functions is compiled into a folder of the node's code path.
    setup do
      # Not the folder itself: to the code server its name would be a version of Tidepool.
      folder = Path.join(tmp_folder!(), "telemetry")
      File.mkdir!(folder)

      source = """
      defmodule :telemetry do
        def attach_many(id, events, function, config) do
          if :persistent_term.get(:stopped, false), do: raise(ArgumentError, "it is not started")

          if Enum.any?(list_handlers([]), &(&1.id == id)) do
            {:error, :already_exists}
          else
            put(list_handlers([]) ++ for(event <- events, do: %{id: id, event_name: event, function: function, config: config}))
          end
        end

        def detach(id) do
          {found, others} = Enum.split_with(list_handlers([]), &(&1.id == id))
          put(others)
          if found == [], do: {:error, :not_found}, else: :ok
        end

        def list_handlers(prefix) do
          :telemetry |> :persistent_term.get([]) |> Enum.filter(&List.starts_with?(&1.event_name, prefix))
        end

        def execute(event, measurements, metadata) do
          for handler <- list_handlers(event), do: handler.function.(event, measurements, metadata, handler.config)
          :ok
        end

        defp put(handlers), do: :persistent_term.put(:telemetry, handlers)
      end
      """

      path = Path.join(folder, "telemetry.ex")
      File.write!(path, source)
      {_output, 0} = System.cmd("elixirc", ["-o", folder, path])
      peer = Peer.start!([], args: [~c"-pa", String.to_charlist(folder)])
      {:ok, _log} = Peer.call(peer, EventLog, :start, [])
      Peer.deploy!(peer, "rust", "hello_world")
      %{peer: peer}
    end

    test "handlers attached there are noticed, get the events, and are missed when they are gone", %{peer: peer} do
      refute Peer.call(peer, Telemetry, :listening?, [])
      :ok = Peer.call(peer, EventLog, :attach, [:telemetry])
      eventually(fn -> Peer.call(peer, Telemetry, :listening?, []) end)
      assert call(peer, ["hello_world", "hello", "Ada"]) == {:ok, "Hello, Ada!"}
      assert names(take(peer)) == [[:call, :start], [:call, :stop]]
      :ok = Peer.call(peer, :telemetry, :detach, [EventLog])
      eventually(fn -> not Peer.call(peer, Telemetry, :listening?, []) end)
    end

    test "handlers attached with Tidepool.Telemetry are :telemetry's, and noticed at once", %{peer: peer} do
      :ok = Peer.call(peer, EventLog, :attach, [Telemetry])
      assert Peer.call(peer, Telemetry, :listening?, [])
      assert [_ | _] = Peer.call(peer, :telemetry, :list_handlers, [[:tidepool]])
      assert Peer.call(peer, Telemetry, :detach, [EventLog]) == :ok
      refute Peer.call(peer, Telemetry, :listening?, [])
    end

    test "what :telemetry raises is the caller's, and the node goes on", %{peer: peer} do
      before = Peer.call(peer, Process, :whereis, [Tidepool.Catalog])
      Peer.call(peer, :persistent_term, :put, [:stopped, true])
      assert %ArgumentError{} = catch_error(Peer.call(peer, EventLog, :attach, [Telemetry]))
      Peer.call(peer, :persistent_term, :put, [:stopped, false])
      assert Peer.call(peer, EventLog, :attach, [Telemetry]) == :ok
      assert Peer.call(peer, Process, :whereis, [Tidepool.Catalog]) == before
    end
  end
end
