defmodule Tidepool.Trace do
  @moduledoc """
  Traces: what calls, host calls, deploys and compiles took and what they were part of, sent as OpenTelemetry's spans to a
  collector, by OTLP over HTTP with JSON. The setting `otlp` turns it on; docs/tracing.md has what is in a span.

  A trace begins with a call or a deploy that is part of none, or goes on with its sender's: a request's header `traceparent`
  says which. What a call has its host do, the functions that its guest calls and the actors that it asks, on whichever node
  they are, are its children. Handlers find the header for what they ask in turn in their `Tidepool.Host.Call`, or here:

      Tidepool.Trace.traceparent()
      #=> "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

  Of what has no sender's trace the share `sample` is recorded; where a sender's trace is, that says whether it is. Over HTTP
  the edge decides that, so a call that is not recorded needs no process for it.

  Spans wait in a bounded queue for a process that sends them. When the collector is away or slow, spans are dropped and counted, and
  no call waits or fails. Without the setting a call reads the one flag that it reads for telemetry.
  """

  alias Tidepool.{Config, Error}
  alias Tidepool.Trace.{Context, Exporter, Span}

  # What a trace may begin with; the rest is a part of something or isn't recorded.
  @roots [:call, :actor, :deploy]

  @typedoc "What has begun, for `finish/3`; `nil` of what is in no trace."
  @opaque begun :: {outer :: Context.t() | nil, Span.t() | nil} | nil

  @doc "Are there traces on this node?"
  @spec on? :: boolean
  def on?, do: share() != nil

  @doc "The share of what has no sender's trace that is recorded, from 0.0 to 1.0; `nil` without traces."
  @spec share :: float | nil
  def share, do: :persistent_term.get(__MODULE__, nil)

  @doc false
  # Turns traces on or off, by the settings.
  @spec configure :: :ok
  def configure do
    case Config.get(:otlp) do
      nil -> :persistent_term.erase(__MODULE__)
      settings -> :persistent_term.put(__MODULE__, Tidepool.Trace.Settings.share(settings))
    end

    :ok
  end

  @doc false
  @spec clear :: :ok
  def clear do
    :persistent_term.erase(__MODULE__)
    :ok
  end

  @doc "The header `traceparent` for what this process asks of others now; `nil` outside of all traces."
  @spec traceparent :: String.t() | nil
  def traceparent, do: with(%Context{} = context <- Context.get(), do: Context.header(context))

  @doc false
  # What this process does from now on is part of what a request says, and recorded or not as the edge has decided.
  @spec enter(nil | {nil | {trace_id :: binary, span_id :: binary}, sampled? :: boolean}) :: :ok
  def enter(nil), do: :ok
  def enter({nil, sampled?}), do: sampled? |> Context.decided() |> Context.put()

  def enter({{trace_id, span_id}, sampled?}),
    do: Context.put(%Context{trace_id: trace_id, span_id: span_id, sampled?: sampled?, remote?: true})

  @doc false
  # What `fun` does is part of what a `traceparent` says that came from elsewhere; of none, as if nothing had been said.
  @spec within(term, (() -> result)) :: result when result: term
  def within(traceparent, fun) do
    context = if on?(), do: Context.parse(traceparent)

    if context do
      outer = Context.get()
      Context.put(context)

      try do
        fun.()
      after
        Context.put(outer)
      end
    else
      fun.()
    end
  end

  @doc false
  # The same as a span around `fun`.
  @spec span(atom, map, (() -> result)) :: result when result: term
  def span(group, metadata, fun) do
    case begin(group, metadata) do
      nil ->
        fun.()

      begun ->
        try do
          fun.()
        catch
          kind, reason ->
            finish(begun, %{}, %{kind: kind, reason: reason})
            :erlang.raise(kind, reason, __STACKTRACE__)
        else
          result ->
            finish(begun, %{}, ended(result))
            result
        end
    end
  end

  @doc false
  # What `finish/3` is to know of a result.
  @spec ended(term) :: map
  def ended({:error, %Error{reason: reason}}), do: %{kind: :error, reason: reason}
  def ended(_result), do: %{}

  @doc false
  # A span begins here, if it is part of a trace, or may begin one.
  @spec begin(atom, map) :: begun
  def begin(group, metadata) do
    case share() do
      nil -> nil
      share -> begin(Context.get(), group, metadata, share)
    end
  end

  defp begin(nil, group, metadata, share) when group in @roots do
    # As for others: until it ends, what is part of it is recorded or not as it is.
    context = Context.root(share)
    Context.put(context)
    {nil, if(context.sampled?, do: Span.begin(context, nil, group, metadata))}
  end

  defp begin(nil, _group, _metadata, _share), do: nil
  defp begin(%{sampled?: false}, _group, _metadata, _share), do: nil

  # The edge has decided that a trace begins here.
  defp begin(%{span_id: nil} = outer, group, metadata, _share), do: open(outer, nil, group, metadata)
  defp begin(outer, group, metadata, _share), do: open(outer, outer.span_id, group, metadata)

  defp open(outer, parent, group, metadata) do
    context = Context.child(outer)
    Context.put(context)
    {outer, Span.begin(%{context | remote?: outer.remote?}, parent, group, metadata)}
  end

  @doc false
  # A span ends, with what it took, and with `kind` and `reason` if it failed.
  @spec finish(begun, map, map) :: :ok
  def finish(nil, _measurements, _metadata), do: :ok

  def finish({outer, span}, measurements, metadata) do
    Context.put(outer)
    if span, do: span |> Span.finish(measurements, metadata) |> Exporter.take()
    :ok
  end

  @doc "What is counted, for the metrics: name, description and value of each."
  @spec metrics :: [{String.t(), String.t(), non_neg_integer}]
  def metrics do
    %{sent: sent, dropped: dropped} = Exporter.counts()

    [
      {"tidepool_spans_sent", "Spans that the collector has taken", sent},
      {"tidepool_spans_dropped", "Spans that were dropped, for the collector was away or slow", dropped}
    ]
  end
end
