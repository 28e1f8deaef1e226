defmodule TidepoolWeb.Resources.Functions.Recent do
  @moduledoc "What a function printed last on this node, and with what its calls failed: see `Tidepool.Engine.Recent`."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Catalog, Error, Options}
  alias Tidepool.Engine.Recent
  alias Tidepool.Function.Fields
  alias TidepoolWeb.Reply

  @parameters ["after", "limit"]

  @impl true
  # Guests print what they like, and callers send it.
  def routes do
    [
      {"GET", "/functions/:function/logs", scope: :read, guarded: true, query: true},
      {"GET", "/functions/:function/failures", scope: :read, guarded: true, query: true}
    ]
  end

  @impl true
  def serve("GET", ["functions", name, "logs"], request), do: answer(:lines, name, request.query)
  def serve("GET", ["functions", name, "failures"], request), do: answer(:failures, name, request.query)

  defp answer(kind, name, query) do
    with {:ok, _function} <- Catalog.fetch(name),
         :ok <- known(query),
         {:ok, limit} <- number(query, "limit", 1, Recent.most(kind)),
         {:ok, position} <- number(query, "after", 0, :infinity) do
      {position, missed, entries} = found(kind, name, position, limit || Recent.most(kind))
      Reply.json(200, %{kind => Enum.map(entries, &shown/1), name: name, position: position, missed: missed})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  defp found(kind, name, nil, limit) do
    {position, entries} = Recent.newest(kind, name, limit)
    {position, 0, entries}
  end

  # What the native library takes for a number; there are no more of anything.
  defp found(kind, name, position, limit), do: Recent.following(kind, name, min(position, 0xFFFF_FFFF_FFFF), limit)

  @doc "A line, or a failure, as JSON has it."
  @spec shown(Recent.entry()) :: map
  def shown(%{stream: stream} = line), do: Map.put(line, :level, if(stream == :stderr, do: :warning, else: :info))

  def shown(%{error: error, payload: payload} = failure) do
    members = error |> Reply.members() |> Map.merge(Map.drop(failure, [:error, :payload]))
    if payload, do: Map.put(members, :payload_base64, Base.encode64(payload)), else: members
  end

  defp known(query) do
    case Enum.map(query, &elem(&1, 0)) -- @parameters do
      [] -> :ok
      [name | _others] when name in @parameters -> twice(name)
      [name | _others] -> Fields.unknown("parameter", name, @parameters)
    end
  end

  defp twice(name),
    do: {:error, Error.new(:duplicate_field, "give the parameter `#{name}` once", nil, %{field: name})}

  defp number(query, name, least, most) do
    with {_name, text} <- List.keyfind(query, name, 0),
         :error <- Options.read(text, {:integer, least, most}) do
      range = if most == :infinity, do: "from #{least} on", else: "from #{least} to #{most}"
      {:error, Error.new(:invalid_option, "the parameter `#{name}` has to be a number #{range}")}
    else
      nil -> {:ok, nil}
      {:ok, number} -> {:ok, number}
    end
  end
end
