defmodule TidepoolWeb.Resources.Mcp.Listening do
  @moduledoc """
  Streams that tell a client when tools come, change or go, so that it lists them again.

  They are read from the ring of this node's events (`TidepoolWeb.EventRing`), which has what any node of the cluster
  deploys as soon as this one can call it. Changes that come while the client does not read are told of once. A client
  is told of what its token lets it see alone.
  """

  alias Tidepool.Catalog.Origin
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.{EventStream, Resource, Topics}
  alias TidepoolWeb.Resource.Shares
  alias TidepoolWeb.Resources.Mcp.Messages

  @listeners 64
  @ping_ms 10_000
  @retry_ms 1_000

  @changed "notifications/tools/list_changed"
  @subscription "io.modelcontextprotocol/subscriptionId"

  @doc "How many may listen at once on a node."
  @spec most :: pos_integer
  def most, do: @listeners

  @doc """
  The answer to a `GET`, by which clients listen that begin with `initialize`.

  Each is told once at its beginning, for tools may have changed since it has listed them, or while it was away.
  """
  @spec stream(Origin.t()) :: Resource.answer() | Messages.refused()
  def stream(origin) do
    changed = Messages.event(Messages.notification(@changed, %{}))
    listen(origin, %{begin: ["retry: #{@retry_ms}\n" | changed], changed: changed, over: []}, %{})
  end

  @doc "The answer to a request of the newest version that listens: first what it is told of, then that, and a result at its end."
  @spec subscription(Messages.id(), params :: map, Messages.version(), Origin.t()) ::
          Resource.answer() | Messages.refused()
  def subscription(id, %{"notifications" => %{} = wanted}, version, origin) do
    meta = %{@subscription => id}
    honoured = if wanted["toolsListChanged"] == true, do: %{toolsListChanged: true}, else: %{}
    acknowledged = %{_meta: meta, notifications: honoured}
    changed = if honoured == %{}, do: [], else: Messages.event(Messages.notification(@changed, %{_meta: meta}))

    texts = %{
      begin: Messages.event(Messages.notification("notifications/subscriptions/acknowledged", acknowledged)),
      changed: changed,
      over: Messages.event(Messages.reply(id, {:ok, [], meta}, version))
    }

    listen(origin, texts, %{id: id})
  end

  def subscription(id, _params, _version, _origin) do
    {:refused, 400, :invalid_params, "`notifications` are missing: `{\"toolsListChanged\": true}` is what there is",
     %{id: id}}
  end

  defp listen(origin, texts, details) do
    with :ok <- place(origin) do
      sees? = &Access.sees?(origin, &1)
      changed? = fn {_number, {name, tools?}, _text} -> tools? and sees?.(name) end

      reader = %{
        permit: fn -> Topics.permit([], origin) end,
        begin: fn _known, _mark, _position -> texts.begin end,
        tell: fn _mark, missed, events, _position ->
          if missed > 0 or Enum.any?(events, changed?), do: texts.changed, else: []
        end,
        over: texts.over
      }

      EventStream.answer(&EventStream.read(&1, nil, @ping_ms, reader))
    else
      :full ->
        message =
          "#{@listeners} clients listen at most, and one leaves others their share: end a stream, or list now and then"

        {:refused, 503, :internal, message, details}
    end
  end

  # Those without a token that was made share by their addresses.
  defp place(origin) do
    holder = Shares.client(origin)

    with :ok <- Shares.take(:mcp, holder, @listeners),
         true <- Shares.count(:mcp) > @listeners do
      Shares.give_back(:mcp, holder)
      :full
    else
      false -> :ok
      :full -> :full
    end
  end
end
