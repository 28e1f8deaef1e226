defmodule Tidepool.Stage do
  @moduledoc """
  A process of another node that runs what a test gives it, one after another, and keeps its messages in between: there a test
  can be whom guests send to.
  """

  alias Tidepool.Peer

  @patience 30_000

  @enforce_keys [:peer, :pid]
  defstruct @enforce_keys

  @doc "Makes one on a node."
  def start(peer), do: %__MODULE__{peer: peer, pid: Peer.call(peer, __MODULE__, :open, [])}

  @doc "Runs a function by it."
  def run(%__MODULE__{peer: peer, pid: pid}, module, function, arguments),
    do: Peer.call(peer, __MODULE__, :ask, [pid, {module, function, arguments}])

  @doc "The next message that it has. Run by it."
  def next do
    receive do
      message -> message
    after
      @patience -> raise "nothing comes"
    end
  end

  @doc false
  def open, do: spawn(&loop/0)

  @doc false
  def ask(pid, what) do
    ref = Process.monitor(pid)
    send(pid, {__MODULE__, self(), ref, what})

    receive do
      {^ref, result} -> result
      {:DOWN, ^ref, :process, _pid, reason} -> exit(reason)
    end
  end

  defp loop do
    receive do
      {__MODULE__, from, ref, {module, function, arguments}} -> send(from, {ref, apply(module, function, arguments)})
    end

    loop()
  end
end
