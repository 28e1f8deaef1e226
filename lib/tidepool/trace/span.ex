defmodule Tidepool.Trace.Span do
  @moduledoc """
  A span: what of a call, a host call, a deploy or a compile is sent, and as what. Payloads, replies and the texts of errors are in
  none.
  """

  alias Tidepool.Error.Reason
  alias Tidepool.Options
  alias Tidepool.Trace.Context

  @typedoc "`start` is in ns since 1970, `began` in the VM's monotonic time, `duration` in ns; attributes are pairs."
  @type t :: %__MODULE__{
          context: Context.t(),
          parent: <<_::64>> | nil,
          kind: :internal | :server | :client,
          name: String.t(),
          start: integer,
          began: integer,
          duration: non_neg_integer | nil,
          attributes: [{String.t(), String.t() | integer}],
          error: String.t() | nil
        }

  @enforce_keys [:context, :parent, :kind, :name, :start, :began, :attributes]
  defstruct @enforce_keys ++ [duration: nil, error: nil]

  # Callers and guests choose names and operations.
  @text_bytes 256

  @known [:function, :operation, :actor, :depth, :binding, :namespace, :version, :change, :abi, :cached, :tier, :step]
  @measured [:payload_bytes, :reply_bytes, :module_bytes, :peak_memory_bytes]
  @timed [:cpu_time, :queue_time]

  @doc "A span that begins now."
  @spec begin(Context.t(), parent :: <<_::64>> | nil, atom, map) :: t
  def begin(context, parent, group, metadata) do
    %__MODULE__{
      context: context,
      parent: parent,
      kind: kind(group, context),
      name: name(group, metadata),
      start: System.system_time(:nanosecond),
      began: System.monotonic_time(),
      attributes: known(metadata)
    }
  end

  defp kind(_group, %{remote?: true}), do: :server
  defp kind(:actor, _context), do: :client
  defp kind(_group, _context), do: :internal

  # So that spans of a name are of a kind: an operation may be anything.
  defp name(:host_call, %{binding: binding, namespace: namespace}), do: text("host_call #{binding}/#{namespace}")
  defp name(group, %{function: name}) when is_binary(name), do: text("#{group} #{name}")
  defp name(group, _metadata), do: "#{group}"

  @doc "The same at its end, with what it took and what it failed with."
  @spec finish(t, measurements :: map, metadata :: map) :: t
  def finish(span, measurements, metadata) do
    took = System.convert_time_unit(System.monotonic_time() - span.began, :native, :nanosecond)
    measured = for key <- @measured, value = measurements[key], do: {"tidepool.#{key}", value}
    timed = for key <- @timed, value = measurements[key], do: {"tidepool.#{key}_us", us(value)}
    more = metadata |> known() |> Enum.reject(&(&1 in span.attributes))

    %{span | duration: took, attributes: span.attributes ++ more ++ measured ++ timed, error: error(metadata)}
  end

  defp us(native), do: System.convert_time_unit(native, :native, :microsecond)

  defp known(metadata) do
    for key <- @known, value = metadata[key], do: {"tidepool.#{key}", value(value)}
  end

  defp value(value) when is_integer(value), do: value
  defp value(value) when is_binary(value), do: text(value)
  defp value(value) when is_atom(value), do: "#{value}"
  # What nobody should have passed.
  defp value(value), do: value |> Options.show() |> text()

  defp error(%{reason: {word, kind}} = metadata) when is_atom(word) and is_atom(kind) do
    if Reason.kinds(word) == [], do: metadata |> Map.delete(:reason) |> error(), else: "#{word}.#{kind}"
  end

  defp error(%{reason: reason}) when is_atom(reason), do: "#{reason}"
  # What was raised has its text where it was raised.
  defp error(%{kind: kind}), do: "#{kind}"
  # Of a host call: its handler's error, or its silence.
  defp error(%{result: result}) when result in [:error, :timeout], do: "#{result}"
  defp error(_ended_well), do: nil

  # Copied: a part would keep the whole, for as long as the collector is away.
  defp text(text) when byte_size(text) > @text_bytes, do: text |> Options.cut(@text_bytes) |> text()

  defp text(text),
    do: if(String.valid?(text), do: :binary.copy(text), else: String.replace(text, ~r/[^\x20-\x7e]/, "�"))

  @kinds %{internal: 1, server: 2, client: 3}

  @doc "As OTLP's JSON has it, in a term."
  @spec term(t) :: map
  def term(span) do
    %{
      traceId: Context.hex(span.context.trace_id),
      spanId: Context.hex(span.context.span_id),
      parentSpanId: if(span.parent, do: Context.hex(span.parent), else: ""),
      name: span.name,
      kind: @kinds[span.kind],
      # 64 bits are text there.
      startTimeUnixNano: "#{span.start}",
      endTimeUnixNano: "#{span.start + span.duration}",
      attributes: attributes(if(span.error, do: [{"error.type", span.error} | span.attributes], else: span.attributes)),
      status: if(span.error, do: %{code: 2}, else: %{})
    }
  end

  @doc "Attributes as OTLP's JSON has them."
  @spec attributes([{String.t(), String.t() | integer}]) :: [map]
  def attributes(pairs), do: for({key, value} <- pairs, do: %{key: key, value: typed(value)})

  defp typed(value) when is_integer(value), do: %{intValue: "#{value}"}
  defp typed(value), do: %{stringValue: value}
end
