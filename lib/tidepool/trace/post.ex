defmodule Tidepool.Trace.Post do
  @moduledoc """
  One `POST` by HTTP/1.1 (RFC 9112) on a connection of its own. Of the answer the status is read, and no more: `:httpc` takes whatever
  a server sends, head and body, without a bound.
  """

  alias Tidepool.Outgoing.Tls

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

    case address(host) do
      {:ok, address} when tuple_size(address) == 8 -> open(scheme, address, port, [:inet6 | options], until)
      {:ok, address} -> open(scheme, address, port, options, until)
      {:error, :einval} -> by_name(scheme, to_charlist(host), port, options, until)
    end
  end

  # A name that has no address of IPv4 may have one of IPv6.
  defp by_name(scheme, host, port, options, until) do
    with {:error, _reason} = failed <- open(scheme, host, port, options, until) do
      with {:error, _no_such_address} <- open(scheme, host, port, [:inet6 | options], until), do: failed
    end
  end

  defp open("http", host, port, options, until) do
    with {:ok, socket} <- :gen_tcp.connect(host, port, options, left(until)), do: {:ok, {:gen_tcp, socket}}
  end

  defp open("https", host, port, options, until) do
    with {:ok, socket} <- :ssl.connect(host, port, options ++ Tls.client(), left(until)), do: {:ok, {:ssl, socket}}
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

  defp address(host), do: host |> to_charlist() |> :inet.parse_address()
  defp left(until), do: max(until - now(), 1)
  defp now, do: System.monotonic_time(:millisecond)
end
