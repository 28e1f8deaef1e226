defmodule Tidepool.BusyLink do
  @moduledoc "What makes a link between nodes busy, and who is sent something over it meanwhile; run on the nodes."

  alias Tidepool.Nodes.Post

  @doc "Makes the table of messages that wait, by a process that stays."
  def table do
    caller = self()

    spawn(fn ->
      Post.new()
      send(caller, :made)
      Process.sleep(:infinity)
    end)

    receive do: (:made -> :ok)
  end

  @doc "A process that keeps what it is sent."
  def receiver, do: spawn(fn -> Process.sleep(:infinity) end)

  @doc "What it was sent."
  def received(pid), do: pid |> Process.info(:messages) |> elem(1)

  @doc "Has a link busy with what goes to a process."
  def fill(pid) do
    case :erlang.send(pid, {:fill, :binary.copy("x", 65_536)}, [:nosuspend, :noconnect]) do
      :ok -> fill(pid)
      :nosuspend -> :ok
    end
  end
end
