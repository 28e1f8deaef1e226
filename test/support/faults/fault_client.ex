defmodule Tidepool.FaultClient do
  @moduledoc """
  An HTTP client on one connection that it keeps: the socket is in the test's hands, to be used in a tight loop or to be
  cut in the middle of a request.
  """

  @answer_ms 60_000

  @doc "Connects to the running edge, or to another one."
  def connect(port \\ TidepoolWeb.Listener.port()) do
    options = [:binary, packet: :http_bin, active: false, nodelay: true]
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, options)
    socket
  end

  @doc "Calls a function: `{status, body}`."
  def call(socket, name, operation, payload \\ "") do
    ask(socket, name, operation, payload)
    answer(socket)
  end

  @doc "Waits for the answer to a request: `{status, body}`."
  def answer(socket) do
    {:ok, {:http_response, _version, status, _text}} = :gen_tcp.recv(socket, 0, @answer_ms)
    length = content_length(socket, 0)
    :ok = :inet.setopts(socket, packet: :raw)
    {:ok, body} = if length > 0, do: :gen_tcp.recv(socket, length, @answer_ms), else: {:ok, ""}
    :ok = :inet.setopts(socket, packet: :http_bin)
    {status, body}
  end

  @doc "Sends the request of a call and does not wait for the answer."
  def ask(socket, name, operation, payload \\ "") do
    head =
      "POST /call/#{name}/#{operation} HTTP/1.1\r\nhost: localhost\r\ncontent-length: #{byte_size(payload)}\r\n\r\n"

    :ok = :gen_tcp.send(socket, [head, payload])
  end

  defp content_length(socket, length) do
    case :gen_tcp.recv(socket, 0, @answer_ms) do
      {:ok, {:http_header, _bit, :"Content-Length", _reserved, value}} ->
        content_length(socket, String.to_integer(value))

      {:ok, {:http_header, _bit, _name, _reserved, _value}} ->
        content_length(socket, length)

      {:ok, :http_eoh} ->
        length
    end
  end
end
