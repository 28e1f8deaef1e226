defmodule Tidepool.Recording.Verify do
  @moduledoc "Calls that were recorded, replayed with a module before it is deployed: what it must not change, it does not."

  require Logger

  alias Tidepool.{Error, Recording}
  alias Tidepool.Catalog.Entry
  alias Tidepool.Function.Loader

  # What its callers don't notice.
  @alike ["same", "cut"]

  # A deploy holds one of a few places meanwhile.
  @most_ms 60_000

  @doc """
  Replays recordings of an entry's name with its module. Those that can't be compared, of actors or redacted ones, are left out, and the
  log says how many were compared.

  Errors have the reason `:differs`, with the first `recording` that comes to something else, and its `verdict`; or `:timeout`, when it
  takes more than a minute; or are those of a node that has no room.
  """
  @spec run(%{last: pos_integer, allow: non_neg_integer} | nil, Loader.t(), Entry.t()) :: :ok | {:error, Error.t()}
  def run(nil, _loaded, _entry), do: :ok

  def run(%{last: last, allow: allow}, loaded, entry) do
    until = System.monotonic_time(:millisecond) + @most_ms

    with {:ok, listed} <- Recording.list(entry.name, last),
         {:ok, function} <- Loader.function(loaded, hurried(Recording.aside(entry))) do
      judge(listed, {function, until, allow}, entry.name, {0, []})
    end
  end

  # None of them takes longer than all of them may, whatever calls of the function may take.
  defp hurried(%{limits: limits} = entry), do: %{entry | limits: %{limits | time: min(limits.time, @most_ms)}}

  defp judge([], _how, name, {compared, differing}) do
    Logger.info("#{name}: #{compared} recorded calls were replayed, of which #{length(differing)} differ",
      tidepool_function: name
    )

    :ok
  end

  defp judge([one | rest], {function, until, allow} = how, name, {compared, differing}) do
    with true <- System.monotonic_time(:millisecond) < until,
         {:ok, verdict} <- verdict(one, function) do
      differing = if verdict in @alike, do: differing, else: differing ++ [{one.id, verdict}]

      if length(differing) > allow,
        do: differs(name, hd(differing), allow),
        else: judge(rest, how, name, {compared + 1, differing})
    else
      :left_out ->
        judge(rest, how, name, {compared, differing})

      false ->
        {:error,
         Error.new(:timeout, "the recorded calls could not be replayed within a minute: ask for fewer, `last`", name)}

      {:error, error} ->
        {:error, error}
    end
  end

  defp verdict(%{id: id, redacted: false, function: name}, function) do
    with {:ok, recording} <- Recording.fetch(id, name),
         {:ok, verdict} <- Recording.compare(function, recording, name) do
      {:ok, verdict}
    else
      # It went meanwhile, or is of an actor.
      {:error, %Error{reason: reason}} when reason in [:unknown_recording, :invalid_recording] -> :left_out
      {:error, error} -> {:error, error}
    end
  end

  defp verdict(_redacted_or_damaged, _function), do: :left_out

  defp differs(name, {id, verdict}, allow) do
    allowed =
      if allow > 0, do: "more than the #{allow} allowed of the recorded calls come", else: "a recorded call comes"

    message = "#{allowed} to something else with this module: the recording #{id} has the verdict #{verdict}"
    {:error, Error.new(:differs, message, name, %{recording: id, verdict: verdict})}
  end
end
