defmodule TidepoolWeb.Resources.Mcp.Kept do
  @moduledoc """
  What is made of large interfaces for clients, as JSON: tools as they are listed, and the exports that are called. The requests that
  follow need not read the interface again, which takes some 40 ms per MiB and many times its bytes.

  A key has all that its text depends on, so that another version has other keys. When there is no room everything is dropped, and
  made again as it is asked for.

  What is not there is made by a process of its own, with which all is gone that it has read. There are places for these: tokens of one
  namespace, and all who come without a token, have no more of them than they leave to others. A request waits for one.
  """

  alias Tidepool.Catalog.Origin
  alias TidepoolWeb.Resource.Shares

  @table __MODULE__

  # Of all texts, with what each takes beside its own.
  @bytes 33_554_432
  @entry_bytes 256

  @places 4
  # Each look for a place takes some 20 µs, and thousands may wait.
  @pause_ms 10
  @longest_pause_ms 320

  @type key :: tuple

  @doc "The table, of the calling process."
  @spec new :: :ok
  def new do
    :ets.new(@table, [:named_table, :public, read_concurrency: true])
    :ok
  end

  @doc "The text of a key; what `make` returns if there is none, which puts what is to be kept."
  @spec text(key, Origin.t(), (() -> made)) :: String.t() | made when made: String.t() | nil
  def text(key, origin, make) do
    with nil <- get(key) do
      holder = Shares.holder(origin) || :no_token
      fn -> placed(holder, fn -> get(key) || make.() end) end |> Task.async() |> Task.await(:infinity)
    end
  end

  defp placed(holder, make, pause_ms \\ @pause_ms) do
    case Shares.take(:interfaces, holder, @places) do
      :ok ->
        made = make.()
        Shares.give_back(:interfaces, holder)
        made

      :full ->
        Process.sleep(pause_ms)
        placed(holder, make, min(2 * pause_ms, @longest_pause_ms))
    end
  end

  defp get(key) do
    case :ets.lookup(@table, key) do
      [{_key, text}] -> text
      [] -> nil
    end
  end

  @doc "Keeps a text."
  @spec put(key, String.t()) :: :ok
  def put(key, text) do
    # Counted behind, so that what is there is never more than what is counted.
    if :ets.insert_new(@table, {key, text}) and
         :ets.update_counter(@table, :bytes, byte_size(text) + @entry_bytes, {:bytes, 0}) > @bytes,
       do: :ets.delete_all_objects(@table)

    :ok
  end
end
