defmodule TidepoolWeb.Resources.Mcp.Running do
  @moduledoc """
  Calls of tools that go on, and how they end before their time.

  A call that a client may cancel, or that it is told the progress of, has a process of its own beside the request's: that
  one waits, is told of what comes meanwhile, and kills the call's, whose guest is gone with it. When the request's
  process is killed, as it is when its client hangs up, the call's goes along.

  A call is found by its owner, who has asked for it in a session, and the id that the request had. Two requests of
  one owner with the same id are both cancelled by it.
  """

  alias Tidepool.Catalog.Origin
  alias TidepoolWeb.Resources.Mcp.Messages
  alias TidepoolWeb.Stream

  @typedoc "Whose calls are whose: what a client came with, and its session."
  @type owner :: {who :: term, session :: String.t()}

  @typedoc "What is done each `every_ms` while the call goes on, for the client that reads a stream."
  @type beat :: %{
          stream: Stream.t(),
          every_ms: pos_integer,
          tell: (elapsed_ms :: pos_integer -> :ok | {:error, :closed})
        }

  @doc false
  def child_spec(_argument), do: Registry.child_spec(keys: :duplicate, name: __MODULE__)

  @doc "The owner of what a request asks for: none without a session."
  @spec owner(Origin.t(), String.t() | nil) :: owner | nil
  def owner(_origin, nil), do: nil
  def owner({{:token, _name, sha256}, _peer}, session), do: {{:token, sha256}, session}
  def owner({kind, _peer}, session), do: {kind, session}
  def owner(origin, session), do: {origin, session}

  @doc "What comes of a call, unless its owner cancels it or its client does not read any more: then its guest is gone."
  @spec run(owner | nil, Messages.id(), (() -> result), beat | nil) :: {:done, result} | :cancelled | :closed
        when result: term
  def run(owner, id, call, beat \\ nil)
  def run(nil, _id, call, nil), do: {:done, call.()}

  def run(owner, id, call, beat) do
    key = {owner, id}
    # Whether it was told that it is cancelled: while it waits for its client to read, nothing that it is told is taken.
    if owner, do: {:ok, _registry} = Registry.register(__MODULE__, key, :atomics.new(1, []))
    {parent, ref} = {self(), make_ref()}
    {pid, monitor} = :erlang.spawn_opt(fn -> send(parent, {ref, call.()}) end, [:link, :monitor])
    began = now()
    running = %{key: key, ref: ref, pid: pid, monitor: monitor, began: began, beat: beat}
    outcome = await(running, beat && began + beat.every_ms)
    if owner, do: Registry.unregister(__MODULE__, key)
    outcome
  end

  defp await(%{key: key, ref: ref, monitor: monitor, beat: beat} = running, due) do
    stream = beat && beat.stream.id

    receive do
      {^ref, result} ->
        Process.demonitor(monitor, [:flush])
        {:done, result}

      {:tidepool_mcp_cancelled, ^key} ->
        kill(running)
        :cancelled

      {:tidepool_stream, ^stream, :closed} ->
        kill(running)
        :closed
    after
      if(due, do: max(due - now(), 0), else: :infinity) -> beat(running)
    end
  end

  defp beat(%{began: began, beat: beat} = running) do
    case beat.tell.(now() - began) do
      :ok ->
        await(running, now() + beat.every_ms)

      {:error, :closed} ->
        kill(running)
        :closed
    end
  end

  defp kill(%{pid: pid, monitor: monitor}) do
    Process.unlink(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok)
  end

  @doc "Cancels the calls of an owner by the id of their request. Of others, and of those that are over, nothing is cancelled."
  @spec cancel(owner | nil, term) :: :ok
  def cancel(nil, _id), do: :ok

  def cancel(owner, id) do
    key = {owner, id}

    for {pid, told} <- Registry.lookup(__MODULE__, key),
        :atomics.exchange(told, 1, 1) == 0,
        do: send(pid, {:tidepool_mcp_cancelled, key})

    :ok
  end

  defp now, do: System.monotonic_time(:millisecond)
end
