defmodule Tidepool.FaultBlobs do
  @moduledoc """
  Hands modules out as `Tidepool.Cluster.Transfer.BlobServer` does, and not rightly. For peers on which Tidepool is not started.
  """

  alias Tidepool.Cluster.Transfer.BlobServer

  @doc """
  Begins to answer: everything asked for has `size` bytes, and comes in pieces of nothing for ever (`:nothing`), or ends
  after the first piece (`:half`), or stands still after that (`:held`).
  """
  def start(size, fault) do
    starter = self()

    spawn(fn ->
      Process.register(self(), BlobServer.name())
      send(starter, {:registered, self()})
      answer(size, fault)
    end)

    receive do
      {:registered, pid} -> pid
    end
  end

  defp answer(size, fault) do
    receive do
      {:tidepool_blob, _version, :open, pid, ref, _sha256} ->
        transfer = spawn(fn -> transfer(pid, ref, size, fault) end)
        send(pid, {:tidepool_blob, ref, :size, size, transfer})
    end

    answer(size, fault)
  end

  defp transfer(pid, ref, size, fault) do
    receive do
      {:tidepool_blob, ^ref, :more, _pieces} -> send(pid, {:tidepool_blob, ref, :piece, piece(size, fault)})
    end

    case fault do
      :nothing -> transfer(pid, ref, size, fault)
      :half -> :ok
      :held -> Process.sleep(:infinity)
    end
  end

  defp piece(_size, :nothing), do: ""
  defp piece(size, _half), do: :binary.copy("x", div(size, 2))
end
