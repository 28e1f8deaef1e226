defmodule TidepoolWeb.Resources.Audit do
  @moduledoc "What was changed on this node and by whom, newest first: see `Tidepool.Audit`."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Audit, Error, Options}
  alias Tidepool.Function.Fields
  alias TidepoolWeb.Reply

  @parameters ["before", "limit"]
  @limit 100

  @impl true
  def routes, do: [{"GET", "/audit", scope: :admin, guarded: true, query: true}]

  @impl true
  def serve("GET", ["audit"], %{query: query}) do
    with :ok <- known(query),
         {:ok, limit} <- number(query, "limit", @limit, Audit.most()),
         {:ok, before} <- number(query, "before", nil, :infinity) do
      {entries, next} = Audit.list(before, limit)
      Reply.json(200, %{node: node(), entries: entries, next: next})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  defp known(query) do
    case Enum.map(query, &elem(&1, 0)) -- @parameters do
      [] -> :ok
      [parameter | _more] when parameter in @parameters -> wrong("give the parameter `#{parameter}` once")
      [parameter | _more] -> Fields.unknown("parameter", parameter, @parameters)
    end
  end

  defp number(query, parameter, default, most) do
    type = {:integer, 1, most}

    case List.keyfind(query, parameter, 0) do
      nil ->
        {:ok, default}

      {_parameter, text} ->
        with :error <- Options.read(text, type),
             do: wrong("the parameter `#{parameter}` has to be #{Options.describe(type)}")
    end
  end

  defp wrong(message), do: {:error, Error.new(:invalid_option, message)}
end
