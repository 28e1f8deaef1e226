defmodule Tidepool.Answered do
  @moduledoc "Whether a node answers others in time, while some keep it busy."

  import ExUnit.Assertions
  import Tidepool.Case, only: [begin: 1, busy_instances: 0, eventually: 2, kill: 1]

  alias Tidepool.Slowdown

  # On a machine of its own. Where others keep the cores busy as well, it is as many times longer as this node's threads are held up.
  @answered_ms 100
  # Of some turns one is in time for each request.
  @turns 40
  @requests 20

  @doc """
  Fails unless there is a turn in which each request is answered in time, while all of `asked` go on, with guests or without any; then
  ends them.
  """
  @spec beside([(() -> term)], guests? :: boolean) :: :ok
  def beside(asked, guests? \\ true) do
    asked = for ask <- asked, do: begin(ask)
    if guests?, do: eventually(fn -> busy_instances() > 0 end, 60_000)
    in_time()
    assert Enum.all?(asked, &Process.alive?/1), "what was asked is over"
    Enum.each(asked, &kill/1)
  end

  @doc "Fails unless there is a turn in which each request is answered in time."
  @spec in_time :: :ok
  def in_time do
    in_time? = Enum.any?(1..@turns, &in_time?/1)
    assert in_time?, "in none of #{@turns} turns were all requests answered within #{@answered_ms} ms"
    :ok
  end

  defp in_time?(_turn) do
    {longest_ms, slowdown} = Slowdown.of(fn -> Enum.max(for _request <- 1..@requests, do: health_ms()) end)
    longest_ms <= @answered_ms * slowdown
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
