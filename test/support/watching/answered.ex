defmodule Tidepool.Answered do
  @moduledoc "Whether a node answers others in time, while some keep it busy."

  import ExUnit.Assertions
  import Tidepool.Case, only: [begin: 1, busy_instances: 0, eventually: 2, kill: 1]

  alias Tidepool.Slowdown

  # On a machine of its own. Where other processes keep the cores busy as well, it is as many times longer.
  @answered_ms 100
  # No request takes longer: the node would have stood still.
  @stalled_ms 1_000
  # Of these turns most are in time for each of their requests; in the others one may be behind what the machine does once in a while.
  @turns 12
  @in_time 9
  @requests 20

  @doc """
  Fails unless others are answered in time, as `in_time/0` has it, while all of `asked` go on, with guests or without any; then ends
  them.
  """
  @spec beside([(() -> term)], guests? :: boolean) :: :ok
  def beside(asked, guests? \\ true) do
    asked = for ask <- asked, do: begin(ask)
    if guests?, do: eventually(fn -> busy_instances() > 0 end, 60_000)
    in_time()
    assert Enum.all?(asked, &Process.alive?/1), "what was asked is over"
    Enum.each(asked, &kill/1)
  end

  @doc "Fails unless three quarters of some turns have each request answered in time, and none has one that the node stood still for."
  @spec in_time :: :ok
  def in_time do
    turns = for _turn <- 1..@turns, do: turn()
    in_time = Enum.count(turns, fn {longest_ms, slowdown} -> longest_ms <= @answered_ms * slowdown end)
    said = "the longest of each turn, in ms, and how much slower the machine was: #{inspect(turns)}"
    assert in_time >= @in_time, "in #{in_time} of #{@turns} turns all were answered within #{@answered_ms} ms; #{said}"
    stalled = for {longest_ms, slowdown} <- turns, longest_ms > @stalled_ms * slowdown, do: longest_ms
    assert stalled == [], "some were not answered within #{@stalled_ms} ms; #{said}"
    :ok
  end

  defp turn, do: Slowdown.of(fn -> Enum.max(for _request <- 1..@requests, do: outside(&health_ms/0)) end)

  # Who watches a node is not in it, and waits for none of its processes with the answer at hand.
  defp outside(asks) do
    Process.flag(:priority, :high)
    asks.()
  after
    Process.flag(:priority, :normal)
  end

  # On a connection of its own, as whoever watches a node asks. Not by a program, whose start is slower than the answer.
  defp health_ms do
    began = System.monotonic_time(:microsecond)
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, TidepoolWeb.Listener.port(), [:binary, active: false])
    :ok = :gen_tcp.send(socket, "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    assert {:ok, "HTTP/1.1 200" <> _rest} = :gen_tcp.recv(socket, 0, 30_000)
    :gen_tcp.close(socket)
    div(System.monotonic_time(:microsecond) - began, 1_000)
  end
end
