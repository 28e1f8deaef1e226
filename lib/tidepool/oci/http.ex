defmodule Tidepool.Oci.Http do
  @moduledoc """
  One `GET` by HTTP/1.1 (RFC 9112), on a connection of its own to an address that was looked up before: `:httpc` looks names up by
  itself, and takes whatever a server sends, without a bound.

  All of it happens in the calling process, whose end ends the connection. A body is read of answers with status 200 alone, and no
  more of it than is wanted; it is taken as it is, and never inflated.
  """

  alias Tidepool.Outgoing.Tls

  # Of a line of the head, in bytes: addresses that are good for a while are long.
  @max_line 16_384
  @max_headers 100
  @piece 262_144
  # Chunks of a body have so many bytes on average, beyond the first ones: each has the connection asked five times.
  @chunk_bytes 1_024
  @few_chunks 1_000

  @typedoc "What is asked: `target` is the path with its query, `bytes` the most that a body may have, `until` monotonic ms."
  @type request :: %{
          scheme: :http | :https,
          host: String.t(),
          port: :inet.port_number(),
          addresses: [:inet.ip_address(), ...],
          target: String.t(),
          headers: [{String.t(), String.t()}],
          bytes: non_neg_integer,
          until: integer
        }

  @typedoc "Names of headers are in lower case. The body is `nil` unless the status is 200."
  @type answer :: %{status: 200..599, headers: [{String.t(), String.t()}], body: binary | nil}

  @typedoc "`:too_long`: the body has more bytes than wanted; `:cut`: it ended before its end."
  @type fault :: :timeout | :not_http | :encoded | :too_long | :cut | {:connect, term}

  @doc "Asks, and waits for the answer."
  @spec get(request) :: {:ok, answer} | {:error, fault}
  def get(request) do
    with {:ok, connection} <- connect(request, request.addresses, {:connect, :no_address}) do
      try do
        with :ok <- send_all(connection, head(request)), do: answer(connection, request)
      after
        close(connection)
      end
    end
  end

  defp head(%{target: target, headers: headers} = request) do
    own = [{"host", authority(request)}, {"accept-encoding", "identity"}, {"connection", "close"}]
    ["GET ", target, " HTTP/1.1\r\n", for({name, value} <- own ++ headers, do: [name, ": ", value, "\r\n"]), "\r\n"]
  end

  defp authority(%{scheme: scheme, host: host, port: port}) do
    host = if host =~ ":", do: "[#{host}]", else: host
    if port == URI.default_port("#{scheme}"), do: host, else: "#{host}:#{port}"
  end

  # One after the other, each with its share of the time that is left.
  defp connect(_request, [], fault), do: {:error, fault}

  defp connect(%{until: until} = request, [address | more], _fault) do
    if left(until) == 0 do
      {:error, :timeout}
    else
      timeout = max(div(left(until), length(more) + 1), 1)

      case open(request, address, timeout) do
        {:ok, connection} -> {:ok, connection}
        {:error, :timeout} when more == [] -> {:error, :timeout}
        {:error, reason} -> connect(request, more, {:connect, reason})
      end
    end
  end

  defp open(request, address, timeout) do
    family = if tuple_size(address) == 8, do: :inet6, else: :inet
    options = [:binary, family, active: false, packet: :http_bin, packet_size: @max_line, nodelay: true]
    options = options ++ [send_timeout: timeout, send_timeout_close: true]

    case request.scheme do
      :http ->
        with {:ok, socket} <- :gen_tcp.connect(address, request.port, options, timeout), do: {:ok, {:gen_tcp, socket}}

      :https ->
        options = options ++ tls(request.host, address)
        with {:ok, socket} <- :ssl.connect(address, request.port, options, timeout), do: {:ok, {:ssl, socket}}
    end
  end

  defp tls(host, address) do
    # A host that is an address is looked for among those of the certificate.
    if :inet.parse_address(to_charlist(host)) == {:ok, address},
      do: Tls.client(),
      else: [{:server_name_indication, to_charlist(host)} | Tls.client()]
  end

  defp answer(connection, %{until: until} = request) do
    with {:ok, {:http_response, _version, status, _phrase}} when status in 200..599 <- recv(connection, 0, until),
         {:ok, headers} <- headers(connection, until, []),
         {:ok, body} <- body(connection, status, headers, request) do
      {:ok, %{status: status, headers: headers, body: body}}
    else
      {:ok, _other} -> {:error, :not_http}
      {:error, :closed} -> {:error, :not_http}
      {:error, fault} -> {:error, fault}
    end
  end

  defp headers(_connection, _until, headers) when length(headers) > @max_headers, do: {:error, :not_http}

  defp headers(connection, until, headers) do
    case recv(connection, 0, until) do
      {:ok, :http_eoh} -> {:ok, Enum.reverse(headers)}
      {:ok, {:http_header, _, name, _, value}} -> headers(connection, until, [{lower(name), value} | headers])
      {:ok, _other} -> {:error, :not_http}
      {:error, reason} -> {:error, reason}
    end
  end

  defp lower(name), do: name |> to_string() |> String.downcase()

  @doc "The value of a header, the first one."
  @spec header(answer | [{String.t(), String.t()}], String.t()) :: String.t() | nil
  def header(%{headers: headers}, name), do: header(headers, name)
  def header(headers, name), do: with({^name, value} <- List.keyfind(headers, name, 0), do: value)

  defp body(_connection, status, _headers, _request) when status != 200, do: {:ok, nil}

  defp body(connection, 200, headers, %{bytes: bytes, until: until}) do
    encoding = header(headers, "content-encoding")

    cond do
      encoding not in [nil, "", "identity"] -> {:error, :encoded}
      transfer = header(headers, "transfer-encoding") -> chunked(connection, String.downcase(transfer), bytes, until)
      length = header(headers, "content-length") -> sized(connection, content_length(length), bytes, until)
      true -> with(:ok <- packets(connection, :raw), do: rest(connection, bytes, until, ""))
    end
  end

  # The VM reads a number in one go, however long it is: the length of no body has more digits.
  defp content_length(text), do: if(text =~ ~r/\A[0-9]{1,18}\z/, do: String.to_integer(text))

  defp sized(_connection, nil, _bytes, _until), do: {:error, :not_http}

  defp sized(connection, length, bytes, until) when length <= bytes do
    with :ok <- packets(connection, :raw),
         {:ok, pieces} <- exactly(connection, length, until, []),
         do: {:ok, IO.iodata_to_binary(pieces)}
  end

  defp sized(_connection, _length, _bytes, _until), do: {:error, :too_long}

  defp exactly(_connection, 0, _until, pieces), do: {:ok, Enum.reverse(pieces)}

  defp exactly(connection, length, until, pieces) do
    with {:ok, piece} <- data(connection, min(length, @piece), until),
         do: exactly(connection, length - byte_size(piece), until, [piece | pieces])
  end

  # To the end of the connection.
  defp rest(connection, bytes, until, body) do
    case recv(connection, 0, until) do
      {:ok, piece} when byte_size(piece) <= bytes ->
        rest(connection, bytes - byte_size(piece), until, append(piece, body))

      {:ok, _more} ->
        {:error, :too_long}

      {:error, :closed} ->
        {:ok, body}

      {:error, fault} ->
        {:error, fault}
    end
  end

  defp chunked(connection, "chunked", bytes, until), do: chunks(connection, bytes, until, {0, ""})
  defp chunked(_connection, _other, _bytes, _until), do: {:error, :not_http}

  # Pieces are put together as they come: in a list each takes some 100 bytes, however short it is.
  defp chunks(_connection, _bytes, _until, {count, body})
       when count > @few_chunks and byte_size(body) < count * @chunk_bytes,
       do: {:error, :not_http}

  defp chunks(connection, bytes, until, {count, body}) do
    with :ok <- packets(connection, :line),
         {:ok, line} <- data(connection, 0, until),
         {:ok, length} when length <= bytes <- chunk_length(line) do
      if length == 0 do
        {:ok, body}
      else
        with :ok <- packets(connection, :raw),
             {:ok, pieces} <- exactly(connection, length, until, []),
             {:ok, "\r\n"} <- data(connection, 2, until) do
          chunks(connection, bytes - length, until, {count + 1, Enum.reduce(pieces, body, &append/2)})
        else
          {:ok, _no_end} -> {:error, :not_http}
          {:error, fault} -> {:error, fault}
        end
      end
    else
      {:ok, _more} -> {:error, :too_long}
      {:error, fault} -> {:error, fault}
    end
  end

  # The VM has room at the end of what grows so, and copies nothing.
  defp append(piece, body), do: <<body::binary, piece::binary>>

  # What stands behind the length is an extension, and a line that was longer than a line may be comes in pieces.
  defp chunk_length(line) do
    case Regex.run(~r/\A([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r\n\z/, line) do
      [_all, digits] -> {:ok, String.to_integer(digits, 16)}
      nil -> {:error, :not_http}
    end
  end

  defp data(connection, length, until) do
    with {:error, :closed} <- recv(connection, length, until), do: {:error, :cut}
  end

  defp recv({transport, socket}, length, until) do
    case left(until) do
      0 ->
        {:error, :timeout}

      left ->
        case transport.recv(socket, length, left) do
          {:error, reason} when reason not in [:timeout, :closed] -> {:error, :not_http}
          other -> other
        end
    end
  end

  defp packets({:gen_tcp, socket}, packet), do: settled(:inet.setopts(socket, packet: packet))
  defp packets({:ssl, socket}, packet), do: settled(:ssl.setopts(socket, packet: packet))

  defp settled(:ok), do: :ok
  defp settled({:error, _closed}), do: {:error, :cut}

  defp send_all({transport, socket}, data) do
    case transport.send(socket, data) do
      :ok -> :ok
      {:error, :timeout} -> {:error, :timeout}
      {:error, _closed} -> {:error, :not_http}
    end
  end

  defp close({transport, socket}), do: transport.close(socket)

  @doc "How many ms are left until a time; 0 when there are none."
  @spec left(until :: integer) :: non_neg_integer
  def left(until), do: max(until - System.monotonic_time(:millisecond), 0)
end
