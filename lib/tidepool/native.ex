defmodule Tidepool.Native do
  @moduledoc """
  The NIFs of `native/tidepool_nif`; nothing else. Callers want `Tidepool`.

  A call is a task that the process which started it drives. Each of `call/6`, `start_trial/1`, `resume/1` and
  `answer/2` runs the guest for one time slice (1 ms) at most and says what it needs next, as a `t:step/0`.
  """

  @on_load :load

  @typedoc "Engine and I/O threads of this node."
  @opaque runtime :: reference
  @typedoc "A compiled module."
  @opaque module_ref :: reference
  @typedoc "A function that can be called. Means nothing on another node."
  @opaque function_ref :: reference
  @typedoc "A call that is not over."
  @opaque task :: reference
  @typedoc "A running HTTP edge."
  @opaque server :: reference
  @typedoc "The way to answer one HTTP request."
  @opaque responder :: reference

  @type failure :: {:error, reason :: atom | tuple, message :: binary, details :: map}
  @type step ::
          {:ok, reply :: binary}
          | failure
          | {:host, task, binding :: binary, namespace :: binary, operation :: binary, payload :: binary,
             remaining_ms :: non_neg_integer}
          | {:yield, task}
          | {:wait, task, id :: non_neg_integer, remaining_ms :: non_neg_integer}

  @doc false
  def load do
    path = :filename.join(:code.priv_dir(:tidepool), ~c"native/tidepool_nif")

    case :erlang.load_nif(path, 0) do
      :ok -> :ok
      {:error, {:reload, _text}} -> :ok
      {:error, {_kind, text}} -> {:error, text}
    end
  end

  @doc "Sets the engine up. Keys: see `Tidepool.Engine`."
  @spec start_runtime(map) :: {:ok, runtime} | {:error, message :: binary}
  def start_runtime(_config), do: :erlang.nif_error(:not_loaded)

  @doc "Sends what guests print to `pid`: `{:tidepool_console, function, version, stream, text, dropped}`."
  @spec subscribe_console(runtime, pid) :: :ok
  def subscribe_console(_runtime, _pid), do: :erlang.nif_error(:not_loaded)

  @doc "Live instances, idle ones among them, and calls that wait for one."
  @spec instances(runtime) :: {live :: non_neg_integer, idle :: non_neg_integer, queued :: non_neg_integer}
  def instances(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "All metrics as OpenMetrics text, with gauges added."
  @spec metrics(runtime, [{name :: binary, help :: binary, value :: integer}]) :: binary
  def metrics(_runtime, _gauges), do: :erlang.nif_error(:not_loaded)

  @doc "Checks, compiles and links a module, on a dirty scheduler."
  @spec compile(runtime, binary) ::
          {:ok, module_ref, %{abi: :wapc | :wasi, imports: [binary], compile_us: non_neg_integer}} | failure
  def compile(_runtime, _wasm), do: :erlang.nif_error(:not_loaded)

  @doc "Makes a function of a module. Keys: `name`, `version`, `instances`, `limits`."
  @spec new_function(module_ref, map) :: {:ok, function_ref} | failure
  def new_function(_module, _config), do: :erlang.nif_error(:not_loaded)

  @doc "Makes functions callable by name, each in place of the one that had its name."
  @spec publish(runtime, [{name :: binary, operation :: binary, function_ref}]) :: :ok
  def publish(_runtime, _functions), do: :erlang.nif_error(:not_loaded)

  @doc "Makes a name uncallable."
  @spec unpublish(runtime, binary) :: :ok
  def unpublish(_runtime, _name), do: :erlang.nif_error(:not_loaded)

  @doc "Starts a call of a published function and drives it for a slice. An operation of `nil` is the published one."
  @spec call(runtime, name :: binary, operation :: binary | nil, payload :: binary, pos_integer, timeout) :: step
  def call(_runtime, _name, _operation, _payload, _depth, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc "Makes an instance and drops it again, start functions included."
  @spec start_trial(function_ref) :: step
  def start_trial(_function), do: :erlang.nif_error(:not_loaded)

  @doc "Drives a task that yielded or was woken."
  @spec resume(task) :: step
  def resume(_task), do: :erlang.nif_error(:not_loaded)

  @doc "Answers the host call that a task waits with, and drives it."
  @spec answer(task, {:ok, binary} | {:error, binary}) :: step
  def answer(_task, _reply), do: :erlang.nif_error(:not_loaded)

  @doc "Ends a task now. The flag says that a wake message was sent which has not been received."
  @spec cancel(task, :timeout | :aborted) :: {failure, boolean}
  def cancel(_task, _why), do: :erlang.nif_error(:not_loaded)

  @doc "Locks a file until the term is gone or the node ends, however it ends."
  @spec lock_file(binary) :: {:ok, reference} | {:error, :locked | binary}
  def lock_file(_path), do: :erlang.nif_error(:not_loaded)

  @doc "Flushes a folder's entries to the disk."
  @spec sync_folder(binary) :: :ok | {:error, binary}
  def sync_folder(_path), do: :erlang.nif_error(:not_loaded)

  @doc "A term as JSON text: maps, lists, binaries, numbers and atoms."
  @spec json_encode(term) :: binary
  def json_encode(_term), do: :erlang.nif_error(:not_loaded)

  @doc "JSON text as a term; keys are binaries."
  @spec json_decode(binary) :: {:ok, term} | {:error, binary}
  def json_decode(_text), do: :erlang.nif_error(:not_loaded)

  @doc "Starts the HTTP edge, whose requests go to `dispatchers` as messages."
  @spec http_start(runtime, map, [pid]) ::
          {:ok, server, :inet.port_number()} | {:error, atom, message :: binary}
  def http_start(_runtime, _config, _dispatchers), do: :erlang.nif_error(:not_loaded)

  @doc "Answers a request, once."
  @spec http_answer(responder, 200..599, :json | :text | :bytes | :openmetrics, [{binary, binary}], binary) :: :ok
  def http_answer(_responder, _status, _type, _headers, _body), do: :erlang.nif_error(:not_loaded)

  @doc "Stops the edge in order; the caller gets `{:tidepool_drained, finished, cut}`."
  @spec http_drain(server, non_neg_integer) :: :ok
  def http_drain(_server, _limit_ms), do: :erlang.nif_error(:not_loaded)

  @doc "What the edge counts."
  @spec http_stats(server) :: %{atom => non_neg_integer}
  def http_stats(_server), do: :erlang.nif_error(:not_loaded)
end
