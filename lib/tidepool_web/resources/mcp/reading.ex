defmodule TidepoolWeb.Resources.Mcp.Reading do
  @moduledoc """
  Places for messages of the Model Context Protocol while they are read, and while a call looks for its tool: as terms they take up to some
  twenty times their bytes. Large messages have places of their own, and small ones need none, unless they are a batch.

  What comes when all places are taken is refused. Tokens of one namespace have no more of them than they leave to others. Neither have
  all who come without such a token, of the places for large messages, or those of one network, of the other ones. A place is free when
  the message was read, or when the process that serves it has ended. A batch keeps its place until all of it is answered, for that keeps
  its messages.
  """

  alias Tidepool.Catalog.Origin
  alias TidepoolWeb.Resource.Shares

  @large 8
  # Smaller ones hold a scheduler for a moment.
  @large_bytes 65_536
  # All of these take some 100 MB.
  @middling 64
  # Of smaller ones, what was read takes little more than what a process has anyway.
  @small_bytes 4_096

  @doc "Is a text, or one of so many bytes, so large that it is read and written beside the schedulers?"
  @spec large?(binary | non_neg_integer) :: boolean
  def large?(text) when is_binary(text), do: large?(byte_size(text))
  def large?(bytes), do: bytes >= @large_bytes

  @doc "Takes a place for a message, unless it is a small one."
  @spec begin(binary, Origin.t()) :: :ok | :full
  def begin(body, origin) do
    case body |> weight() |> place(origin) do
      nil -> :ok
      {kind, holder, most} -> Shares.take(kind, holder, most)
    end
  end

  @doc "A message of so many bytes was read, and is gone: what was read of it is not kept for as long as its call lasts."
  @spec finish(bytes :: non_neg_integer, Origin.t()) :: :ok
  def finish(bytes, origin) do
    if bytes >= @small_bytes, do: :erlang.garbage_collect()

    case place(bytes, origin) do
      nil -> :ok
      {kind, holder, _most} -> Shares.give_back(kind, holder)
    end
  end

  # A batch of a few bytes may look for as many tools as it has messages.
  defp weight(body), do: if(batch?(body), do: max(byte_size(body), @small_bytes), else: byte_size(body))

  defp batch?(<<space, rest::binary>>) when space in [?\s, ?\t, ?\r, ?\n], do: batch?(rest)
  defp batch?(body), do: match?("[" <> _rest, body)

  defp place(bytes, _origin) when bytes < @small_bytes, do: nil
  defp place(bytes, origin) when bytes < @large_bytes, do: {:middling_messages, Shares.client(origin), @middling}
  defp place(_bytes, origin), do: {:messages, Shares.holder(origin) || :no_token, @large}
end
