defmodule Tidepool.Cluster.Transfer.BlobServer do
  # A part of the protocol: nodes of other versions know it by this name.
  @registered Tidepool.Cluster.Blobs

  @moduledoc """
  Hands modules out to other nodes, by hash and in pieces.

  A transfer is a process of its own here: it reads a piece of the file, sends it, and waits until the other side has
  asked for more. So a transfer holds a few pieces in memory whatever the module's size, a slow link delays that
  transfer alone, and messages between nodes go on between the pieces. It ends with the process that asked for it.

  Messages, as plain terms, each with the version of this protocol:

  | to | message |
  | --- | --- |
  | `#{inspect(@registered)}` of a node | `{:tidepool_blob, version, :open, pid, ref, sha256}` |
  | `pid` | `{:tidepool_blob, ref, :size, bytes, transfer}`, `{:tidepool_blob, ref, :missing}` or `{:tidepool_blob, ref, :busy}` |
  | `transfer` | `{:tidepool_blob, ref, :more, pieces}` |
  | `pid` | `{:tidepool_blob, ref, :piece, binary}` |
  """

  use GenServer

  alias Tidepool.Catalog
  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Log.Once

  @version 1
  @piece_bytes 65_536
  @max_transfers 4
  # A node that asks for nothing more for so long is gone or stuck.
  @idle_ms 30_000

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: @registered)

  @doc "Where a node has it."
  @spec address(node) :: {name :: atom, node}
  def address(node), do: {@registered, node}

  @doc "What it is registered as."
  @spec name :: atom
  def name, do: @registered

  @doc "The version of the protocol."
  @spec version :: pos_integer
  def version, do: @version

  @impl true
  def init(nil), do: {:ok, %{transfers: MapSet.new(), logged: Once.new()}}

  @impl true
  def handle_info({:tidepool_blob, @version, :open, pid, ref, sha256}, %{transfers: transfers} = state)
      when is_pid(pid) and is_reference(ref) and is_binary(sha256) do
    cond do
      not BlobStore.sha256?(sha256) ->
        {:noreply, state}

      MapSet.size(transfers) >= @max_transfers ->
        _sent = :erlang.send(pid, {:tidepool_blob, ref, :busy}, [:nosuspend, :noconnect])
        {:noreply, state}

      true ->
        {:noreply, %{state | transfers: MapSet.put(transfers, start(pid, ref, sha256))}}
    end
  end

  def handle_info({:tidepool_blob, version, :open, pid, _ref, _sha256}, state)
      when is_integer(version) and version != @version and is_pid(pid) do
    text = "#{node(pid)} asks for modules by version #{version} of that protocol, and this node has #{@version}"

    {:noreply,
     %{
       state
       | logged: Once.warn(state.logged, to_string(node(pid)), {node(pid), version}, text <> ": it is ignored")
     }}
  end

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    {:noreply, %{state | transfers: MapSet.delete(state.transfers, monitor)}}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp start(pid, ref, sha256) do
    {_transfer, monitor} = spawn_monitor(fn -> transfer(pid, ref, BlobStore.path(Catalog.blobs(), sha256)) end)
    monitor
  end

  # Without :nosuspend: a link that is busy suspends this process, which is there for that.
  defp transfer(pid, ref, path) do
    monitor = Process.monitor(pid)

    with {:ok, file} <- :file.open(path, [:read, :raw, :binary]),
         {:ok, size} <- :file.position(file, :eof),
         {:ok, 0} <- :file.position(file, :bof) do
      send_to(pid, {:tidepool_blob, ref, :size, size, self()})
      serve(%{pid: pid, ref: ref, monitor: monitor, file: file, left: size})
    else
      {:error, _reason} -> send_to(pid, {:tidepool_blob, ref, :missing})
    end
  end

  defp serve(%{left: left}) when left <= 0, do: :ok

  defp serve(%{ref: ref, monitor: monitor} = transfer) do
    receive do
      {:tidepool_blob, ^ref, :more, pieces} when is_integer(pieces) -> transfer |> pieces(pieces) |> serve()
      {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
    after
      @idle_ms -> :ok
    end
  end

  defp pieces(%{left: left} = transfer, pieces) when left <= 0 or pieces <= 0, do: transfer

  defp pieces(transfer, pieces) do
    case :file.read(transfer.file, @piece_bytes) do
      {:ok, bytes} ->
        send_to(transfer.pid, {:tidepool_blob, transfer.ref, :piece, bytes})
        pieces(%{transfer | left: transfer.left - byte_size(bytes)}, pieces - 1)

      # Shorter than it was, or not to be read: the other side misses what does not come.
      _eof_or_error ->
        %{transfer | left: 0}
    end
  end

  defp send_to(pid, message), do: :erlang.send(pid, message, [:noconnect])
end
