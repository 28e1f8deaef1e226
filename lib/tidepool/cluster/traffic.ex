defmodule Tidepool.Cluster.Traffic do
  @moduledoc "Messages that a node has exchanged with others, and their bytes."

  @type t :: %{
          messages_sent: non_neg_integer,
          bytes_sent: non_neg_integer,
          messages_received: non_neg_integer,
          bytes_received: non_neg_integer
        }

  @doc "None yet."
  @spec new :: t
  def new, do: %{messages_sent: 0, bytes_sent: 0, messages_received: 0, bytes_received: 0}

  @doc "One more was sent."
  @spec sent(t, binary) :: t
  def sent(%{messages_sent: messages, bytes_sent: bytes} = traffic, message),
    do: %{traffic | messages_sent: messages + 1, bytes_sent: bytes + byte_size(message)}

  @doc "One more was received."
  @spec received(t, binary) :: t
  def received(%{messages_received: messages, bytes_received: bytes} = traffic, message),
    do: %{traffic | messages_received: messages + 1, bytes_received: bytes + byte_size(message)}
end
