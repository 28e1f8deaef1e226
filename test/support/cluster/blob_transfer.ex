defmodule Tidepool.BlobTransfer do
  @moduledoc """
  Asks a node for pieces of a module by hand, as `Tidepool.Cluster.Transfer.BlobClient` does. Runs in peers.
  """

  alias Tidepool.Cluster.Transfer.{BlobClient, BlobServer}

  @doc "Gets a module, in a process that goes on living: with its end what no entry needs is gone."
  def get(sha256, size, sources) do
    asker = self()

    spawn(fn ->
      send(asker, {:got, self(), BlobClient.run(sha256, size, sources)})
      Process.sleep(:infinity)
    end)
    |> got()
  end

  defp got(pid) do
    receive do
      {:got, ^pid, result} -> result
    end
  end

  @doc "Asks for so many pieces at a time. Returns how many came each time, and fails if there were more than asked for."
  def ask_for(node, sha256, counts) do
    ref = make_ref()
    send(BlobServer.address(node), {:tidepool_blob, BlobServer.version(), :open, self(), ref, sha256})

    transfer =
      receive do
        {:tidepool_blob, ^ref, :size, _bytes, transfer} -> transfer
      end

    received =
      for count <- counts do
        send(transfer, {:tidepool_blob, ref, :more, count})
        Enum.count(1..count, fn _piece -> piece(ref) end)
      end

    # Whatever it had sent before comes before the news of its end.
    monitor = Process.monitor(transfer)
    Process.exit(transfer, :kill)

    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> {:message_queue_len, 0} = Process.info(self(), :message_queue_len)
    end

    received
  end

  defp piece(ref) do
    receive do
      {:tidepool_blob, ^ref, :piece, bytes} -> is_binary(bytes)
    end
  end
end
