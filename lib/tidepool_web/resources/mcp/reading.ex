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

  @doc "Is a text so large that it is read and written beside the schedulers?"
  @spec large?(binary) :: boolean
  def large?(text), do: byte_size(text) >= @large_bytes

  @doc "Takes a place for a message, if it is a large one."
  @spec begin(binary, Origin.t()) :: :ok | :full
  def begin(body, origin), do: if(large?(body), do: Shares.take(:messages, holder(origin), @places), else: :ok)

  @doc "The message was read, and is gone: what was read of it is not kept for as long as its call lasts."
  @spec finish(Origin.t()) :: :ok
  def finish(origin) do
    :erlang.garbage_collect()
    Shares.give_back(:messages, holder(origin))
  end

  defp holder(origin), do: Shares.holder(origin) || :no_token
end
