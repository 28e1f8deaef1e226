defmodule Tidepool.FalseRegistry do
  @moduledoc """
  A server on loopback that answers as a test says, whatever a registry would. It tells the test of each request, as
  `{:asked, port, path, headers}`, and of each connection that the other side has ended, as `{:hung_up, port}`.
  """

  @doc """
  Starts it: its address. `answer` gets the path and the headers, with names in lower case, and returns `{status, headers, body}`,
  `{:raw, bytes}` and an end, `{:open, bytes}` and none, `{:pour, beginning, more}` for `more` without an end, or `:never`.
  """
  def start!(answer) do
    test = self()
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, packet: :http_bin, active: false, backlog: 64])
    {:ok, port} = :inet.port(listener)
    child = %{id: make_ref(), start: {Task, :start_link, [fn -> accept(listener, {test, port, answer}) end]}}
    server = ExUnit.Callbacks.start_supervised!(child)
    :ok = :gen_tcp.controlling_process(listener, server)
    "127.0.0.1:#{port}"
  end

  defp accept(listener, context) do
    {:ok, socket} = :gen_tcp.accept(listener)
    server = spawn_link(fn -> receive(do: (:yours -> serve(socket, context))) end)
    :ok = :gen_tcp.controlling_process(socket, server)
    send(server, :yours)
    accept(listener, context)
  end

  defp serve(socket, {test, port, answer}) do
    with {:ok, {:http_request, _method, {:abs_path, path}, _version}} <- :gen_tcp.recv(socket, 0),
         {:ok, headers} <- headers(socket, []) do
      send(test, {:asked, port, path, headers})
      :inet.setopts(socket, packet: :raw)
      write(socket, answer.(path, headers))
      drain(socket)
    end

    send(test, {:hung_up, port})
    :gen_tcp.close(socket)
  end

  # A body, if there is one, until the other side hangs up.
  defp drain(socket), do: with({:ok, _body} <- :gen_tcp.recv(socket, 0), do: drain(socket))

  defp headers(socket, headers) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, :http_eoh} -> {:ok, Enum.reverse(headers)}
      {:ok, {:http_header, _, name, _, value}} -> headers(socket, [{String.downcase("#{name}"), value} | headers])
      other -> other
    end
  end

  defp write(_socket, :never), do: :ok
  defp write(socket, {:open, bytes}), do: :gen_tcp.send(socket, bytes)

  defp write(socket, {:raw, bytes}),
    do: with(_sent <- :gen_tcp.send(socket, bytes), do: :gen_tcp.shutdown(socket, :write))

  defp write(socket, {:pour, beginning, more}),
    do: with(:ok <- :gen_tcp.send(socket, beginning), do: pour(socket, more))

  defp write(socket, {status, headers, body}) do
    # It serves one request a connection, and who asks has to know, or its next request finds the connection ending.
    headers = [{"content-length", byte_size(body)}, {"connection", "close"} | headers]
    head = for {name, value} <- headers, do: "#{name}: #{value}\r\n"
    write(socket, {:raw, ["HTTP/1.1 #{status} Whatever\r\n", head, "\r\n", body]})
  end

  defp pour(socket, more), do: with(:ok <- :gen_tcp.send(socket, more), do: pour(socket, more))
end
