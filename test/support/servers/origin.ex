defmodule Tidepool.Origin do
  @moduledoc """
  A server of the test's own, which says each byte by itself: what it does with a connection is the test's.
  """

  @doc """
  Starts one on 127.0.0.1, with a process for each connection: `serve` gets the socket and the head of the request. It returns the
  port. The server ends with the test.
  """
  def start!(serve) do
    {port, accepting} = start(serve)
    ExUnit.Callbacks.on_exit(fn -> Process.exit(accepting, :kill) end)
    port
  end

  @doc "The same, with the process that is the server: whoever has started it ends it."
  def start(serve) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, backlog: 128, nodelay: true])
    {:ok, port} = :inet.port(listener)
    accepting = spawn(fn -> receive(do: (:go -> accept(listener, serve))) end)
    :ok = :gen_tcp.controlling_process(listener, accepting)
    send(accepting, :go)
    {port, accepting}
  end

  defp accept(listener, serve) do
    {:ok, socket} = :gen_tcp.accept(listener)
    process = spawn_link(fn -> receive(do: (:go -> with({:ok, head} <- head(socket), do: serve.(socket, head)))) end)
    :ok = :gen_tcp.controlling_process(socket, process)
    send(process, :go)
    accept(listener, serve)
  end

  @doc "Reads up to the end of a request's head; what has come of the body is behind it."
  def head(socket, so_far \\ "") do
    if String.contains?(so_far, "\r\n\r\n") do
      {:ok, so_far}
    else
      with {:ok, more} <- :gen_tcp.recv(socket, 0), do: head(socket, so_far <> more)
    end
  end

  @doc "A whole response, behind which the connection is closed."
  def say(socket, body, headers \\ "") do
    head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: #{byte_size(body)}\r\n"
    :gen_tcp.send(socket, head <> headers <> "\r\n" <> body)
  end

  @doc "Waits until the other side has closed, and tells the test."
  def tell_when_closed(socket, test) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, _more} -> tell_when_closed(socket, test)
      {:error, _closed} -> send(test, :closed)
    end
  end
end
