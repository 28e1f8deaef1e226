defmodule Tidepool.FaultNative do
  @moduledoc """
  A native runtime of the test's own, apart from the node's, and functions on it: for tests that use the NIFs the way
  that nobody should.
  """

  alias Tidepool.Native

  @settings %{
    max_instances: 4,
    max_dense_instances: 4,
    max_dense_memory_bytes: 67_108_864,
    max_queue: 2,
    max_memory_bytes: 67_108_864,
    max_table_elements: 65_536,
    stack_bytes: 524_288,
    console_lines_per_s: 10,
    perf_map: false,
    io_threads: 1,
    compile_threads: 1,
    compiler: Application.app_dir(:tidepool, "priv/native/tidepool_compiler"),
    compile_time_ms: 10_000,
    compile_memory_bytes: 1_073_741_824,
    baseline_bytes: 0,
    max_total_memory_bytes: 1_073_741_824,
    max_code_bytes: 1_073_741_824,
    max_computing: 2,
    namespaces: [],
    net: ["*"],
    max_sockets: 64,
    max_program_sockets: 16,
    io: :tokio,
    max_program_files: 16,
    max_program_file_bytes: 65_536
  }

  @limits %{
    memory: 67_108_864,
    table: 65_536,
    time: 60_000,
    cpu_time: 30_000,
    payload: 8_388_608,
    reply: 8_388_608,
    depth: 64,
    instances: 1_000_000,
    queue: 1_000,
    total_memory: 17_592_186_044_416,
    client_idle: 86_400_000
  }

  @edge %{
    address: "127.0.0.1",
    port: 0,
    tls: nil,
    token: nil,
    tokens: [],
    closed_calls: false,
    trace_share: nil,
    hosts: [],
    proxies: [],
    max_upload_bytes: 65_536,
    sites: false,
    max_payload_bytes: 65_536,
    max_buffered_bytes: 1_073_741_824,
    form_overhead_bytes: 65_536,
    header_timeout_ms: 10_000,
    body_timeout_ms: 10_000,
    write_timeout_ms: 10_000,
    idle_timeout_ms: 10_000,
    lame_duck_ms: 10_000,
    max_connections: 10,
    max_requests: 10,
    max_uploads: 32,
    cores: 2,
    endpoints: []
  }

  @doc "Settings of a small runtime."
  def settings, do: @settings

  @doc "How a module is compiled."
  def compile_config, do: %{engine: :fast, snapshot: false, limits: @limits, was_deployed: false}

  @doc "A function's configuration."
  def config(name),
    do: %{
      name: name,
      version: 1,
      instances: :fresh,
      limits: @limits,
      host: ["*"],
      net: [],
      files: [],
      config: %{},
      keyvalue: [],
      keep_payloads: false
    }

  @doc "Settings of an edge on a port of its own."
  def edge, do: @edge

  @doc "An answer that has begun, to a request with a body in pieces on an edge of its own; and that body."
  def stream do
    row = %{
      handler: __MODULE__,
      method: "PUT",
      path: "/a",
      guarded: true,
      scope: "admin",
      selects: false,
      observes: false,
      query: false
    }

    row = Map.merge(row, %{headers: [], body: {:pieces, 10}, places: nil, deploys: false})
    {:ok, server, port} = Native.http_start(Tidepool.Engine.runtime(), %{@edge | endpoints: [row]}, [self()])
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, "PUT /a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n")
    queue = receive(do: ({:tidepool_http, queue} -> queue))
    1 = Native.http_unannounced(queue)
    {responder, {:resource, __MODULE__, %{body: {body, _id}}}, nil} = Native.http_take(queue)
    {:ok, stream, _id} = Native.http_stream(responder, 200, :text, [])
    # The edge lives as long as its term.
    Process.put({__MODULE__, :server}, {server, socket})
    {stream, body}
  end

  @doc "A small runtime: four instances, and two calls that may wait for one; `settings` say what is otherwise."
  def runtime(settings \\ %{}) do
    {:ok, runtime} = Native.start_runtime(Map.merge(@settings, settings))
    runtime
  end

  @doc "A built guest, compiled."
  def module(runtime, language, guest) do
    id = Native.compile(runtime, Tidepool.Case.guest(language, guest), compile_config())
    receive(do: ({:tidepool_compiled, ^id, {:ok, module, _facts}, _cpu_us} -> module))
  end

  @doc "Makes a built guest callable on `runtime` under its own name."
  def publish(runtime, language, guest) do
    {:ok, function} = Native.new_function(module(runtime, language, guest), config(guest))
    :ok = Native.publish(runtime, [{guest, guest, function}])
    function
  end

  @doc "Starts a call and drives it for a slice."
  def call(runtime, guest, payload \\ ""), do: Native.call(runtime, guest, nil, payload, 1, :infinity)

  @doc "Starts a call of the guest `parked`, which is published, and drives it until it waits for the host."
  def park(runtime) do
    {:host, task, {:wapc, "host", "test", "park", ""}, _us, _version} = settle(call(runtime, "parked"))
    task
  end

  @doc "What finds the lines of a guest that has trapped."
  def lines(runtime) do
    publish(runtime, "rust", "traced")
    trapped = runtime |> Native.call("traced", "trap", "", 1, :infinity) |> finish()
    {:error, {:trap, :memory_out_of_bounds}, _message, %{lines: lines}} = trapped
    lines
  end

  @doc "A recording of a call of the guest `returns_2`, which says this about its function."
  def recording(runtime, about) do
    :ok = Native.open_recordings(runtime, Tidepool.Case.tmp_folder!(), 1_048_576, 1_048_576)
    recorded = Map.put(config("returns_2"), :record, {1_000_000, false, about})
    {:ok, function} = Native.new_function(module(runtime, "wat", "returns_2"), recorded)
    :ok = Native.publish(runtime, [{"returns_2", "returns_2", function}])
    _outcome = runtime |> call("returns_2") |> finish()
    :ok = Native.flush_recordings(runtime, 1, false)
    receive(do: ({:tidepool_written, 1} -> :ok))
    {:ok, [{id, _bytes, _head, _call}]} = Native.recordings(runtime, "returns_2", 1)
    {:ok, recording} = Native.recording(runtime, id)
    recording
  end

  @doc "A session of the debugger, with a call of a guest."
  def session(runtime) do
    recording = recording(runtime, "")
    wasm = Tidepool.Case.guest("wat", "returns_2")
    id = Native.compile(runtime, wasm, Map.put(compile_config(), :debugged, true))
    module = receive(do: ({:tidepool_compiled, ^id, {:ok, module, _facts}, _cpu_us} -> module))
    {:ok, function} = Native.new_function(module, config("returns_2"))
    {:ok, session} = Native.debug(function, recording, wasm)
    session
  end

  @doc "How a program is started."
  def program,
    do: %{
      entry: "_start",
      args: [],
      env: %{},
      files: %{},
      output: nil,
      stdio: nil,
      cpu_time: nil,
      total_cpu_time: nil,
      node: 1,
      module: 0
    }

  @doc "An instance of a function, which no call has made yet."
  def owned(function) do
    {:ok, owned} = Native.own(function, nil)
    owned
  end

  @doc "A file of records of the test's own."
  def records do
    {:ok, records} = Native.open_records(Path.join(Tidepool.Case.tmp_folder!(), "records"))
    records
  end

  @doc "A voter that is alone, in a folder of the test's own."
  def voter do
    folder = Path.join(Tidepool.Case.tmp_folder!(), "voter")
    File.mkdir_p!(folder)
    {:ok, voter} = Native.open_voter(folder, "alone@nowhere", ["alone@nowhere"])
    voter
  end

  @doc "A part of a program of another node."
  def part, do: %{node: 2, origin: 1, module: 1, first: 1}

  @doc "A process that another node asks for."
  def away do
    %{
      entry: "puppet",
      params: "",
      max_memory: 1_000_000,
      max_fuel: 1,
      may: {true, true, true},
      args: [],
      env: []
    }
  end

  @doc "A process that waits for a message, driven by the caller."
  def process(runtime) do
    publish(runtime, "lunatic", "puppet")
    {:wait, task, _id, _us} = settle(Native.start_process(runtime, "puppet", program()))
    Native.process_ref(task)
  end

  @doc "Drives a call on for as long as it yields: on a busy machine every slice may end with a yield."
  def settle({:yield, task}), do: task |> Native.resume() |> settle()
  def settle(step), do: step

  @doc "Drives a call to its end; the host answers everything with `reply`."
  def finish(step, reply \\ {:ok, "answered"}) do
    case step do
      {:yield, task} -> task |> Native.resume() |> finish(reply)
      {:host, task, _request, _us, _version} -> task |> Native.answer(reply) |> finish(reply)
      {:wait, task, id, _ms} -> receive(do: ({:tidepool_wake, ^id} -> task |> Native.resume() |> finish(reply)))
      over -> over
    end
  end

  @doc """
  Calls `start_runtime/1`, or `new_function/2` with a module of a runtime of its own, and says whether that was refused.
  For peers, whose VM may not survive it.
  """
  def refused(:start_runtime, settings), do: refused(fn -> Native.start_runtime(settings) end)

  def refused(:new_function, config) do
    module = module(runtime(), "wat", "parked")
    refused(fn -> Native.new_function(module, config) end)
  end

  defp refused(fun) do
    answer = fun.()
    if elem(answer, 0) == :error, do: :refused, else: :accepted
  rescue
    ArgumentError -> :refused
  end
end
