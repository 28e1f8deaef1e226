defmodule TidepoolWeb.Resources.Functions.Recordings do
  @moduledoc "Recordings of calls on this node: listed, fetched, deleted. See `Tidepool.Recording`."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Log, Recording}
  alias Tidepool.Log.Change
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resource.{Parameters, Shares}

  @most 1_000
  @places 2
  @fetched 8
  @parameters [{"function", {:text, nil}}, {"limit", {{:integer, 1, @most}, 100}}]

  @impl true
  # They hold what callers sent.
  def routes do
    [
      {"GET", "/recordings", scope: :read, guarded: true, selects: true, query: true, places: @places},
      # Of as many bytes as a recording may have, each.
      {"GET", "/recordings/:id", scope: :deploy, guarded: true, places: @fetched},
      {"DELETE", "/recordings/:id", scope: :deploy}
    ]
  end

  @impl true
  def serve("GET", ["recordings"], %{query: query, origin: origin}) do
    with {:ok, %{"function" => function, "limit" => limit}} <- Parameters.read(query, @parameters),
         :ok <- Shares.place(:recordings, origin, @places, "lists of recordings"),
         own = Access.functions(origin),
         {:ok, recordings} <- Recording.list(function || own, @most, own) do
      # One with a token for some functions is told of those.
      seen = recordings |> Stream.filter(&Access.sees?(origin, &1[:function])) |> Enum.take(limit)
      Reply.json(200, %{node: node(), recordings: seen})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("GET", ["recordings", id], _request) do
    case Recording.fetch(id) do
      {:ok, recording} -> {200, :bytes, [{"content-disposition", "attachment; filename=\"#{id}.tiderec\""}], recording}
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("DELETE", ["recordings", id], %{origin: origin}) do
    deleted =
      Change.make(fn ->
        with :ok <- Recording.delete(id), do: Log.changed(:recording_deleted, id, origin)
      end)

    case deleted do
      :ok -> Reply.json(200, %{deleted: id})
      {:error, error} -> Reply.error(error)
    end
  end
end
