defmodule Tidepool.Trace.Post do
  @moduledoc """
  One `POST` by HTTP/1.1 (RFC 9112) on a connection of its own. Of the answer the status is read, and no more: `:httpc` takes whatever
  a server sends, head and body, without a bound.
  """

  alias Tidepool.Outgoing.Socket

  # Of the line with the status, in bytes.
  @max_line 8_192

  @doc "The status of the answer, within `timeout` ms."
  @spec status(URI.t(), [{String.t(), String.t()}], binary, timeout :: pos_integer) ::
          {:ok, 100..999} | {:error, term}
  def status(%URI{} = url, headers, body, timeout) do
    until = now() + timeout

    with {:ok, connection} <- connect(url, until) do
      try do
        with :ok <- send_all(connection, [head(url, headers, body), body]), do: answer(connection, left(until))
      after
        close(connection)
      end
    end
  end

  defp head(%URI{path: path} = url, headers, body) do
    own = [{"host", host(url)}, {"content-length", "#{byte_size(body)}"}, {"connection", "close"}]
    ["POST ", path, " HTTP/1.1\r\n", for({name, value} <- own ++ headers, do: [name, ": ", value, "\r\n"]), "\r\n"]
  end

  # As it is in the URL: without the port of the scheme, and an address of IPv6 in brackets.
  defp host(%URI{host: host} = url) do
    host = if host =~ ":", do: "[#{host}]", else: host
    if url.port == URI.default_port(url.scheme), do: host, else: "#{host}:#{url.port}"
  end

  defp connect(%URI{scheme: scheme, host: host, port: port}, until) do
    options = [:binary, active: false, packet: :http_bin, packet_size: @max_line, nodelay: true]
    options = options ++ [send_timeout: left(until), send_timeout_close: true]

    Socket.connect(host, port, scheme == "https", options, until)
  end

  defp answer({transport, socket}, timeout) do
    case transport.recv(socket, 0, timeout) do
      {:ok, {:http_response, _version, status, _phrase}} -> {:ok, status}
      {:ok, _other} -> {:error, :not_http}
      {:error, reason} -> {:error, reason}
    end
  end

  defp send_all({transport, socket}, data), do: transport.send(socket, data)
  defp close({transport, socket}), do: transport.close(socket)

  defp left(until), do: max(until - now(), 1)
  defp now, do: System.monotonic_time(:millisecond)
end
