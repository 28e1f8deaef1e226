defmodule TidepoolWeb.Resources.Cluster.Members do
  @moduledoc "The nodes that keep actors together: told, added, removed, replaced."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Actor.Members
  alias Tidepool.{Error, Log, Native}
  alias Tidepool.Log.Change
  alias TidepoolWeb.Reply

  @changes %{"add" => :add, "remove" => :remove, "replace" => :replace}
  @logged %{add: :member_added, remove: :member_removed, replace: :member_replaced}
  # Each asks all members, and a change waits for one that catches up.
  @places 16

  @impl true
  def routes do
    [
      {"GET", "/members", scope: :read, places: @places},
      {"POST", "/members", scope: :admin, body: {:whole, 1_024}, places: @places}
    ]
  end

  @impl true
  def serve("GET", ["members"], _request), do: told(Members.list())

  def serve("POST", ["members"], %{body: body, origin: origin}) do
    with {:ok, how, node} <- asked(Native.json_decode(body)),
         do: told(changed(how, node, origin)),
         else: ({:error, error} -> Reply.error(error))
  end

  defp changed(how, node, origin) do
    Change.make(fn ->
      with {:ok, members} <- Members.change(how, node) do
        Log.changed(@logged[how], node, origin)
        {:ok, members}
      end
    end)
  end

  defp told({:ok, members}), do: Reply.json(200, %{members: members})
  defp told({:error, error}), do: Reply.error(error)

  defp asked({:ok, %{} = object}) do
    case Map.to_list(object) do
      [{how, node}] when is_map_key(@changes, how) and is_binary(node) -> {:ok, @changes[how], node}
      _other -> wrong()
    end
  end

  defp asked(_other), do: wrong()

  defp wrong do
    message = "send a JSON object with one member: add, remove or replace, with the full name of a node"
    {:error, Error.new(:invalid_option, message)}
  end
end
