defmodule Tidepool.Native do
  @moduledoc """
  The NIFs of `native/tidepool_nif`; nothing else. Callers want `Tidepool`.

  A call is a task that the process which started it drives. Each of `call/6`, `start_trial/1`, `resume/1` and
  `answer/2` runs the guest for one time slice (1 ms, 50 µs for guests that go on) at most and says what it needs next, as a `t:step/0`.
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
  @typedoc "Where the driver of a call leaves the line that its guest printed last."
  @opaque last_line :: reference
  @typedoc "A process of a program, for whoever does not drive it."
  @opaque process_ref :: reference
  @typedoc "What finds the source lines of a module, as an error's details have it."
  @opaque lines :: reference
  @typedoc "A running HTTP edge."
  @opaque server :: reference
  @typedoc "HTTP requests that wait for processes."
  @opaque request_queue :: reference
  @typedoc "The way to answer one HTTP request, for the process that has taken it."
  @opaque responder :: reference
  @typedoc "An answer that goes on, for the process that has begun it."
  @opaque stream :: reference
  @typedoc "The body of a request that is read as it comes."
  @opaque body :: reference

  @typedoc "An instance that lives as long as this term, unless it is stopped in a call."
  @opaque owned :: reference
  @typedoc "Records of named instances, in a file or in a database that nodes share; closed when the term is gone."
  @opaque records :: reference

  @typedoc "Another process: of this node, by its number on another one, or none that there is."
  @type found :: pid | pos_integer | nil

  @typedoc "What a guest wants of its host, by the ABI in which it asks."
  @type request ::
          {:wapc, binding :: binary, namespace :: binary, operation :: binary, payload :: binary}
          | {:import, binding :: binary, namespace :: binary, operation :: binary, arguments :: [term]}
          | {:exchange, binding :: binary, namespace :: binary, function :: binary, arguments :: [exchange | binary]}
          | {:spawn, process_ref, id :: pos_integer, link :: integer | nil}
          | {:link, found, guest? :: boolean, tag :: integer}
          | {:unlink, found, guest? :: boolean}
          | {:die_when_link_dies, boolean}
          | {:monitor, found, id :: non_neg_integer}
          | {:stop_monitoring, id :: non_neg_integer}
          | {:kill, found, guest? :: boolean}
          | {:compile, wasm :: binary}
          | {:exists, id :: non_neg_integer}
          | {:send, id :: non_neg_integer, tag :: integer, bytes :: binary}
          | {:spawn_away, node :: pos_integer, map}
          | {:file, folder :: binary, path :: [binary], operation :: term}
          | {:name, :put | :claim | :get | :remove | :free, name :: binary, id :: non_neg_integer}
          | :upgrade

  @typedoc "What a process is told of messages and of the ends of others."
  @type signal ::
          {:message, tag :: integer, bytes :: binary}
          | {:post, tag :: integer, bytes :: binary}
          | {:link_died, tag :: integer, pid | nil}
          | {:process_died, id :: integer}

  @typedoc """
  What is written of a record, whose number `seq` is one more than it had. An image of `nil` leaves the one that there is, and
  `{:next, change}` comes behind it, of which there may be 31; a value of `nil` is gone. `:reset` leaves nothing of what there was, no value either. `{:delete, epoch, seq}` names the number that the record
  has; `{:erase, epoch}` is for one that is damaged, and leaves nothing of it.
  """
  @type change ::
          {:put, epoch :: non_neg_integer, seq :: pos_integer, alarm_at :: integer | nil, head :: binary,
           image :: binary | {:next, binary} | nil, [{key :: binary, value :: binary | nil}]}
          | {:reset, epoch :: non_neg_integer, seq :: pos_integer, alarm_at :: integer | nil, head :: binary,
             image :: binary, [{key :: binary, value :: binary}]}
          | {:delete, epoch :: non_neg_integer, seq :: non_neg_integer}
          | {:erase, epoch :: non_neg_integer}

  @typedoc "Why records were not read or written."
  @type record_failure ::
          {:error,
           :fenced
           | :out_of_order
           | :crowded
           | :too_large
           | :damaged
           | :full
           | :overloaded
           | :stopped
           | :newer
           | :no_store
           | :unknown_outcome
           | :no_lease
           | :failed, message :: binary}

  @type failure :: {:error, reason :: atom | tuple, message :: binary, details :: map}
  @type step ::
          {:ok, reply :: binary}
          | failure
          | {:host, task, request, remaining_us :: non_neg_integer, version :: pos_integer}
          | {:yield, task}
          | {:wait, task, id :: non_neg_integer, remaining_us :: non_neg_integer}
          | :ended

  @doc false
  def load do
    path = Path.join(folder(), "tidepool_nif")

    case :erlang.load_nif(String.to_charlist(path), 0) do
      :ok -> :ok
      {:error, {:reload, _text}} -> :ok
      {:error, {_kind, text}} -> {:error, text}
    end
  end

  @doc false
  # Where the library and the program that compiles are: `priv/native`, or where `native/mix_compiler.exs` has built them for the
  # shell of a developer.
  def folder do
    :persistent_term.get({__MODULE__, :folder}, nil) ||
      :tidepool |> :code.priv_dir() |> Path.join("native") |> Path.expand()
  end

  @doc "Sets the engine up. Keys: see `Tidepool.Engine`."
  @spec start_runtime(map) :: {:ok, runtime} | {:error, message :: binary}
  def start_runtime(_config), do: :erlang.nif_error(:not_loaded)

  @doc "Memory and cores that this node may use: the machine's, or what control groups around the node give."
  @spec machine :: {memory_bytes :: pos_integer, cores :: pos_integer}
  def machine, do: :erlang.nif_error(:not_loaded)

  @doc """
  Sends what guests print to `pid`: `{:tidepool_console, function, version, stream, text, dropped}`. It is sent some 1,000 lines, and
  further ones as `console_taken/1` says that it has taken these.
  """
  @spec subscribe_console(runtime, pid) :: :ok
  def subscribe_console(_runtime, _pid), do: :erlang.nif_error(:not_loaded)

  @doc "Says that the subscriber has taken a line."
  @spec console_taken(runtime) :: :ok
  def console_taken(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "Returns when the subscriber has been sent all that guests have printed by now."
  @spec flush_console(runtime) :: :ok
  def flush_console(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "Live instances, idle ones among them, and calls that wait for one."
  @spec instances(runtime) :: {live :: non_neg_integer, idle :: non_neg_integer, queued :: non_neg_integer}
  def instances(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "Calls that wait at the caps of functions and namespaces."
  @spec calls_queued_at_caps(runtime) :: non_neg_integer
  def calls_queued_at_caps(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "Modules that wait to be compiled."
  @spec compiles_queued(runtime) :: non_neg_integer
  def compiles_queued(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "For each engine: live instances, idle ones among them, calls that wait for one, and the cap on instances."
  @spec engines(runtime) :: %{
          (:fast | :dense) => {non_neg_integer, non_neg_integer, non_neg_integer, pos_integer}
        }
  def engines(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "For each resource that functions share: its name, how much of it they have, and how much there may be."
  @spec shared(runtime) :: [{resource :: String.t(), held :: non_neg_integer, most :: non_neg_integer}]
  def shared(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "What serves the sockets of guests; why that is not what was wanted, where the kernel gives no ring."
  @spec io(runtime) :: :tokio | :uring | {:tokio, String.t()}
  def io(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "All metrics as OpenMetrics text, with gauges added, and such that have a label, with values by what that says."
  @spec metrics(
          runtime,
          [{name :: binary, help :: binary, value :: integer}],
          [{name :: binary, help :: binary, label :: binary, [{binary, value :: integer}]}]
        ) :: binary
  def metrics(_runtime, _gauges, _by_label), do: :erlang.nif_error(:not_loaded)

  @doc """
  What the calls of each function have come to since the start: how calls can end, upper bounds of buckets of latencies in ns,
  and of each function its calls by how they ended, those by latency in the buckets that have any (one more than bounds), and other
  figures.
  """
  @spec figures(runtime) :: {[binary], [pos_integer], [{name :: binary, [non_neg_integer], latencies, figures}]}
  def figures(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "The same of one function; of none when nothing is counted of it."
  @spec figures_of(runtime, name :: binary) ::
          {[binary], [pos_integer], [{name :: binary, [non_neg_integer], latencies, figures}]}
  def figures_of(_runtime, _name), do: :erlang.nif_error(:not_loaded)

  @typedoc "Calls by buckets, the shortest first."
  @type latencies :: [{bucket :: non_neg_integer, calls :: pos_integer}]

  @typedoc "Numbers by what they count."
  @type figures :: %{atom => non_neg_integer}

  @doc "The same of each of a function's last versions, with their numbers in the place of its name, the oldest first."
  @spec figures_by_version(runtime, name :: binary) ::
          [{version :: pos_integer, [non_neg_integer], latencies, figures}]
  def figures_by_version(_runtime, _name), do: :erlang.nif_error(:not_loaded)

  @typedoc "A line that a guest printed; `dropped` is how many of the function were over its budget since the one before."
  @type line ::
          {position :: pos_integer, at_ms :: pos_integer, function :: binary, version :: pos_integer,
           :console | :stdout | :stderr, text :: binary, dropped :: non_neg_integer}

  @typedoc "A call that failed, with the beginning of its payload if that is kept."
  @type failed ::
          {position :: pos_integer, at_ms :: pos_integer, function :: binary, version :: pos_integer,
           operation :: binary | nil, payload :: binary | nil, failure}

  @doc """
  The newest lines of a function, or with `nil` of all, and where whoever has read them is.
  """
  @spec newest_lines(runtime, name :: binary | nil, limit :: non_neg_integer) ::
          {position :: non_neg_integer, 0, [line]}
  def newest_lines(_runtime, _name, _limit), do: :erlang.nif_error(:not_loaded)

  @doc "What comes after a position: how many lines are gone since, `nil` if that is not known, and those that there are."
  @spec lines_after(runtime, name :: binary | nil, position :: non_neg_integer, limit :: non_neg_integer) ::
          {position :: non_neg_integer, missed :: non_neg_integer | nil, [line]}
  def lines_after(_runtime, _name, _position, _limit), do: :erlang.nif_error(:not_loaded)

  @doc "Like `newest_lines/3`, of calls that failed."
  @spec newest_failures(runtime, name :: binary | nil, limit :: non_neg_integer) ::
          {position :: non_neg_integer, 0, [failed]}
  def newest_failures(_runtime, _name, _limit), do: :erlang.nif_error(:not_loaded)

  @doc "Like `lines_after/4`, of calls that failed."
  @spec failures_after(runtime, name :: binary | nil, position :: non_neg_integer, limit :: non_neg_integer) ::
          {position :: non_neg_integer, missed :: non_neg_integer | nil, [failed]}
  def failures_after(_runtime, _name, _position, _limit), do: :erlang.nif_error(:not_loaded)

  @doc "Counts a deploy that ended with a reason, `ok` among them."
  @spec count_deploy(runtime, reason :: binary, us :: non_neg_integer) :: :ok
  def count_deploy(_runtime, _reason, _us), do: :erlang.nif_error(:not_loaded)

  @typedoc "An interface between guests and host, by its name."
  @type abi :: Tidepool.Function.abi()

  @typedoc "What a compiled module says of itself."
  @type facts :: %{
          abi: abi,
          imports: [binary],
          imports_omitted: non_neg_integer,
          asks: [{binary, binary, binary}],
          interface: binary | nil,
          start: :nothing | :snapshot | :initialiser,
          start_reason: binary | nil,
          tier: :baseline | :optimised,
          compile_us: non_neg_integer,
          cached: boolean
        }

  @typedoc "What became of a module."
  @type compiled :: {:ok, module_ref, facts} | failure

  @doc """
  Begins to check, compile and link a module. The caller gets `{:tidepool_compiled, id, compiled, cpu_us}` with the id that this
  returns; when it has died before its turn, nothing is compiled.

  The keys are those of `Tidepool.Function.Spec.native/1`; `was_deployed`, which gives it more time; and `brought`, the process that has
  brought the module: it is compiled on its program's account. Start functions run within the function's limits.
  """
  @spec compile(runtime, binary, map) :: id :: non_neg_integer
  def compile(_runtime, _wasm, _config), do: :erlang.nif_error(:not_loaded)

  @doc """
  Keeps compiled code in a folder, up to so many bytes, and takes it from there from now on. The caller gets
  `{:tidepool_cache, message}` for each file that is damaged, and once when the disk fails.
  """
  @spec open_cache(runtime, folder :: binary, max_bytes :: pos_integer) :: :ok | {:error, message :: binary}
  def open_cache(_runtime, _folder, _max_bytes), do: :erlang.nif_error(:not_loaded)

  @typedoc "What a recording is of: `made` stands for the compiler and the machine, `start` is as in `t:facts/0`."
  @type recorded ::
          {name :: binary, version :: pos_integer, about :: binary, made :: non_neg_integer, start :: binary}

  @typedoc "A call that was recorded; `reason` is `ok`, or why it failed."
  @type recorded_call ::
          {at_ms :: non_neg_integer, operation :: binary, payload_bytes :: non_neg_integer, calls :: pos_integer,
           redacted :: boolean, reason :: binary, message :: binary}

  @doc "Keeps recordings in a folder from now on: so many bytes of them, and so many of each function."
  @spec open_recordings(runtime, folder :: binary, node_bytes :: pos_integer, function_bytes :: pos_integer) ::
          :ok | {:error, message :: binary}
  def open_recordings(_runtime, _folder, _node_bytes, _function_bytes), do: :erlang.nif_error(:not_loaded)

  @doc "How many calls were recorded since the runtime was started, and how many that were to be could not be."
  @spec recording_counts(runtime) :: {kept :: non_neg_integer, dropped :: non_neg_integer}
  def recording_counts(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc """
  Has the caller told `{:tidepool_written, id}` when all is on the disk that was recorded before. With `forget?` what comes after goes on from
  nothing that is there, which may then be deleted.
  """
  @spec flush_recordings(runtime, id :: pos_integer, forget? :: boolean) :: :ok | {:error, message :: binary}
  def flush_recordings(_runtime, _id, _forget?), do: :erlang.nif_error(:not_loaded)

  @doc """
  The newest recordings that are on the disk, of one function, of all whose names have the beginning before a star (`shop/*`), or of all; of one that can't be
  read, why not.
  """
  @spec recordings(runtime, functions :: binary | nil, most :: pos_integer) ::
          {:ok, [{id :: binary, bytes :: non_neg_integer, recorded | nil, recorded_call | (message :: binary)}]}
          | {:error, message :: binary}
  def recordings(_runtime, _functions, _most), do: :erlang.nif_error(:not_loaded)

  @doc "A recording as a file of its own; `nil` when there is none of this name."
  @spec recording(runtime, id :: binary) ::
          {:ok, binary | nil} | {:damaged, message :: binary} | {:error, message :: binary}
  def recording(_runtime, _id), do: :erlang.nif_error(:not_loaded)

  @doc "Deletes a recording, if there is one of this name."
  @spec delete_recording(runtime, id :: binary) :: {:ok, boolean} | {:error, message :: binary}
  def delete_recording(_runtime, _id), do: :erlang.nif_error(:not_loaded)

  @doc "What is in a file with a recording."
  @spec read_recording(binary) :: {:ok, recorded, recorded_call} | {:error, message :: binary}
  def read_recording(_recording), do: :erlang.nif_error(:not_loaded)

  @doc "As `read_recording/1`, on a dirty scheduler: for recordings of more than some KiB."
  @spec read_recording_large(binary) :: {:ok, recorded, recorded_call} | {:error, message :: binary}
  def read_recording_large(_recording), do: :erlang.nif_error(:not_loaded)

  @typedoc "A session of the debugger."
  @opaque session :: reference

  @doc "Begins to debug a recording, by a function of the same module which was compiled for that; `wasm` is that module."
  @spec debug(function_ref, recording :: binary, wasm :: binary) :: {:ok, session} | {:error, message :: binary}
  def debug(_function, _recording, _wasm), do: :erlang.nif_error(:not_loaded)

  @doc """
  Does what a line says, and takes as long as the guest does. The report is that of a replay, as JSON, where the line has led to the
  end of the call.
  """
  @spec debug_command(session, line :: binary) ::
          {:ok, [binary], report :: binary | nil, quits? :: boolean} | {:error, message :: binary}
  def debug_command(_session, _line), do: :erlang.nif_error(:not_loaded)

  @doc """
  Begins to replay a recording by a function of the same module, or `against?` one of another version of it, and drives that for a
  slice. The reply is a report as JSON.
  """
  @spec replay(function_ref, recording :: binary, against? :: boolean) :: step
  def replay(_function, _recording, _against?), do: :erlang.nif_error(:not_loaded)

  @doc "As `replay/3`, on a dirty scheduler: for recordings of more than some KiB, or with several calls, each of which has a slice."
  @spec replay_large(function_ref, recording :: binary, against? :: boolean) :: step
  def replay_large(_function, _recording, _against?), do: :erlang.nif_error(:not_loaded)

  @doc "Stands for the compiler and the machine that a function's code is for."
  @spec made(function_ref) :: non_neg_integer
  def made(_function), do: :erlang.nif_error(:not_loaded)

  @doc "Makes a function of a module. Keys: those of `Tidepool.Function.Spec.native/1`, and `version`."
  @spec new_function(module_ref, map) :: {:ok, function_ref} | failure
  def new_function(_module, _config), do: :erlang.nif_error(:not_loaded)

  @doc """
  Makes functions callable by name, each in place of the one that had its name.

  Of those that the baseline tier serves the optimised code is compiled from now on, when no other module waits. The
  caller gets `{:tidepool_optimised, name, version, {:ok, us} | failure}` when the function is on that code, or that there
  will be none; and nothing when it was replaced or removed before.
  """
  @spec publish(runtime, [{name :: binary, operation :: binary, function_ref}]) :: :ok
  def publish(_runtime, _functions), do: :erlang.nif_error(:not_loaded)

  @doc "Which compiler's code serves a name; `nil` when nothing is published under it."
  @spec tier(runtime, name :: binary) :: :baseline | :optimised | nil
  def tier(_runtime, _name), do: :erlang.nif_error(:not_loaded)

  @doc "Have calls of this name JSON for payload and reply, when their payload is a binary?"
  @spec typed?(runtime, name :: binary) :: boolean
  def typed?(_runtime, _name), do: :erlang.nif_error(:not_loaded)

  @doc "What is wrong with a list of grants of the network; `nil` when nothing is."
  @spec grants_fault([binary]) :: binary | nil
  def grants_fault(_grants), do: :erlang.nif_error(:not_loaded)

  @doc "What is wrong with a list of grants of the host; `nil` when nothing is."
  @spec host_grants_fault([binary]) :: binary | nil
  def host_grants_fault(_grants), do: :erlang.nif_error(:not_loaded)

  @doc "Does a list of grants of the host grant the import with this target?"
  @spec import_granted([binary], Tidepool.Host.target()) :: boolean
  def import_granted(_grants, _target), do: :erlang.nif_error(:not_loaded)

  @doc "The first grant of a list that is not within those of another; `nil` when all are."
  @spec grants_beyond(asked :: [binary], allowed :: [binary]) :: binary | nil
  def grants_beyond(_asked, _allowed), do: :erlang.nif_error(:not_loaded)

  @doc "Replaces all routes by those of a list of `{route, name}`; of two that are alike the first counts."
  @spec set_routes(runtime, [{route :: binary, name :: binary}]) :: :ok
  def set_routes(_runtime, _routes), do: :erlang.nif_error(:not_loaded)

  @doc "Makes a name uncallable."
  @spec unpublish(runtime, binary) :: :ok
  def unpublish(_runtime, _name), do: :erlang.nif_error(:not_loaded)

  @doc "The ABIs that this host speaks."
  @spec abis(runtime) :: [abi]
  def abis(_runtime), do: :erlang.nif_error(:not_loaded)

  @doc "The ABI that a module speaks, and the engine that suits it where its deploy names none; `nil` when it speaks none."
  @spec suited(runtime, wasm :: binary) :: {abi, Tidepool.Engine.kind()} | nil
  def suited(_runtime, _wasm), do: :erlang.nif_error(:not_loaded)

  @typedoc "A request of HTTP, as the edge has it for a function that handles those."
  @type exchange :: reference

  @typedoc "Bytes, the arguments of a typed export (a list of them, or a map by their names), or a request of HTTP."
  @type payload :: binary | [term] | map | exchange

  @typedoc "Why a guest gets no response of another function; a text is what went wrong."
  @type refusal :: :missing | :unavailable | :denied | :too_deep | :full | :late | String.t()

  @doc """
  Tells a guest why the function that it has asked, `http://NAME.internal`, gives it no response. It changes nothing where there is
  one, or the guest waits for none any more.
  """
  @spec exchange_refuse(exchange, refusal) :: :ok
  def exchange_refuse(_exchange, _why), do: :erlang.nif_error(:not_loaded)

  @doc """
  Has a request say in its header `traceparent` what its handler is part of. What vendors have said beside it stays where that is the
  same trace. A text that is no such header changes nothing, nor does a request that was taken.
  """
  @spec exchange_trace(exchange, String.t()) :: :ok
  def exchange_trace(_exchange, _traceparent), do: :erlang.nif_error(:not_loaded)

  @doc "Starts a call of a published function and drives it for a slice. An operation of `nil` is the published one."
  @spec call(runtime, name :: binary, operation :: binary | nil, payload, pos_integer, timeout) :: step
  def call(_runtime, _name, _operation, _payload, _depth, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc """
  Like `call/6`, and keeps account: `usage/1` of the task has it when the call is over, and `last_line/1` what its guest printed last.
  `traceparent` is what the guest's requests to servers say of their trace, where the guest says nothing.
  There is no task when there is no call.
  """
  @spec call_observed(
          runtime,
          name :: binary,
          operation :: binary | nil,
          payload,
          pos_integer,
          timeout,
          last_line | nil,
          traceparent :: String.t() | nil
        ) :: {task | nil, step}
  def call_observed(_runtime, _name, _operation, _payload, _depth, _timeout_ms, _last_line, _traceparent),
    do: :erlang.nif_error(:not_loaded)

  @doc "A place for the last line of one call."
  @spec new_last_line :: last_line
  def new_last_line, do: :erlang.nif_error(:not_loaded)

  @doc "The last line that the call's guest had printed when its last slice ended, at most 1 KiB of it; `nil` before."
  @spec last_line(last_line) :: binary | nil
  def last_line(_last_line), do: :erlang.nif_error(:not_loaded)

  @doc "What an observed call has used."
  @spec usage(task) ::
          {cpu_ns :: non_neg_integer, queue_ns :: non_neg_integer, peak_memory_bytes :: non_neg_integer}
  def usage(_task), do: :erlang.nif_error(:not_loaded)

  @doc "Says whether calls are observed: while they are, each HTTP request gets a process."
  @spec observe(runtime, boolean) :: :ok
  def observe(_runtime, _observed?), do: :erlang.nif_error(:not_loaded)

  @doc "The file and the line of what stands at each of these offsets of a module. Reads its debug data when it is asked first."
  @spec source_lines(lines, [non_neg_integer | nil]) :: [{file :: binary, line :: pos_integer} | nil]
  def source_lines(_lines, _offsets), do: :erlang.nif_error(:not_loaded)

  @doc "A module without its debug data. What is no module stays as it is."
  @spec strip_module(binary) :: binary
  def strip_module(_wasm), do: :erlang.nif_error(:not_loaded)

  @doc "Is there room for the code of a function that is to be published, beside that of all others but the one of its name?"
  @spec code_fits(runtime, function_ref) :: :ok | failure
  def code_fits(_runtime, _function), do: :erlang.nif_error(:not_loaded)

  @doc "Makes an instance and drops it again, start functions included."
  @spec start_trial(function_ref) :: step
  def start_trial(_function), do: :erlang.nif_error(:not_loaded)

  @doc "Drives a task that yielded or was woken."
  @spec resume(task) :: step
  def resume(_task), do: :erlang.nif_error(:not_loaded)

  @doc "Answers the host call that a task waits with, and drives it."
  @spec answer(task, {:ok, binary} | {:error, binary}) :: step
  def answer(_task, _reply), do: :erlang.nif_error(:not_loaded)

  @doc "The same for the call of an import."
  @spec answer_value(task, {:ok, term} | {:error, binary}) :: step
  def answer_value(_task, _reply), do: :erlang.nif_error(:not_loaded)

  @doc "Ends a task now. The flag says that a wake message was sent which has not been received."
  @spec cancel(task, :timeout | :aborted) :: {failure, boolean}
  def cancel(_task, _why), do: :erlang.nif_error(:not_loaded)

  @doc """
  Starts a program, and drives its first process for a slice. Keys: `entry`, `args`, `env` and `files` (maps), `output` and `stdio` (a
  pid or `nil`), `cpu_time` and `total_cpu_time` (ms or `nil`), `node` (this one's number) and `module` (a number, or 0).
  """
  @spec start_process(runtime, name :: binary, map) :: step
  def start_process(_runtime, _name, _options), do: :erlang.nif_error(:not_loaded)

  @doc "The process that a task drives; `nil` for a call, or when it is over."
  @spec process_ref(task) :: process_ref | nil
  def process_ref(_task), do: :erlang.nif_error(:not_loaded)

  @doc """
  Makes the caller the driver of a process that was made, and drives it; `:killed` when that has ended before, `:ended` when its
  program has.
  """
  @spec process_begin(process_ref) :: step | :killed | :ended
  def process_begin(_process), do: :erlang.nif_error(:not_loaded)

  @doc "Tells the maker of a process which process drives it, and goes on with the maker."
  @spec process_spawned(task, id :: pos_integer, pid) :: step
  def process_spawned(_task, _id, _pid), do: :erlang.nif_error(:not_loaded)

  @doc "How many run queues there are for processes that wait: each wants a runner."
  @spec run_queues :: pos_integer
  def run_queues, do: :erlang.nif_error(:not_loaded)

  @doc """
  Drives processes of a run queue, which are due or were woken, for 250 µs: `:yield` when there are more, or the ms until there are. The
  caller is the queue's runner, and is sent `:tidepool_run` when there are some sooner. A queue that has a runner takes no other.
  """
  @spec drive_queue(index :: non_neg_integer) :: :yield | timeout
  def drive_queue(_index), do: :erlang.nif_error(:not_loaded)

  @doc "Tells a process something, and drives it."
  @spec process_signal(task, signal) :: step
  def process_signal(_task, _signal), do: :erlang.nif_error(:not_loaded)

  @doc "Tells a process something that it finds when it is driven next."
  @spec process_tell(task, signal) :: :ok | failure
  def process_tell(_task, _signal), do: :erlang.nif_error(:not_loaded)

  @doc """
  The process has so many links and monitors in the VM, or is to have them. By `:hold` `false` says that there is no room for them on its
  program's account; by `:need` the process ends as well, when it is driven next; by `:keep` they are counted whether there is room or not.
  By `:noted` so are they, and the process has taken note of a link that another one of its program on this node has made or removed.
  """
  @spec process_ties(task, links :: non_neg_integer, monitors :: non_neg_integer, :hold | :need | :keep | :noted) ::
          boolean | failure
  def process_ties(_task, _links, _monitors, _how), do: :erlang.nif_error(:not_loaded)

  @doc """
  Gives a process the function that it asked to be compiled, or the text of why there is none, and drives it. The CPU time that
  compiling took counts as the process's; as its program's it was counted by `compile/3`.
  """
  @spec process_compiled(task, {:ok, function_ref} | {:error, String.t()}, cpu_us :: non_neg_integer) :: step
  def process_compiled(_task, _outcome, _cpu_us), do: :erlang.nif_error(:not_loaded)

  @doc """
  Has the first process of a program, which has asked for that, go on as the newest version of its function, and drives it. It is told
  when there is none.
  """
  @spec process_upgrade(runtime, task) :: step
  def process_upgrade(_runtime, _task), do: :erlang.nif_error(:not_loaded)

  @doc """
  Asks a program to become a version of its function: the tag of the message that it is to get, `:asked` when it was asked before,
  `:refused` when it takes no upgrades, `:not_a_program` when what is deployed now has calls alone.
  """
  @spec process_ask_upgrade(runtime, process_ref, version :: pos_integer) ::
          integer | :asked | :refused | :not_a_program
  def process_ask_upgrade(_runtime, _process, _version), do: :erlang.nif_error(:not_loaded)

  @doc """
  Drives a process and looks where it is: what it needs next, and the functions that it is in, innermost first; `nil` when it did not
  show them.
  """
  @spec process_look(task) :: {step, [String.t()] | nil}
  def process_look(_task), do: :erlang.nif_error(:not_loaded)

  @doc "What is known of a process: see `t:Tidepool.Process.info/0`."
  @spec process_info(process_ref) :: map
  def process_info(_process), do: :erlang.nif_error(:not_loaded)

  @doc "What is known of the process that has this number in the program of a guest; `nil` when there is none."
  @spec process_find(process_ref, id :: non_neg_integer) :: map | nil
  def process_find(_process, _id), do: :erlang.nif_error(:not_loaded)

  @doc "What is known of each process of a program."
  @spec process_infos(process_ref) :: [map]
  def process_infos(_process), do: :erlang.nif_error(:not_loaded)

  @doc "Has a program make no process from now on; those that there are."
  @spec process_end(process_ref) :: [pid]
  def process_end(_process), do: :erlang.nif_error(:not_loaded)

  @doc "The number of a process of the VM in the program of a guest: the same one each time."
  @spec process_introduce(process_ref, pid) :: pos_integer
  def process_introduce(_process, _pid), do: :erlang.nif_error(:not_loaded)

  @doc "The process that has a name in the program of a guest."
  @spec process_whereis(process_ref, name :: binary) :: {id :: pos_integer, pid} | nil
  def process_whereis(_process, _name), do: :erlang.nif_error(:not_loaded)

  @doc "Says which other nodes there are, by their numbers."
  @spec set_nodes(runtime, [pos_integer]) :: :ok
  def set_nodes(_runtime, _others), do: :erlang.nif_error(:not_loaded)

  @doc "What is published under a name, and its version."
  @spec published(runtime, name :: binary) :: {version :: pos_integer, function_ref} | nil
  def published(_runtime, _name), do: :erlang.nif_error(:not_loaded)

  @doc "The version alone."
  @spec published_version(runtime, name :: binary) :: pos_integer | nil
  def published_version(_runtime, _name), do: :erlang.nif_error(:not_loaded)

  @doc """
  A part of a program that began on another node, as the caller's place in it. Keys: `node` and `origin`, the numbers of this node and
  of that; `module`; `first`, the number of its first process here.
  """
  @spec process_part(function_ref, map) :: process_ref
  def process_part(_function, _part), do: :erlang.nif_error(:not_loaded)

  @doc "Makes a process in such a part. It waits to be begun, and then to be released."
  @spec process_arrive(function_ref, process_ref, map) :: {:ok, process_ref} | {:error, text :: binary}
  def process_arrive(_function, _part, _process), do: :erlang.nif_error(:not_loaded)

  @doc "Lets a process run that was made in a part."
  @spec process_release(process_ref) :: :ok
  def process_release(_process), do: :erlang.nif_error(:not_loaded)

  @doc "The process with this number in the program of a guest, and whether it is a guest; `nil` when none lives here."
  @spec process_locate(process_ref, id :: non_neg_integer) :: {pid, guest? :: boolean} | nil
  def process_locate(_process, _id), do: :erlang.nif_error(:not_loaded)

  @doc """
  Does something with a name that holds on all nodes of a guest's program, which began on this one: the code that a guest gets, and
  the number of who has it.
  """
  @spec process_name(process_ref, :put | :claim | :get | :remove | :free, name :: String.t(), id :: non_neg_integer) ::
          {code :: non_neg_integer, id :: non_neg_integer}
  def process_name(_process, _operation, _name, _id), do: :erlang.nif_error(:not_loaded)

  @doc "Takes some such names from a process of another node that has died, by its number. Has it none any more?"
  @spec process_forget_names(process_ref, non_neg_integer) :: boolean
  def process_forget_names(_process, _dead), do: :erlang.nif_error(:not_loaded)

  @doc """
  Is there room for a message with this tag in the mailbox of the process that a task drives, and for more after it? `:wanted` is room
  for this one alone, because the process waits for it.
  """
  @spec process_room(task, integer) :: :free | :wanted | :full | failure
  def process_room(_task, _tag), do: :erlang.nif_error(:not_loaded)

  @doc "What a program has reported of itself."
  @spec process_figures(process_ref) :: [{name :: binary, :counter | :gauge | :histogram, term}]
  def process_figures(_process), do: :erlang.nif_error(:not_loaded)

  @doc "Gives a program input that it has asked for."
  @spec process_input(process_ref, binary | :eof) :: :ok
  def process_input(_process, _input), do: :erlang.nif_error(:not_loaded)

  @doc "Says that so many bytes of a program's output are where they were to go."
  @spec process_written(process_ref, non_neg_integer) :: :ok
  def process_written(_process, _bytes), do: :erlang.nif_error(:not_loaded)

  @doc "Locks a file until the term is gone or the node ends, however it ends."
  @spec lock_file(binary) :: {:ok, reference} | {:error, :locked | binary}
  def lock_file(_path), do: :erlang.nif_error(:not_loaded)

  @doc """
  Files and folders in a folder of the machine, whose names are text. One that has more than `most` entries is `:efbig`, and no more
  of them are read.
  """
  @spec list_folder(binary, most :: non_neg_integer) :: {:ok, [{binary, :file | :directory}]} | {:error, atom}
  def list_folder(_path, _most), do: :erlang.nif_error(:not_loaded)

  @doc "Flushes a folder's entries to the disk."
  @spec sync_folder(binary) :: :ok | {:error, binary}
  def sync_folder(_path), do: :erlang.nif_error(:not_loaded)

  @doc """
  An instance of a function, for calls with `call_owned/5`. It is made in its first call: with `image`, which is one of the same module
  (by its SHA-256), or by its start functions. Only functions of modules that were compiled with `actor: true` have images; without one
  any function may be owned whose instances serve several calls.

  The caller is sent `:tidepool_wanted` when another call wants the place of an instance that rests: letting it go makes room.
  """
  @spec own(function_ref, image :: binary | nil) :: {:ok, owned} | failure
  def own(_function, _image), do: :erlang.nif_error(:not_loaded)

  @typedoc "Room for an image that is not read yet. The term means nothing on other nodes."
  @type image_room :: reference

  @doc """
  Room for an image of so many bytes, for who is about to read one, until `own_in/3` or `free_image_room/1` has it; or the error that
  `own/2` would have.
  """
  @spec image_room(function_ref, bytes :: non_neg_integer) :: {:ok, image_room} | failure
  def image_room(_function, _bytes), do: :erlang.nif_error(:not_loaded)

  @doc "As `own/2`, with an image that has room already."
  @spec own_in(function_ref, image :: binary, image_room) :: {:ok, owned} | failure
  def own_in(_function, _image, _room), do: :erlang.nif_error(:not_loaded)

  @doc "Gives room back that no image needs."
  @spec free_image_room(image_room) :: :ok
  def free_image_room(_room), do: :erlang.nif_error(:not_loaded)

  @doc """
  Calls an owned instance, as `call/6` does a function: go on with `resume/1`, `answer/2` and `cancel/2`. It serves one call at a time.
  An image that is damaged fails the first call with `:invalid_image`, and one that is too large with a limit; then nothing was made,
  and the next call tries again.
  """
  @spec call_owned(owned, operation :: binary, payload, depth :: pos_integer, timeout) :: step
  def call_owned(_owned, _operation, _payload, _depth, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc """
  What of an owned instance is not as in a new one of its module; or `{:next, change}`, what of it is not as in the last image: that
  and all changes since, one behind the other, are an image, too. `:unchanged` when that is what the last image held, the one that it
  was made with among them, or when it has not been made yet; so whoever gets an image keeps it. `:large` when its memory has over 1
  MiB: then `image_large/1` makes it, on a dirty scheduler. Not while it serves a call.

  An image of more than 64 KiB is memory of its function's on the host for as long as there is a reference to it. Without room for it the
  reason is `{:limit, :total_memory}`, and the next one is whole.
  """
  @spec image(owned) :: {:ok, binary | {:next, binary}} | :unchanged | :large | failure
  def image(_owned), do: :erlang.nif_error(:not_loaded)

  @doc "The same, however large its memory is."
  @spec image_large(owned) :: {:ok, binary | {:next, binary}} | :unchanged | failure
  def image_large(_owned), do: :erlang.nif_error(:not_loaded)

  @doc """
  The image of an owned instance as it is now, whatever the last one held: for who keeps it longer than the instance. `nil` when that
  has not been made yet, and is to begin without one. Not while it serves a call.
  """
  @spec image_copy(owned) :: {:ok, binary | nil} | failure
  def image_copy(_owned), do: :erlang.nif_error(:not_loaded)

  @doc "The same without an image, for who keeps its place whatever happens: nobody is sent anything."
  @spec own_for_good(function_ref) :: {:ok, owned} | failure
  def own_for_good(_function), do: :erlang.nif_error(:not_loaded)

  @doc """
  Makes an owned instance, unless it is made, and drives that as `call_owned/5` does a call. What follows is of one that is made and
  serves no call.
  """
  @spec make_owned(owned, timeout) :: step
  def make_owned(_owned, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc "The size of its memory, in bytes. `:no_export` when it exports none, as all that follow."
  @spec memory_size(owned) :: {:ok, non_neg_integer} | failure
  def memory_size(_owned), do: :erlang.nif_error(:not_loaded)

  @doc "Bytes of its memory, 1 MiB at most; `:invalid_arguments` when they are not all within it."
  @spec read_memory(owned, offset :: non_neg_integer, length :: non_neg_integer) :: {:ok, binary} | failure
  def read_memory(_owned, _offset, _length), do: :erlang.nif_error(:not_loaded)

  @doc "The same, however many they are, on a dirty scheduler."
  @spec read_memory_large(owned, offset :: non_neg_integer, length :: non_neg_integer) :: {:ok, binary} | failure
  def read_memory_large(_owned, _offset, _length), do: :erlang.nif_error(:not_loaded)

  @doc "Puts bytes into its memory, 1 MiB at most; `:invalid_arguments` when there is no room for all of them."
  @spec write_memory(owned, offset :: non_neg_integer, binary) :: :ok | failure
  def write_memory(_owned, _offset, _bytes), do: :erlang.nif_error(:not_loaded)

  @doc "The same, however many they are, on a dirty scheduler."
  @spec write_memory_large(owned, offset :: non_neg_integer, binary) :: :ok | failure
  def write_memory_large(_owned, _offset, _bytes), do: :erlang.nif_error(:not_loaded)

  @doc "Has its memory grow by so many pages of 64 KiB; how many it had."
  @spec grow_memory(owned, pages :: non_neg_integer) :: {:ok, non_neg_integer} | failure
  def grow_memory(_owned, _pages), do: :erlang.nif_error(:not_loaded)

  @doc "A global that it exports, a number."
  @spec get_global(owned, name :: binary) :: {:ok, number | :nan | :infinity | :neg_infinity} | failure
  def get_global(_owned, _name), do: :erlang.nif_error(:not_loaded)

  @doc "Sets a global that it exports, if that can be changed."
  @spec set_global(owned, name :: binary, term) :: :ok | failure
  def set_global(_owned, _name, _value), do: :erlang.nif_error(:not_loaded)

  @doc "What its module exports, in its order. Types are as in WAT, of a component as in WIT."
  @spec owned_exports(owned) :: [
          {name :: binary, :function, params :: [binary], results :: [binary]}
          | {name :: binary, :function, {interface :: binary | nil, function :: binary},
             params :: [{name :: binary, type :: binary}], result :: binary | nil, uncallable :: binary | nil}
          | {name :: binary, :global, type :: binary, mutable? :: boolean}
          | {name :: binary, :memory | :other}
        ]
  def owned_exports(_owned), do: :erlang.nif_error(:not_loaded)

  @doc "Was an owned instance stopped in a call? Then it is gone."
  @spec owned_spent?(owned) :: boolean
  def owned_spent?(_owned), do: :erlang.nif_error(:not_loaded)

  @doc "Has an owned instance yet to be made, of an image? That takes memory of its function's on the host until then."
  @spec owned_imaged?(owned) :: boolean
  def owned_imaged?(_owned), do: :erlang.nif_error(:not_loaded)

  @doc "A resource of the host's, under a number of its own; `keeper` is sent `{:tidepool_resource_end, id}` once it has ended."
  @spec resource_new(runtime, keeper :: pid, id :: pos_integer) :: Tidepool.Resource.t()
  def resource_new(_runtime, _keeper, _id), do: :erlang.nif_error(:not_loaded)

  @doc "The host's number of a resource; `nil` of a guest's."
  @spec resource_id(Tidepool.Resource.t()) :: pos_integer | nil
  def resource_id(_resource), do: :erlang.nif_error(:not_loaded)

  @doc "Ends a resource of the host's that no guest has; of any other, nothing happens."
  @spec resource_end(Tidepool.Resource.t()) :: :ok
  def resource_end(_resource), do: :erlang.nif_error(:not_loaded)

  @doc """
  Opens a file of records, and makes it if there is none. Beside it are two more while it is open, with `-wal` and `-shm` after
  its name; the former belongs to it. When the term is gone, what waits is written, and the file is closed. The caller gets
  `{:tidepool_records, {:stopped, why}}` when the disk is full, or has failed and nothing is written any more, and
  `{:tidepool_records, :ok}` when all is well again.
  """
  @spec open_records(binary) :: {:ok, records} | record_failure
  def open_records(_path), do: :erlang.nif_error(:not_loaded)

  @doc """
  Accepts a file of records that nobody has open as it is, when it is older than what was answered, for its log is damaged. What
  was missing; `nil` when nothing was, and nothing is done. The log is kept beside the file.
  """
  @spec accept_records(binary) :: {:ok, missing :: binary | nil} | record_failure
  def accept_records(_path), do: :erlang.nif_error(:not_loaded)

  @doc """
  Has a change of a record written, and waits for nothing. The caller gets `{:tidepool_committed, id, :ok}` when it is durable, or
  `{:tidepool_committed, id, {:error, kind, message}}`, with the id that this returns. Changes are made in the order of these calls.
  """
  @spec commit_record(records, class :: binary, name :: binary, change) :: id :: pos_integer
  def commit_record(_records, _class, _name, _change), do: :erlang.nif_error(:not_loaded)

  @doc "Does no change of a record wait for being written?"
  @spec record_settled(records, class :: binary, name :: binary) :: boolean
  def record_settled(_records, _class, _name), do: :erlang.nif_error(:not_loaded)

  @doc "How many changes wait or are being written, and how many may wait; and the same of the bytes that all of them hold."
  @spec records_waiting(records) ::
          {changes :: non_neg_integer, most :: pos_integer, bytes :: non_neg_integer, most_bytes :: pos_integer}
  def records_waiting(_records), do: :erlang.nif_error(:not_loaded)

  @doc "A record, but for its values; `nil` when there is certainly none. Changes of its image are behind it."
  @spec read_record(records, class :: binary, name :: binary) ::
          {:ok,
           nil
           | {epoch :: non_neg_integer, seq :: pos_integer, alarm_at :: integer | nil, head :: binary,
              image :: binary | nil}}
          | record_failure
  def read_record(_records, _class, _name), do: :erlang.nif_error(:not_loaded)

  @doc "The same, unless head and image have more bytes: then what `record_head/3` says. Records in a database are always read."
  @spec read_record_up_to(records, class :: binary, name :: binary, most :: non_neg_integer) ::
          {:ok,
           nil
           | {epoch :: non_neg_integer, seq :: pos_integer, alarm_at :: integer | nil, head :: binary,
              image :: binary | nil}}
          | {:larger, {seq :: pos_integer, alarm_at :: integer | nil, bytes :: non_neg_integer, head :: binary}}
          | record_failure
  def read_record_up_to(_records, _class, _name, _most), do: :erlang.nif_error(:not_loaded)

  @doc """
  What is known of a record without its image, which is not read; `bytes` are of both. `nil` when there is certainly none.
  """
  @spec record_head(records, class :: binary, name :: binary) ::
          {:ok, nil | {seq :: pos_integer, alarm_at :: integer | nil, bytes :: non_neg_integer, head :: binary}}
          | record_failure
  def record_head(_records, _class, _name), do: :erlang.nif_error(:not_loaded)

  @doc "A value of a record; `nil` when there is no such value, or no such record."
  @spec record_value(records, class :: binary, name :: binary, key :: binary) ::
          {:ok, binary | nil} | record_failure
  def record_value(_records, _class, _name, _key), do: :erlang.nif_error(:not_loaded)

  @doc """
  Keys that begin with `prefix` and come after `after_key`, in their order, with their values: `limit` at most, and none after the one with
  which they come to so many bytes, unless that is `nil`.
  """
  @spec record_values(
          records,
          class :: binary,
          name :: binary,
          prefix :: binary,
          after_key :: binary | nil,
          most :: {limit :: non_neg_integer, bytes :: pos_integer | nil}
        ) ::
          {:ok, [{key :: binary, value :: binary}]} | record_failure
  def record_values(_records, _class, _name, _prefix, _after_key, _most), do: :erlang.nif_error(:not_loaded)

  @doc """
  Records of a class, `limit` at most, from the name on that a list before said is the next; with bytes of heads and images. They are
  in the order of their shards.
  """
  @spec list_records(records, class :: binary, from :: binary | nil, non_neg_integer) ::
          {:ok, [{name :: binary, seq :: pos_integer, alarm_at :: integer | nil, bytes :: non_neg_integer}],
           next :: binary | nil}
          | record_failure
  def list_records(_records, _class, _from, _limit), do: :erlang.nif_error(:not_loaded)

  @doc "As `list_records/4`, with heads; `nil` is that of a record that is damaged. No images are read."
  @spec record_heads(records, class :: binary, from :: binary | nil, non_neg_integer) ::
          {:ok, [{name :: binary, head :: binary | nil}], next :: binary | nil} | record_failure
  def record_heads(_records, _class, _from, _limit), do: :erlang.nif_error(:not_loaded)

  @doc "Classes that there are records of, in their order: those after one, `limit` at most. The empty class is none."
  @spec record_classes(records, binary, limit :: non_neg_integer) :: {:ok, [binary]} | record_failure
  def record_classes(_records, _class, _limit), do: :erlang.nif_error(:not_loaded)

  @doc """
  How many records the classes of a namespace have together, and how many bytes these have with their values; 0 unless they are to be
  counted, for which each record is read.
  """
  @spec records_usage(records, namespace :: binary, with_bytes? :: boolean) ::
          {:ok, records :: non_neg_integer, bytes :: non_neg_integer} | record_failure
  def records_usage(_records, _namespace, _with_bytes?), do: :erlang.nif_error(:not_loaded)

  @doc """
  Alarms that are due until then, in ms since 1970, and whose they are; the earliest first. Of each namespace it is those that are due
  first, `each` at most and what `more` says of it beside that; the empty text is for classes without a namespace.
  """
  @spec record_alarms(
          records,
          until_ms :: integer,
          each :: non_neg_integer,
          more :: [{namespace :: binary, non_neg_integer}]
        ) ::
          {:ok, [{at :: integer, class :: binary, name :: binary}]} | record_failure
  def record_alarms(_records, _until_ms, _each, _more), do: :erlang.nif_error(:not_loaded)

  @typedoc "Where records are, whether anybody has them open or not: the path of a file, the URL of a database, or the folder of a node's voter."
  @type record_place :: {:file | :shared | {:voter, node_name :: binary}, binary}

  @typedoc "Which record it is."
  @type record_key :: {class :: binary, name :: binary}

  @doc """
  Writes records of a class, or of all, with those without a class that they name, to a file of its own: as they are at this moment. How
  many there were, with a class and without. There is no such file before it is whole; one that there is is an error, unless
  `overwrite`.
  """
  @spec export_records(record_place, class :: binary | nil, to :: binary, overwrite :: boolean) ::
          {:ok, {records :: non_neg_integer, common :: non_neg_integer}} | record_failure
  def export_records(_place, _class, _to, _overwrite), do: :erlang.nif_error(:not_loaded)

  @doc """
  Puts what `export_records/4` has written into records that nobody has open, which are made if there are none: all of it, or nothing.
  A record that is there already is an error, unless `overwrite`; and so is the folder of a voter that is there. Of each file those records
  are left out that are named beside it; one that several files still have is that of the first.
  """
  @spec import_records(record_place, from :: [{file :: binary, left_out :: [record_key]}], overwrite :: boolean) ::
          {:ok, {records :: non_neg_integer, common :: non_neg_integer}} | record_failure
  def import_records(_place, _from, _overwrite), do: :erlang.nif_error(:not_loaded)

  @doc """
  The records with a class that several such files have, and that are not the same there byte by byte: what each file has of them, by the
  file's place in the list, the head, and a digest of all else.
  """
  @spec differing_records(files :: [binary]) ::
          {:ok, [{class :: binary, name :: binary, [{file :: non_neg_integer, head :: binary, rest :: binary}, ...]}]}
          | record_failure
  def differing_records(_files), do: :erlang.nif_error(:not_loaded)

  @doc "Writes these records of such a file to one of their own, with all of it that have no class. A file that is there is an error."
  @spec part_of_records(file :: binary, [record_key], to :: binary) ::
          {:ok, {records :: non_neg_integer, common :: non_neg_integer}} | record_failure
  def part_of_records(_file, _keys, _to), do: :erlang.nif_error(:not_loaded)

  @doc "The shard of a record, from 0 to 4,095: the same on every node, for ever."
  @spec record_shard(class :: binary, name :: binary) :: non_neg_integer
  def record_shard(_class, _name), do: :erlang.nif_error(:not_loaded)

  @doc """
  Opens the PostgreSQL database at a URL for this node, and makes its tables if there are none. `incarnation` is a number that no
  other start of the node has. The term is for the same functions as that of a file; `record_alarms/4` has those of the shards that
  this node owns. What is asked while the database is away is told `:no_store`, and once it is back all goes on. A commit that was
  under way when the connection was lost is `:unknown_outcome`: the record is to be read anew.
  """
  @spec open_shared(url :: binary, node_name :: binary, incarnation :: integer) :: {:ok, records} | record_failure
  def open_shared(_url, _node, _incarnation), do: :erlang.nif_error(:not_loaded)

  @typedoc "A voter that has its folder open: one of those that keep records together."
  @type voter :: reference

  @doc """
  Opens the folder of this node's voter, which keeps records with those of the nodes `named`, and makes what it lacks. Does not wait for
  others. The caller gets `{:tidepool_voter, id, node_name, question, within_ms}` for what the voter asks that of another node, and hands
  it the answer with `voter_answered/3`.
  """
  @spec open_voter(folder :: binary, node_name :: binary, named :: [binary]) :: {:ok, voter} | record_failure
  def open_voter(_folder, _node, _named), do: :erlang.nif_error(:not_loaded)

  @doc """
  Has the voter answer what the voter of another node has asked. Returns an id, and the caller gets `{:tidepool_answer, id, answer}`; nothing
  when the voter has ended.
  """
  @spec voter_answer(voter, node_name :: binary, question :: binary) :: id :: pos_integer
  def voter_answer(_voter, _node, _question), do: :erlang.nif_error(:not_loaded)

  @doc "Hands the voter the answer to the question of this id, or says why there is none."
  @spec voter_answered(voter, id :: non_neg_integer, {:ok, binary} | {:error, why :: binary}) :: :ok
  def voter_answered(_voter, _id, _answer), do: :erlang.nif_error(:not_loaded)

  @doc """
  Is the voter one of its group? If not, what it waits for; that it is, and has not had yet what the others have since its folder was opened;
  that it was not added, or was removed, and may be added; why it is refused, and what to do; that it waits for room on its disk; or why it
  writes nothing any more: it has ended then, and may go on when it is opened again.
  """
  @spec voter_standing(voter) ::
          :member | {:waiting | :catching_up | :outside | :refused | :full | :stopped, why :: binary}
  def voter_standing(_voter), do: :erlang.nif_error(:not_loaded)

  @doc "The names of the nodes that are members, as far as this voter knows: none before there is a group."
  @spec voter_known(voter) :: [node_name :: binary]
  def voter_known(_voter), do: :erlang.nif_error(:not_loaded)

  @doc """
  Asks a voter for the members: see `Tidepool.Actor.Members`. The caller gets `{:tidepool_members, id, {:ok, rows} | {:error, kind, message}}`
  with the id that this returns, within that time; a row is `{node_name, votes, leads, answers, lacks, problem}`.
  """
  @spec voter_members(voter, within_ms :: pos_integer) :: id :: pos_integer
  def voter_members(_voter, _within_ms), do: :erlang.nif_error(:not_loaded)

  @doc "Has the members changed. The caller gets them by then, or why they have not, as of `voter_members/2`."
  @spec voter_change(voter, :add | :remove | :replace, node_name :: binary, within_ms :: pos_integer) ::
          id :: pos_integer
  def voter_change(_voter, _how, _node, _within_ms), do: :erlang.nif_error(:not_loaded)

  @doc """
  Has another voter lead, if this one does and is not alone. The caller gets `{:tidepool_lead, id}` with the id that this returns when another
  leads, or when that has not come about in time; nothing when the voter has ended.
  """
  @spec voter_give_up_lead(voter, within_ms :: pos_integer) :: id :: pos_integer
  def voter_give_up_lead(_voter, _within_ms), do: :erlang.nif_error(:not_loaded)

  @doc "As `open_shared/3`, of what a voter keeps with others."
  @spec open_replicated(voter, node_name :: binary, incarnation :: integer) :: {:ok, records} | record_failure
  def open_replicated(_voter, _node, _incarnation), do: :erlang.nif_error(:not_loaded)

  @doc """
  Has this node's lease last so many ms from now on; leases of all nodes last as long. Like all questions of leases and shards it
  returns an id at once, and the caller gets `{:tidepool_lease, id, {:ok, answer} | {:error, kind, message}}` within `timeout_ms`. The
  answer is all nodes that are known, `[{node_name, incarnation, left_ms}]`, with `left_ms` of 0 or less for leases that have run out:
  this node has seen for as long as a lease lasts that nobody renews it. Or it is `{:new, nodes}`, when this start of the node had none,
  and owns no shards. `:fenced` says that another start of the node has the lease.
  """
  @spec lease_renew(records, lease_ms :: non_neg_integer, timeout_ms :: non_neg_integer) :: id :: pos_integer
  def lease_renew(_records, _lease_ms, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc "Gives up this node's lease and all its shards; the answer is `[]`."
  @spec lease_release(records, timeout_ms :: non_neg_integer) :: id :: pos_integer
  def lease_release(_records, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc "Asks whose the shards are. The answer is all of them: `[{shard, epoch, node_name | nil}]`."
  @spec shards(records, timeout_ms :: non_neg_integer) :: id :: pos_integer
  def shards(_records, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc """
  Claims shards. The answer is `[{shard, epoch}]` of those that this node has got: they were nobody's, or their owner's lease had run
  out. `:no_lease` says that this node's own has.
  """
  @spec shards_claim(records, [shard :: non_neg_integer], timeout_ms :: non_neg_integer) :: id :: pos_integer
  def shards_claim(_records, _shards, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc """
  Hands shards, of which this node is the owner by these epochs, to another node, or to nobody. The answer is `[{shard, epoch}]` with
  the new epochs. `:no_lease` says that the other node has no lease.
  """
  @spec shards_hand(
          records,
          [{shard :: non_neg_integer, epoch :: non_neg_integer}],
          to :: binary | nil,
          timeout_ms :: non_neg_integer
        ) :: id :: pos_integer
  def shards_hand(_records, _shards, _to, _timeout_ms), do: :erlang.nif_error(:not_loaded)

  @doc "Milliseconds since the machine was started, with those in which it slept."
  @spec boottime_ms :: non_neg_integer
  def boottime_ms, do: :erlang.nif_error(:not_loaded)

  @doc "A term as JSON text: maps, lists, binaries, numbers and atoms."
  @spec json_encode(term) :: binary
  def json_encode(_term), do: :erlang.nif_error(:not_loaded)

  @doc "The same of a term whose text has some 100 KiB and more."
  @spec json_encode_large(term) :: binary
  def json_encode_large(_term), do: :erlang.nif_error(:not_loaded)

  @doc "JSON text as a term; keys are binaries. An error says where it is no JSON, or which name an object has twice."
  @spec json_decode(binary) :: {:ok, term} | {:error, binary}
  def json_decode(_text), do: :erlang.nif_error(:not_loaded)

  @doc "The same of a text of some 100 KiB and more."
  @spec json_decode_large(binary) :: {:ok, term} | {:error, binary}
  def json_decode_large(_text), do: :erlang.nif_error(:not_loaded)

  @doc """
  Starts the HTTP edge. Requests that it does not answer by itself go to `dispatchers` as
  `{:tidepool_http, queue}`, sent for the first that `http_unannounced/1` has not told of, and `{:tidepool_hangup, pid}` when nobody
  waits any more for the answer of a process that has taken one. Of several the first has the requests for the node's health, and
  none but these; of the others the first also gets `{:tidepool_refused, request, reason, peer, left_out}` for some of the requests
  that the edge has refused.

  The setting `endpoints` are the rows of the edge's table: maps with `handler` (a module), `method`, `path`, `guarded`, `observes`,
  `query`, `headers`, `body` (`:nothing`, `{:whole, bytes}` or `{:pieces, bytes}`) and `places` (a number or `nil`). `tls` is an
  `t:identity/0`, or `nil` for HTTP in the clear. `trace_share`, from 0.0 to 1.0, is how many of the calls without a trace of their
  sender's are recorded, and get a process; with `nil` nobody asks for traces.
  """
  @spec http_start(runtime, map, [pid]) ::
          {:ok, server, :inet.port_number()} | {:error, atom, message :: binary}
  def http_start(_runtime, _config, _dispatchers), do: :erlang.nif_error(:not_loaded)

  @doc "How many requests have come to a queue since this was asked last: so many processes have to take one each."
  @spec http_unannounced(request_queue) :: non_neg_integer
  def http_unannounced(_queue), do: :erlang.nif_error(:not_loaded)

  @doc """
  Makes the caller the process that serves the next request of a queue; `nil` when there is none that anybody waits for.
  The third is what a call needs next that the edge began, and `nil` for other requests. A request for what
  the edge's table has is `{:resource, handler, request}`. Of a call and a deploy the last element is `nil`, or whether it is
  recorded and what it is part of: `{nil | {trace_id, span_id}, sampled?}`. When the caller dies, the client is told.
  """
  @spec http_take(request_queue) :: {responder, route :: term, step | nil} | nil
  def http_take(_queue), do: :erlang.nif_error(:not_loaded)

  @doc """
  Answers a request, once. `:reply` is `:text` when the body is UTF-8 and `:bytes` otherwise; a string is the content type as it
  goes out. The status 100 lets the body in of a call that asked whether it may come.
  """
  @spec http_answer(
          responder,
          100 | 200..599,
          :json | :reply | :text | :bytes | binary,
          [{binary, binary}],
          binary
        ) :: :ok
  def http_answer(_responder, _status, _type, _headers, _body), do: :erlang.nif_error(:not_loaded)

  @doc """
  Begins the answer to a request for a resource, whose body comes piece by piece; `:closed` when nobody waits for it. The caller
  gets `{:tidepool_stream, id, :closed}` when the client is gone, and `{:tidepool_stream, id, :draining}` when the edge is about to
  stop. When the caller dies, the client sees the body break off.
  """
  @spec http_stream(responder, 200..599, :json | :reply | :text | :bytes | binary, [{binary, binary}]) ::
          {:ok, stream, id :: pos_integer} | :closed
  def http_stream(_responder, _status, _type, _headers), do: :erlang.nif_error(:not_loaded)

  @doc """
  Goes on with an answer: how many of the bytes were taken. When not all were, `{:tidepool_stream, id, :room}` follows to who has
  begun it.
  """
  @spec http_write(stream, binary) :: taken :: non_neg_integer | :closed
  def http_write(_stream, _bytes), do: :erlang.nif_error(:not_loaded)

  @doc "The answer is whole."
  @spec http_finish(stream) :: :ok
  def http_finish(_stream), do: :erlang.nif_error(:not_loaded)

  @doc """
  The next piece of a body. `:later` asks for it: the process that has taken the request gets `{:tidepool_body, id, :ready}` when it
  has come, or the end.
  """
  @spec http_read(body) :: {:data, binary} | :done | {:error, reason :: binary} | :later
  def http_read(_body), do: :erlang.nif_error(:not_loaded)

  @typedoc """
  The contents of PEM files: the server's certificates and their key; more of them, with what their files are called, for clients
  that ask for a host of theirs; and those that clients' certificates are of.
  """
  @type identity ::
          {certificates :: binary, key :: binary, [{name :: String.t(), certificates :: binary, key :: binary}],
           clients :: binary | nil}

  @doc """
  What of the further certificates of an identity can't be used, or not for all of their hosts: what their files are called,
  why, and whether they are used for others. The edge goes on without the rest. An error says why nothing can be used.
  """
  @spec http_unfit(identity) ::
          {:ok, [{name :: String.t(), message :: String.t(), used? :: boolean}]} | {:error, message :: binary}
  def http_unfit(_identity), do: :erlang.nif_error(:not_loaded)

  @doc "Has connections that are still to come see these certificates; an edge that speaks no TLS goes on without."
  @spec http_identify(server, identity) :: :ok | {:error, message :: binary}
  def http_identify(_server, _identity), do: :erlang.nif_error(:not_loaded)

  @typedoc "A token as the edge knows it: its name, the SHA-256 of its secret, its scopes, its functions, and when it expires."
  @type token :: {String.t(), <<_::256>>, [String.t()], functions :: String.t(), expires_at :: pos_integer}

  @doc "From now on these tokens are good beside the edge's own, and no others."
  @spec http_grant(server, [token]) :: :ok
  def http_grant(_server, _tokens), do: :erlang.nif_error(:not_loaded)

  @doc "Stops the edge in order; the caller gets `{:tidepool_drained, finished, cut}`."
  @spec http_drain(server, non_neg_integer) :: :ok
  def http_drain(_server, _limit_ms), do: :erlang.nif_error(:not_loaded)

  @doc "Lets a secret stand for the edge's token once, as a bearer, within so many ms."
  @spec http_open_code(server, secret :: binary, lifetime_ms :: non_neg_integer) :: :ok
  def http_open_code(_server, _secret, _lifetime_ms), do: :erlang.nif_error(:not_loaded)

  @doc """
  Lets a cookie, for requests that have its key in the header `x-tidepool`, stand for the token whose secret has this SHA-256, or for
  the edge's own: for so long, until its user does nothing for so long, or until there is no such token.
  """
  @spec http_open_session(
          server,
          id :: binary,
          key :: binary,
          of :: <<_::256>> | nil,
          lifetime_ms :: non_neg_integer,
          idle_ms :: non_neg_integer
        ) :: :ok
  def http_open_session(_server, _id, _key, _of, _lifetime_ms, _idle_ms), do: :erlang.nif_error(:not_loaded)

  @doc "Ends the session of a cookie with its key."
  @spec http_close(server, id :: binary, key :: binary) :: :ok
  def http_close(_server, _id, _key), do: :erlang.nif_error(:not_loaded)

  @doc "What the edge counts."
  @spec http_stats(server) :: %{atom => non_neg_integer}
  def http_stats(_server), do: :erlang.nif_error(:not_loaded)
end
