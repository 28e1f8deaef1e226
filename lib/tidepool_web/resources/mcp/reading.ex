defmodule TidepoolWeb.Resources.Mcp.Reading do
  @moduledoc """
  Places for messages of the Model Context Protocol that are large, while they are read: as terms they take many times their bytes.

  What comes when all places are taken is refused. Tokens of one namespace, and all who come without a token, have no more of them than
  they leave to others. A place is free when the message was read, or when the process that serves it has ended.
  """

  alias Tidepool.Catalog.Origin
  alias TidepoolWeb.Resource.Shares

  @places 8
  # Smaller ones hold a scheduler for a moment, and take little.
  @large_bytes 65_536
  # Of such, what was read takes less than what a process has anyway.
  @small_bytes 4_096

  @doc "Is a text, or one of so many bytes, so large that it is read and written beside the schedulers?"
  @spec large?(binary | non_neg_integer) :: boolean
  def large?(text) when is_binary(text), do: large?(byte_size(text))
  def large?(bytes), do: bytes >= @large_bytes

  @doc "Takes a place for a message, if it is a large one."
  @spec begin(binary, Origin.t()) :: :ok | :full
  def begin(body, origin), do: if(large?(body), do: Shares.take(:messages, holder(origin), @places), else: :ok)

  @doc "A message of so many bytes was read, and is gone: what was read of it is not kept for as long as its call lasts."
  @spec finish(bytes :: non_neg_integer, Origin.t()) :: :ok
  def finish(bytes, origin) do
    if bytes > @small_bytes, do: :erlang.garbage_collect()
    if large?(bytes), do: Shares.give_back(:messages, holder(origin)), else: :ok
  end

  defp holder(origin), do: Shares.holder(origin) || :no_token
end
