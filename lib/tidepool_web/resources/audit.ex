defmodule TidepoolWeb.Resources.Audit do
  @moduledoc "What was changed on this node and by whom, newest first: see `Tidepool.Audit`."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Audit
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resource.{Parameters, Shares}

  @parameters [
    {"limit", {{:integer, 1, Audit.most()}, 100}},
    {"before", {{:integer, 1, :infinity}, nil}},
    {"since", {{:integer, 0, :infinity}, nil}},
    {"name", {:text, nil}}
  ]
  # Those of functions, by their names. Others have names of other things, which may look like a function's.
  @of_functions [
    "deploy",
    "rollback",
    "remove",
    "process_started",
    "process_killed",
    "process_upgraded",
    "actor_deleted"
  ]

  # Each reads a file of 4 MiB at a time, and may read all of them.
  @places 4

  @impl true
  def routes, do: [{"GET", "/audit", scope: :admin, guarded: true, selects: true, query: true, places: @places}]

  @impl true
  def serve("GET", ["audit"], %{query: query, origin: origin}) do
    with {:ok, %{"limit" => limit, "before" => before, "since" => since, "name" => name}} <-
           Parameters.read(query, @parameters),
         :ok <- Shares.place(:audit, origin, @places, "requests for the audit") do
      sees? = fn entry -> Access.sees?(origin, function(entry)) end
      {entries, next} = Audit.list(before, limit, %{since: since, name: name, sees?: sees?})
      Reply.json(200, %{node: node(), entries: entries, next: next})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  # After a function's name there may be that of an actor of it, or the number of a process.
  defp function(%{action: action, name: name}) when action in @of_functions and is_binary(name),
    do: name |> String.split(" ") |> hd()

  defp function(_other), do: nil
end
