defmodule Tidepool.Telemetry do
  @moduledoc """
  Events: what calls, host calls, deploys and compiles take.

  In an application that has `:telemetry`, these are its events, and handlers are attached with it as usual. They are
  noticed within a second; `attach/4` of this module is noticed at once, and works without `:telemetry` as well:

      Tidepool.Telemetry.attach("slow calls", [[:tidepool, :call, :stop]], fn _event, measurements, metadata, _config ->
        if measurements.duration > 50_000_000, do: Logger.warning("\#{metadata.function} was slow")
      end)

  A handler runs in the process that the event is about, a caller's for the most part, and holds that up; one that raises
  is detached. Without a listener, a call reads one flag for all of this.

  ## Events

  | event | measurements | metadata |
  | --- | --- | --- |
  | `[:tidepool, :call, :start]` | `system_time`, `monotonic_time`, `payload_bytes` | `function`, `operation`, `depth` |
  | `[:tidepool, :call, :stop]` | `duration`, `monotonic_time`, `payload_bytes`, `reply_bytes`, `cpu_time`, `queue_time`, `peak_memory_bytes` | the same |
  | `[:tidepool, :call, :exception]` | those of `:stop` but for `reply_bytes` | the same, `kind`, `reason`, `stacktrace` |
  | `[:tidepool, :queue, :stop]` | `duration` | those of the call, `admitted` |
  | `[:tidepool, :host_call, :start]` | `system_time`, `monotonic_time`, `payload_bytes` | `function`, `binding`, `namespace`, `operation` |
  | `[:tidepool, :host_call, :stop]` | `duration`, `monotonic_time`, `payload_bytes`, `reply_bytes` | the same, `result` |
  | `[:tidepool, :deploy, :start]` | `system_time`, `monotonic_time`, `module_bytes` | `function` |
  | `[:tidepool, :deploy, :stop]` | `duration`, `monotonic_time`, `module_bytes` | the same, `version`, `change` |
  | `[:tidepool, :deploy, :exception]` | those of `:stop` | the same but for the last two, `step`, `kind`, `reason`, `stacktrace` |
  | `[:tidepool, :compile, :start]` | `system_time`, `monotonic_time`, `module_bytes` | |
  | `[:tidepool, :compile, :stop]` | `duration`, `monotonic_time`, `module_bytes` | `abi`, `cached`, `tier` |
  | `[:tidepool, :compile, :exception]` | those of `:stop` | `kind`, `reason`, `stacktrace` |
  | `[:tidepool, :optimise, :stop]` | `duration`, `monotonic_time` | `function`, `version` |
  | `[:tidepool, :optimise, :exception]` | `monotonic_time` | the same, `kind`, `reason`, `stacktrace` |

  The last two tell that a function which the baseline tier served runs its optimised code from now on, or that there is
  none; nothing tells of one that was replaced or removed before. They have a process of their own.

  All of one call, deploy or the like have the same `telemetry_span_context` in their metadata. After `:start` comes one of
  `:stop` and `:exception`, unless the process is killed: then nothing does. Payloads and replies are in no event.

  ### Measurements

  - `duration`, `monotonic_time`, `system_time`: in `:native` units, as `System.convert_time_unit/3` has them. A call's
    duration is all of it, host calls and waiting among them.
  - `cpu_time`: what the guest has computed, in `:native` units; without its host calls.
  - `queue_time`: what the call waited for an instance, in `:native` units. When it is above 0 there was a `:queue` event, too.
  - `peak_memory_bytes`: the largest size that the guest's linear memory had by the end of the call. A warm instance keeps
    what earlier calls have grown. 0 for a call that got no instance.
  - `payload_bytes`, `reply_bytes`, `module_bytes`: sizes in bytes.

  ### Metadata

  - `function`: its name. `operation`: as asked for; `nil` is the function's own. `depth`: 1 for a call from outside,
    one more for each call around it.
  - `admitted`: whether the wait in the queue ended with an instance.
  - `result`: `:ok`; `:error` when the guest was given an error; `:timeout` when the call ended first.
  - `tier`: `:baseline` or `:optimised`; see `Tidepool.Function`.
  - `change`: `:created` or `:unchanged`. `step`: see `Tidepool.Deploy`.
  - `kind`, `reason`, `stacktrace`: for an error that the caller was given, `:error`, the reason of the `Tidepool.Error` and `[]`.
  """

  alias Tidepool.{Error, Options, Trace}
  alias Tidepool.Telemetry.{DefaultLogger, Events, Listeners}

  @type event :: [atom, ...]
  @type handler :: (event, measurements :: map, metadata :: map, config :: term -> term)

  @type default_logger_option ::
          {:level, Logger.level()}
          | {:events, :all | [:call | :queue | :host_call | :deploy | :compile | :optimise]}
          | {:encode, boolean}

  @doc "All events."
  @spec events :: [event]
  defdelegate events, to: Events, as: :all

  @doc """
  Calls `handler` for `events` from now on, through `:telemetry` where there is one.

  Raises `ArgumentError` for an event that there is not.
  """
  @spec attach(term, [event], handler, term) :: :ok | {:error, :already_exists}
  def attach(id, events, handler, config \\ nil) do
    is_list(events) || Options.wrong!("Tidepool.Telemetry.attach/4: what to attach to", "a list of events", events)

    is_function(handler, 4) ||
      Options.wrong!("Tidepool.Telemetry.attach/4: the handler", "a function of four arguments", handler)

    with [unknown | _more] <- Enum.reject(events, &(&1 in Events.all())) do
      raise ArgumentError, "there is no event #{Options.show(unknown)}; Tidepool.Telemetry.events/0 has them all"
    end

    Listeners.attach(id, events, handler, config)
  end

  @doc "Detaches a handler."
  @spec detach(term) :: :ok | {:error, :not_found}
  def detach(id), do: Listeners.detach(id)

  @doc """
  Logs what calls, host calls, deploys, compiles and waits for an instance took and how they ended, through Logger, from now
  on:

      Tidepool.Telemetry.attach_default_logger(level: :debug, events: [:call, :deploy])

      {"source":"tidepool","event":"call:stop","function":"greeter","operation":"hello","depth":1,"duration_us":54,…}

  An entry has the event, its metadata and measurements, times in µs, and for what failed its `reason`; payloads, replies and
  the texts of errors are in none. The function is in Logger's metadata as well, as `:tidepool_function`. There is one entry
  for each event that ends something, written by the process that it is about: for many short calls choose the events.

  Pass options, or a level alone.

  ## Options

  - `:level`: of all entries, one of Logger's. Default `:info`.
  - `:events`: `:all`, or a list with any of `:call`, `:queue`, `:host_call`, `:deploy`, `:compile` and `:optimise`. Default
    `:all`.
  - `:encode`: whether an entry is a line of JSON; with `false` it is a report, a map for Logger's formatters and handlers.
    Default `true`.

  Raises `ArgumentError` for other options.
  """
  @spec attach_default_logger(Logger.level() | [default_logger_option]) :: :ok | {:error, :already_exists}
  def attach_default_logger(options \\ []), do: DefaultLogger.attach(options)

  @doc "Ends what `attach_default_logger/1` began."
  @spec detach_default_logger :: :ok | {:error, :not_found}
  def detach_default_logger, do: DefaultLogger.detach()

  @doc "Does anybody listen to any event, or are there traces?"
  @spec listening? :: boolean
  # Read here, on each call's way: a function in between would double the cost.
  def listening?, do: :persistent_term.get(Listeners, nil) != nil

  @doc false
  @spec emit(event, map, map) :: :ok
  def emit(event, measurements, metadata) do
    with backend when backend != nil <- Listeners.backend(),
         {:failed, handlers} <- backend.execute(event, measurements, metadata) do
      Enum.each(handlers, &Listeners.drop/1)
    end

    :ok
  end

  @doc false
  # The event at the end of what native threads have done, for so many µs. Told in a process of its own, for the one that
  # got to know of it has others to serve.
  @spec report(atom, non_neg_integer, map, :ok | {:error, Error.t()}) :: :ok
  def report(name, us, metadata, result) do
    if listening?() do
      {suffix, failure} = ending(result)
      duration = if suffix == :stop, do: %{duration: System.convert_time_unit(us, :microsecond, :native)}, else: %{}
      measurements = Map.put(duration, :monotonic_time, System.monotonic_time())
      {:ok, _pid} = Task.start(fn -> emit([:tidepool, name, suffix], measurements, Map.merge(metadata, failure)) end)
    end

    :ok
  end

  @doc false
  # The events around `fun`, which gets the metadata and returns its result, with more measurements and metadata.
  # An `{:error, %Tidepool.Error{}}`, alone or first of a pair, makes it an exception.
  @spec span(atom, map, map, (map -> {result, map, map})) :: result when result: term
  def span(name, measurements, metadata, fun) do
    if listening?(), do: spanned(name, measurements, metadata, fun), else: metadata |> fun.() |> elem(0)
  end

  defp spanned(name, measurements, metadata, fun) do
    began = System.monotonic_time()
    span = Trace.begin(name, metadata)
    metadata = Map.put(metadata, :telemetry_span_context, make_ref())
    times = %{system_time: System.system_time(), monotonic_time: began}
    emit([:tidepool, name, :start], Map.merge(measurements, times), metadata)

    try do
      fun.(metadata)
    catch
      kind, reason ->
        failure = %{kind: kind, reason: reason, stacktrace: __STACKTRACE__}
        Trace.finish(span, measurements, Map.merge(metadata, failure))
        emit([:tidepool, name, :exception], Map.merge(measurements, since(began)), Map.merge(metadata, failure))
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      {result, more_measurements, more_metadata} ->
        {suffix, failure} = ending(result)
        measurements = measurements |> Map.merge(more_measurements) |> Map.merge(since(began))
        metadata = metadata |> Map.merge(more_metadata) |> Map.merge(failure)
        Trace.finish(span, measurements, metadata)
        emit([:tidepool, name, suffix], measurements, metadata)
        result
    end
  end

  defp ending({:error, %Error{reason: reason}}) do
    {:exception, %{kind: :error, reason: reason, stacktrace: []}}
  end

  defp ending({{:error, %Error{}} = failed, _beside}), do: ending(failed)
  defp ending(_result), do: {:stop, %{}}

  defp since(began) do
    now = System.monotonic_time()
    %{duration: now - began, monotonic_time: now}
  end
end
