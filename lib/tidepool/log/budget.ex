defmodule Tidepool.Log.Budget do
  @moduledoc """
  How often something may be logged: so many lines in so long, for each key. What is over that is counted, and the next
  line tells how many were left out.

  Keys are kept for as long as lines are left out: when there are a thousand, those go whose windows are over.
  """

  @table __MODULE__
  @lines 10
  @window_ms 10_000

  # {key, window at which theirs is over, lines in it, left out since the last line}; of the last id of a key {{:id, key}, window, id}.
  @left_out 4
  @kept 1_000

  @doc "Lines that a key has, and for how long, in ms."
  @spec limits :: {lines :: pos_integer, window_ms :: pos_integer}
  def limits, do: {@lines, @window_ms}

  @doc "Makes the table, owned by the calling process."
  @spec new :: :ok
  def new do
    :ets.new(@table, [:named_table, :public, write_concurrency: true])
    :ok
  end

  @doc """
  May there be a line now, of as many as the key has in that time, or in so many times that time? Then how many were left out before it.
  What is asked about may stand for others that somebody else has left out already.
  """
  @spec take(term, now_ms :: integer, lines :: non_neg_integer, windows :: pos_integer, others :: non_neg_integer) ::
          {:ok, left_out :: non_neg_integer} | :left_out
  def take(key, now_ms \\ System.monotonic_time(:millisecond), lines \\ @lines, windows \\ 1, others \\ 0) do
    window = window(now_ms)
    over = (Integer.floor_div(window, windows) + 1) * windows
    fresh = {key, over, 0, 0}
    if :ets.info(@table, :size) >= @kept, do: sweep(window)
    # A window that is over is replaced, by one process if several see that.
    :ets.select_replace(@table, [
      {{key, :"$1", :_, :"$2"}, [{:"=<", :"$1", window}], [{{{:const, key}, over, 0, :"$2"}}]}
    ])

    if :ets.update_counter(@table, key, {3, 1}, fresh) <= lines do
      # Read and set to 0 in one step.
      [left_out, 0] = :ets.update_counter(@table, key, [{@left_out, 0}, {@left_out, 1, 0, 0}], fresh)
      {:ok, left_out + others}
    else
      :ets.update_counter(@table, key, {@left_out, 1 + others}, fresh)
      :left_out
    end
  end

  defp window(now_ms), do: Integer.floor_div(now_ms, @window_ms)

  # Once in a window.
  defp sweep(window) do
    if :ets.update_counter(@table, :swept, {2, 0}, {:swept, window - 1}) < window do
      :ets.insert(@table, {:swept, window})
      old = [{:"=<", :"$1", window}]
      :ets.select_delete(@table, [{{:_, :"$1", :_, :_}, old, [true]}, {{:_, :"$1", :_}, old, [true]}])
    end
  end

  @doc "How many keys there are, ids among them."
  @spec count :: non_neg_integer
  def count, do: :ets.info(@table, :size)

  @doc """
  Has a line logged under an id, by a function that gets that and how many were left out before; beyond what the key has, it is left out.
  Says what whoever is told of the id and not of the line may be told: `id 5f3a…`, or the last line's, `id 5f3a… and more since`.
  """
  @spec under_id(term, (id :: String.t(), left_out :: non_neg_integer -> term)) :: String.t()
  def under_id(key, log) do
    with :left_out <- take(key), [{_key, _window, id}] <- :ets.lookup(@table, {:id, key}) do
      "id #{id} and more since"
    else
      taken ->
        id = Base.encode16(:crypto.strong_rand_bytes(8), case: :lower)
        :ets.insert(@table, {{:id, key}, window(System.monotonic_time(:millisecond)) + 1, id})
        log.(id, left_out(taken))
        "id #{id}"
    end
  end

  defp left_out({:ok, left_out}), do: left_out
  # The first line is being made by another process.
  defp left_out([]), do: 0

  @doc "Forgets a key."
  @spec drop(term) :: :ok
  def drop(key) do
    :ets.delete(@table, key)
    :ets.delete(@table, {:id, key})
    :ok
  end
end
