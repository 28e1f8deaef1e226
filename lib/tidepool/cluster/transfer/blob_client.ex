defmodule Tidepool.Cluster.Transfer.BlobClient do
  @moduledoc """
  Gets a module from other nodes: from one after another, until one of them sent the right bytes.

  Runs in the process that wants it, which should have nothing else to wait for. What came is hashed on the way to the
  disk and stored only if size and hash are right. A node that sent something else is named in the log, and is not asked
  for this module again.
  """

  require Logger

  alias Tidepool.{Catalog, Error}
  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Catalog.BlobStore.Writer
  alias Tidepool.Cluster.Transfer.BlobServer

  # Pieces under way at once: with `Tidepool.Cluster.Transfer.BlobServer`'s bounds less than what the VM lets wait on a link (1 MiB) before
  # it holds up others.
  @window 3
  # A source that is silent for so long is passed over: at first, and between pieces.
  @answer_ms 5_000
  @piece_ms 15_000

  @doc """
  Asks each of `sources` until one has sent the blob, which is in the store then.

  Otherwise the nodes that sent wrong bytes are named. Errors are those of this node's disk.
  """
  @spec run(BlobStore.sha256(), non_neg_integer, [node]) :: :ok | {:nowhere, wrong :: [node]} | {:error, Error.t()}
  def run(sha256, size, sources), do: try_each(sources, sha256, size, [])

  defp try_each([], _sha256, _size, wrong), do: {:nowhere, wrong}

  defp try_each([source | sources], sha256, size, wrong) do
    case from(source, sha256, size) do
      :wrong ->
        Logger.error("#{source} sent wrong bytes for the module #{sha256} and is not asked for it again")
        try_each(sources, sha256, size, [source | wrong])

      :not_there ->
        try_each(sources, sha256, size, wrong)

      done ->
        done
    end
  end

  @doc "One attempt with one node."
  @spec from(node, BlobStore.sha256(), non_neg_integer) :: :ok | :wrong | :not_there | {:error, Error.t()}
  def from(source, sha256, size) do
    # A monitor of a node without a link would make one.
    if source in Node.list(:connected), do: ask(source, sha256, size), else: :not_there
  end

  defp ask(source, sha256, size) do
    ref = make_ref()
    monitor = Process.monitor(BlobServer.address(source))
    request = {:tidepool_blob, BlobServer.version(), :open, self(), ref, sha256}

    opened =
      case :erlang.send(BlobServer.address(source), request, [:noconnect]) do
        :ok -> opened(source, ref, monitor, size)
        _no_link -> :not_there
      end

    Process.demonitor(monitor, [:flush])
    with {:ok, transfer} <- opened, do: receive_from(transfer, ref, sha256, size)
  end

  defp receive_from(transfer, ref, sha256, size) do
    with {:ok, writer} <- Writer.open(Catalog.blobs(), sha256, size) do
      # Whoever waits for it may be killed, and this process with it.
      Catalog.reserve(sha256, writer.path)
      monitor = Process.monitor(transfer)
      more(transfer, ref, @window)
      result = receive_all(writer, %{transfer: transfer, ref: ref, monitor: monitor})
      Process.demonitor(monitor, [:flush])
      result
    end
  end

  defp opened(source, ref, monitor, size) do
    receive do
      {:tidepool_blob, ^ref, :size, ^size, transfer} when is_pid(transfer) and node(transfer) == source ->
        {:ok, transfer}

      {:tidepool_blob, ^ref, :size, _other, _transfer} ->
        :wrong

      {:tidepool_blob, ^ref, _missing_or_busy} ->
        :not_there

      {:DOWN, ^monitor, :process, _name, _reason} ->
        :not_there
    after
      @answer_ms -> :not_there
    end
  end

  defp receive_all(%{written: size, size: size} = writer, _source), do: ended(Writer.finish(writer), writer)

  defp receive_all(writer, %{ref: ref, monitor: monitor} = source) do
    receive do
      {:tidepool_blob, ^ref, :piece, bytes} when is_binary(bytes) and bytes != "" ->
        case Writer.append(writer, bytes) do
          {:ok, writer} ->
            more(source.transfer, ref, 1)
            receive_all(writer, source)

          failed ->
            ended(failed, writer)
        end

      # Pieces of nothing would go on for ever.
      {:tidepool_blob, ^ref, :piece, _no_bytes} ->
        ended(:wrong, writer)

      {:DOWN, ^monitor, :process, _transfer, _reason} ->
        ended(:not_there, writer)
    after
      @piece_ms -> ended(:not_there, writer)
    end
  end

  defp ended(:ok, _writer), do: :ok

  defp ended(failed, writer) do
    Writer.give_up(writer)
    failed
  end

  defp more(transfer, ref, pieces) do
    :erlang.send(transfer, {:tidepool_blob, ref, :more, pieces}, [:noconnect])
  end
end
