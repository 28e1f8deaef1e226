defmodule Tidepool.Nodes.Post do
  @moduledoc """
  Messages to processes of other nodes by those who can't wait, and make no link.

  A link is busy from when 1 MiB waits for it until all of that has gone: while others send much it is so nearly always, for some
  milliseconds. Then a message waits for it in a process of its own, one for each receiver. What comes for that one meanwhile is not sent:
  so messages stay in order, and no more wait than there are receivers.
  """

  # {receiver} of each message that waits.
  @table __MODULE__

  @doc "Makes the table, owned by the calling process."
  @spec new :: :ok
  def new do
    if :ets.whereis(@table) == :undefined, do: :ets.new(@table, [:named_table, :public, read_concurrency: true])
    :ok
  end

  @doc "Sends a message, at once or as soon as the link takes it: `:late` while one before it waits, `:noconnect` without a link."
  @spec deliver(pid | {atom, node}, message :: term) :: :ok | :late | :noconnect
  def deliver(receiver, message) do
    if :ets.member(@table, receiver) do
      :late
    else
      with :nosuspend <- :erlang.send(receiver, message, [:nosuspend, :noconnect]), do: wait(receiver, message)
    end
  rescue
    # The table is being made anew.
    ArgumentError -> :late
  end

  defp wait(receiver, message) do
    if :ets.insert_new(@table, {receiver}) do
      spawn(fn ->
        :erlang.send(receiver, message, [:noconnect])
        :ets.delete(@table, receiver)
      end)

      :ok
    else
      :late
    end
  end
end
