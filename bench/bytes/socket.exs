defmodule Bench.Bytes.Socket do
  @moduledoc """
  A server on a socket of Erlang's that answers each HTTP request with its body: what a POST and its answer cost in this
  VM without an edge and without a guest. (The bare hyper server of `bench/run edge` reads no bodies: it closes the
  connection after a large one.)
  """

  @doc "Starts it; returns its port on the loopback."
  @spec start! :: :inet.port_number()
  def start! do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false, nodelay: true, packet: :http_bin])
    {:ok, port} = :inet.port(listener)
    server = spawn_link(fn -> accept(listener) end)
    :ok = :gen_tcp.controlling_process(listener, server)
    port
  end

  # One connection at a time: the bench's client has one.
  defp accept(listener) do
    {:ok, socket} = :gen_tcp.accept(listener)
    serve(socket, 0)
    accept(listener)
  end

  defp serve(socket, length) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, {:http_header, _bit, :"Content-Length", _raw, value}} -> serve(socket, String.to_integer(value))
      {:ok, :http_eoh} -> answer(socket, length)
      {:ok, _request_line_or_other_header} -> serve(socket, length)
      {:error, _closed} -> :gen_tcp.close(socket)
    end
  end

  defp answer(socket, length) do
    with :ok <- :inet.setopts(socket, packet: :raw),
         {:ok, body} <- :gen_tcp.recv(socket, length),
         :ok <- :gen_tcp.send(socket, ["HTTP/1.1 200 OK\r\ncontent-length: #{length}\r\n\r\n", body]),
         :ok <- :inet.setopts(socket, packet: :http_bin) do
      serve(socket, 0)
    else
      {:error, _closed} -> :gen_tcp.close(socket)
    end
  end
end
