defmodule Tidepool.FaultHandler do
  @moduledoc """
  A GenServer as a host handler that does what its payload says, and most of that is wrong.
  """

  use GenServer

  alias Tidepool.Host

  def start_link(options \\ []), do: GenServer.start_link(__MODULE__, nil, options)

  @doc "Answers all calls that were left without an answer, now that nobody waits for it any more."
  def answer_late(handler), do: GenServer.call(handler, :answer_late)

  @impl true
  def init(nil), do: {:ok, []}

  @impl true
  def handle_call(:answer_late, _from, refs) do
    for ref <- refs, do: :ok = Host.reply(ref, {:ok, "late"})
    {:reply, length(refs), []}
  end

  @impl true
  def handle_info({:invoke_callback, "host", "test", "fault", what, ref}, refs), do: act(what, ref, refs)

  # To anybody who is told to answer in this process's place.
  def handle_info(_message, refs), do: {:noreply, refs}

  defp act("reply", ref, refs), do: answer(ref, [{:ok, "reply"}], refs)
  defp act("error", ref, refs), do: answer(ref, [{:error, "no"}], refs)
  defp act("twice", ref, refs), do: answer(ref, [{:ok, "first"}, {:ok, "second"}], refs)
  defp act("error, then reply", ref, refs), do: answer(ref, [{:error, "no"}, {:ok, "second"}], refs)
  defp act("silence", ref, refs), do: {:noreply, [ref | refs]}
  defp act("raise", _ref, _refs), do: raise("the handler is broken")
  defp act("exit", _ref, refs), do: {:stop, :normal, refs}
  defp act("die", _ref, _refs), do: Process.exit(self(), :kill)
  defp act("not a result", ref, refs), do: answer(ref, [:nonsense], refs)

  defp act("reply and die", ref, _refs) do
    Host.reply(ref, {:ok, "last words"})
    Process.exit(self(), :kill)
  end

  defp act("delegate", ref, refs) do
    spawn(fn -> Host.reply(ref, {:ok, "from somebody else"}) end)
    {:noreply, refs}
  end

  # Past `Host.reply/2`, which would not take it.
  defp act("forge", ref, refs) do
    send(ref, {ref, :nonsense})
    {:noreply, refs}
  end

  # The one that is asked to answer is gone without having done so, but the handler is not.
  defp act("delegate to the dead", ref, refs) do
    spawn(fn -> exit({:lost, ref}) end)
    {:noreply, [ref | refs]}
  end

  defp act("after " <> ms, ref, refs) do
    pid = spawn(fn -> receive do: (:now -> Host.reply(ref, {:ok, "just in time"})) end)
    Process.send_after(pid, :now, String.to_integer(ms))
    {:noreply, refs}
  end

  defp answer(ref, results, refs) do
    for result <- results, do: :ok = Host.reply(ref, result)
    {:noreply, refs}
  end
end
