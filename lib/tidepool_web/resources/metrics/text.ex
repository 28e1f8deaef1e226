defmodule TidepoolWeb.Resources.Metrics.Text do
  @moduledoc """
  The text of all metrics, made by one process, once for all who have asked meanwhile.

  Nobody is told what was true before the question came. For as long as making it took, and four times as long, none is made: however many
  ask, and however many functions there are, that takes a fifth of one thread.
  """

  use GenServer

  require Logger

  @rest 4
  # A node with ten thousand functions takes a second.
  @answer_ms 30_000

  @doc false
  def start_link(make), do: GenServer.start_link(__MODULE__, make, name: __MODULE__)

  @doc "What `make` returns that the process was started with; `:error` when it has failed, and the log says why."
  @spec fetch(GenServer.server()) :: {:ok, String.t()} | :error
  def fetch(server \\ __MODULE__), do: GenServer.call(server, :text, @answer_ms)

  @impl true
  def init(make), do: {:ok, %{make: make, waiting: [], next: now()}}

  @impl true
  def handle_call(:text, from, %{waiting: [_one | _more] = waiting} = state),
    do: {:noreply, %{state | waiting: [from | waiting]}}

  def handle_call(:text, from, state) do
    # Those in the mailbox by now come before that.
    Process.send_after(self(), :make, max(state.next - now(), 0))
    {:noreply, %{state | waiting: [from]}}
  end

  @impl true
  def handle_info(:make, state) do
    began = now()
    made = made(state.make)
    for from <- state.waiting, do: GenServer.reply(from, made)
    # Nothing is held of the text.
    {:noreply, %{state | waiting: [], next: now() + @rest * (now() - began)}, :hibernate}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp made(make) do
    {:ok, make.()}
  catch
    kind, reason ->
      Logger.error("the metrics could not be read: " <> Exception.format(kind, reason, __STACKTRACE__))
      :error
  end

  defp now, do: System.monotonic_time(:millisecond)
end
