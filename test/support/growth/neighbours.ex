defmodule Tidepool.Neighbours do
  @moduledoc """
  Callers of a node that another tenant has as well: of its function `others/hello`, which is guests/hello_world, and of `/health`.
  """

  import ExUnit.Assertions

  alias Tidepool.FaultClient

  @doc "Calls again and again, until `stop/1`; each call has to succeed."
  @spec start(:inet.port_number()) :: Task.t()
  def start(port) do
    Task.async(fn ->
      socket = FaultClient.connect(port)
      ask(socket, %{call: 0, health: 0})
    end)
  end

  @doc "The longest of each, in ms."
  @spec stop(Task.t()) :: %{call: non_neg_integer, health: non_neg_integer}
  def stop(task) do
    send(task.pid, :stop)
    Task.await(task, 60_000)
  end

  defp ask(socket, longest) do
    {call_ms, answer} = timed(fn -> FaultClient.call(socket, "others/hello", "hello", "Ada") end)
    assert answer == {200, "Hello, Ada!"}
    :ok = :gen_tcp.send(socket, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    {health_ms, {status, _body}} = timed(fn -> FaultClient.answer(socket) end)
    assert status == 200
    longest = %{call: max(longest.call, call_ms), health: max(longest.health, health_ms)}

    receive do
      :stop -> longest
    after
      0 -> ask(socket, longest)
    end
  end

  defp timed(ask) do
    {us, answer} = :timer.tc(ask)
    {div(us, 1_000), answer}
  end
end
