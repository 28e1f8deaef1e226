defmodule Tidepool.Telemetry.DefaultLogger do
  @moduledoc """
  Logs events, one entry for each that ends something: see `Tidepool.Telemetry.attach_default_logger/1`.

  An entry is flat and has units in its names: times become `duration_us`, `cpu_time_us` and `queue_time_us`. What was
  refused or failed has a `reason`, with `trap` or `limit` beside it, and never the error's text.
  """

  require Logger

  alias Tidepool.{Native, Options}
  alias Tidepool.Error.Reason
  alias Tidepool.Telemetry.{Events, Listeners}

  @levels [:emergency, :alert, :critical, :error, :warning, :notice, :info, :debug]
  @groups Events.all() |> Enum.map(fn [:tidepool, group, _suffix] -> group end) |> Enum.uniq()

  @schema [
    level: [type: {:one_of, @levels}, default: :info, doc: "of all entries."],
    events: [
      type: {:check, &__MODULE__.events?/1, ":all or a list with any of #{Enum.map_join(@groups, ", ", &inspect/1)}"},
      default: :all,
      doc: "what is logged, when it ends."
    ],
    encode: [
      type: :boolean,
      default: true,
      doc: "whether an entry is a line of JSON; else it is a report, a map for Logger's formatters and handlers."
    ]
  ]

  @doc "The schema of the options."
  @spec schema :: Options.schema()
  def schema, do: @schema

  @doc "See `Tidepool.Telemetry.attach_default_logger/1`."
  @spec attach(Logger.level() | keyword) :: :ok | {:error, :already_exists}
  def attach(level) when level in @levels, do: attach(level: level)

  def attach(options) do
    config = Options.check!(options, @schema, "Tidepool.Telemetry.attach_default_logger/1: the option")

    events =
      for [:tidepool, group, suffix] = event <- Events.all(),
          suffix != :start and (config.events == :all or group in config.events),
          do: event

    Listeners.attach(__MODULE__, events, &__MODULE__.handle/4, Map.take(config, [:level, :encode]))
  end

  @doc "See `Tidepool.Telemetry.detach_default_logger/0`."
  @spec detach :: :ok | {:error, :not_found}
  def detach, do: Listeners.detach(__MODULE__)

  @doc false
  def handle([:tidepool, group, suffix], measurements, metadata, config) do
    # What is not logged is not made, either.
    message = fn ->
      entry = entry("#{group}:#{suffix}", measurements, metadata)
      if config.encode, do: Native.json_encode(entry), else: entry
    end

    Logger.log(config.level, message, tidepool_function: metadata[:function])
  end

  defp entry(event, measurements, metadata) do
    sizes = Map.take(measurements, [:payload_bytes, :reply_bytes, :module_bytes, :peak_memory_bytes])

    times =
      for key <- [:duration, :cpu_time, :queue_time], time = measurements[key], into: %{} do
        {:"#{key}_us", System.convert_time_unit(time, :native, :microsecond)}
      end

    about =
      for {key, value} <- metadata,
          key not in [:telemetry_span_context, :kind, :reason, :stacktrace],
          into: %{},
          do: {key, readable(value)}

    %{source: "tidepool", event: event}
    |> Map.merge(sizes)
    |> Map.merge(times)
    |> Map.merge(about)
    |> Map.merge(failure(metadata))
  end

  defp failure(%{reason: {word, kind}} = metadata) when is_atom(word) and is_atom(kind) do
    if Reason.kinds(word) == [],
      do: metadata |> Map.delete(:reason) |> failure(),
      else: %{:reason => word, word => kind}
  end

  defp failure(%{reason: reason}) when is_atom(reason), do: %{reason: reason}
  # What was raised is no reason of Tidepool's; who raised it has its text.
  defp failure(%{kind: kind}), do: %{reason: kind}
  defp failure(_ended_well), do: %{}

  # Guests and callers choose names.
  defp readable(value) when is_binary(value), do: if(String.valid?(value), do: value, else: inspect(value))
  defp readable(value), do: value

  @doc false
  def events?(:all), do: true
  def events?([_ | _] = groups), do: not List.improper?(groups) and Enum.all?(groups, &(&1 in @groups))
  def events?(_no_groups), do: false
end
