defmodule Tidepool.Nodes.Ask do
  @moduledoc """
  Asks another node, by a `Tidepool.Nodes.Protocol`, over a link that is there: in one hop, and without a process in between.

  The caller waits for the answer, for the end of who was asked, or for its own time to be over, and is told of each. Nothing of a question
  stays with the caller when it has an answer.
  """

  alias Tidepool.Namespaces.Turns
  alias Tidepool.Nodes.Protocol

  # How long what a node has begun may still be answered when that ends in order.
  @ended_ms 500

  @typedoc """
  Why there is no answer:

  - `:gone`: nobody there has read the question, so nothing was done;
  - `:lost`: the node, or who was asked there, has ended, or `lost?` says so: it may be done, or not;
  - `:timeout`: not in time, and it may be done, or not;
  - `:unknown_version`: the node speaks another version of the protocol, and has done nothing.
  """
  @type reason :: :gone | :lost | :timeout | :unknown_version

  @doc """
  The answer of a node, within `timeout` ms.

  A node that stands still keeps its link for long. With `{ms, lost?}` that function is asked each `ms` whether one that has not answered is
  to be waited for no longer.

  A question of more than 64 KiB is `long`: it names the function that it is about, and goes in a turn of its namespace
  (`Tidepool.Namespaces.Turns`).
  """
  @spec ask(Protocol.t(), node, term, timeout, {pos_integer, (() -> boolean)} | nil, long :: String.t() | nil) ::
          {:ok, term} | {:error, reason}
  def ask(%Protocol{server: server} = protocol, node, question, timeout, watch \\ nil, long \\ nil) do
    deadline = if timeout == :infinity, do: :infinity, else: now() + timeout
    ref = :erlang.monitor(:process, {server, node}, alias: :explicit_unalias)
    to = if protocol.form == :from, do: {self(), ref}, else: ref

    send_it = fn ->
      left = if timeout == :infinity, do: :infinity, else: max(deadline - now(), 0)
      :erlang.send({server, node}, Protocol.question(protocol, to, left, question), [:noconnect])
    end

    sent = if long, do: Turns.run({:links, node}, long, deadline, send_it), else: {:ok, send_it.()}
    answer = if sent == :late, do: {:error, :gone}, else: await(ref, deadline, watch)
    :erlang.unalias(ref)
    Process.demonitor(ref, [:flush])
    flush(ref)
    answer
  end

  defp await(ref, deadline, watch) do
    receive do
      {_tag, ^ref, answer} when answer != :begun -> read(answer)
      {:DOWN, ^ref, :process, _server, reason} -> ended(ref, reason)
    after
      wait(deadline, watch) ->
        cond do
          deadline != :infinity and now() >= deadline -> {:error, :timeout}
          watch != nil and elem(watch, 1).() -> {:error, :lost}
          true -> await(ref, deadline, watch)
        end
    end
  end

  # Who does what was asked may outlive who was: it has said that it has begun, and is waited for when that ends in order.
  defp ended(ref, reason) do
    receive do
      {_tag, ^ref, :begun} ->
        receive do
          {_tag, ^ref, answer} -> read(answer)
        after
          if(reason == :shutdown, do: @ended_ms, else: 0) -> {:error, :lost}
        end

      {_tag, ^ref, answer} ->
        read(answer)
    after
      0 -> {:error, if(reason in [:noproc, :shutdown], do: :gone, else: :lost)}
    end
  end

  defp read(:unknown_version), do: {:error, :unknown_version}
  defp read(answer), do: {:ok, answer}

  defp flush(ref) do
    receive do
      {_tag, ^ref, _answer} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp wait(:infinity, nil), do: :infinity
  defp wait(:infinity, {ms, _lost?}), do: ms
  defp wait(deadline, nil), do: max(deadline - now(), 0)
  defp wait(deadline, {ms, _lost?}), do: min(max(deadline - now(), 0), ms)

  defp now, do: System.monotonic_time(:millisecond)
end
