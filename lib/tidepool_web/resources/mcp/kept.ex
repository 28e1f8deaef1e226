defmodule TidepoolWeb.Resources.Mcp.Kept do
  @moduledoc """
  What is made of interfaces for clients: tools as they are listed, what calls need of them, as JSON, and what all tools of a
  function are called. The requests that follow need not read the interface again, which takes some 40 ms per MiB and many times its bytes.

  A key has all that its text depends on, so that another version has other keys. When there is no room everything is dropped, and
  made again as it is asked for.

  What is not there is made by a process of its own, with which all is gone that it has read. There are places for these: tokens of one
  namespace, and all who come without a token, have no more of them than they leave to others. A request waits for one, with all that it
  has brought, and so only some may wait: a client no more of them than it leaves to others.
  """

  alias Tidepool.Catalog.Origin
  alias TidepoolWeb.Resource.Shares

  @table __MODULE__

  # Of all texts, with what each takes beside its own.
  @bytes 33_554_432
  @entry_bytes 256

  @places 4
  # Each look for a place takes some 20 µs, and hundreds may wait.
  @pause_ms 10
  @longest_pause_ms 320
  # Of those that wait, or have a place.
  @waiting 256

  @type key :: tuple

  @typedoc """
  Whether one that would be too many is told so. Of lists there are as many as may be made at a time, whether they wait or not: these wait
  in any case (`:always`).
  """
  @type waits :: :bounded | :always

  @doc "The table, of the calling process."
  @spec new :: :ok
  def new do
    :ets.new(@table, [:named_table, :public, read_concurrency: true])
    :ok
  end

  @doc "The text of a key; what `make` returns if there is none, which puts what is to be kept; `:full` when too many wait."
  @spec text(key, Origin.t(), (() -> made), waits) :: String.t() | made | :full when made: String.t() | nil
  def text(key, origin, make, waits \\ :always) do
    with nil <- text(key), do: made(waits, key, origin, make)
  end

  @doc "The text of a key, if it is there."
  @spec text(key) :: String.t() | nil
  def text(key) do
    case :ets.lookup(@table, key) do
      [{_key, text}] -> text
      [] -> nil
    end
  end

  defp made(:always, key, origin, make) do
    holder = Shares.holder(origin) || :no_token
    fn -> placed(holder, fn -> text(key) || make.() end) end |> Task.async() |> Task.await(:infinity)
  end

  defp made(:bounded, key, origin, make) do
    client = Shares.client(origin)

    with :ok <- Shares.take(:waiting_for_interfaces, client, @waiting) do
      made = made(:always, key, origin, make)
      Shares.give_back(:waiting_for_interfaces, client)
      made
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
