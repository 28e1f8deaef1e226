defmodule Tidepool.EventClient do
  @moduledoc "A client of server-sent events over HTTP/1.1, byte by byte, on a socket in the test's hands."

  @answer_ms 30_000

  @enforce_keys [:socket]
  defstruct [:socket, raw: "", text: "", status: nil, headers: %{}, over?: false]

  @doc "Asks for `path`, with a body that its headers tell, and waits for the head of the answer."
  def connect(port, headers \\ [], path \\ "/events", method \\ "GET", body \\ "") do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, nodelay: true])
    lines = for {name, value} <- [{"host", "localhost"} | headers], do: "#{name}: #{value}\r\n"
    :ok = :gen_tcp.send(socket, ["#{method} #{path} HTTP/1.1\r\n", lines, "\r\n", body])
    head(%__MODULE__{socket: socket})
  end

  @doc "The next event, as a map of its fields; `:ping`; or, for an answer that is over, `:done`, or `:broken` when it broke off."
  def next(%{text: text} = client) do
    case String.split(text, "\n\n", parts: 2) do
      [event, rest] -> {event(event), %{client | text: rest}}
      [_some] when client.over? -> {:done, client}
      [_some] -> more(client)
    end
  end

  @doc "The next event of a kind that is told in `names`, whatever else comes before."
  def next(client, names) do
    case next(client) do
      {%{"event" => name}, _client} = found -> if name in names, do: found, else: next(elem(found, 1), names)
      {over, _client} = found when over in [:done, :broken] -> found
      {_other, client} -> next(client, names)
    end
  end

  @doc "The next `count` events about the function."
  def about(client, name, count) do
    Enum.map_reduce(1..count, client, fn _index, client -> next_about(client, name) end)
  end

  defp next_about(client, name) do
    case next(client, ["deployed", "removed"]) do
      {%{"data" => %{"name" => ^name}}, _client} = found -> found
      {%{"data" => _other}, client} -> next_about(client, name)
    end
  end

  @doc "Hangs up."
  def close(client), do: :gen_tcp.close(client.socket)

  defp head(client) do
    case String.split(client.raw, "\r\n\r\n", parts: 2) do
      [head, rest] ->
        ["HTTP/1.1 " <> <<status::binary-size(3)>> <> _text | lines] = String.split(head, "\r\n")
        headers = for line <- lines, [name, value] = String.split(line, ": ", parts: 2), into: %{}, do: {name, value}
        %{client | raw: rest, status: String.to_integer(status), headers: headers}

      [_some] ->
        {:ok, bytes} = :gen_tcp.recv(client.socket, 0, @answer_ms)
        head(%{client | raw: client.raw <> bytes})
    end
  end

  # A chunk more.
  defp more(client) do
    with [size, rest] <- String.split(client.raw, "\r\n", parts: 2),
         size = String.to_integer(size, 16),
         <<chunk::binary-size(size), "\r\n", rest::binary>> <- rest do
      next(%{client | raw: rest, text: client.text <> chunk, over?: size == 0})
    else
      _not_yet ->
        case :gen_tcp.recv(client.socket, 0, @answer_ms) do
          {:ok, bytes} -> more(%{client | raw: client.raw <> bytes})
          {:error, :closed} -> {:broken, client}
        end
    end
  end

  defp event(": ping"), do: :ping

  defp event(text) do
    fields = for line <- String.split(text, "\n"), [name, value] = String.split(line, ": ", parts: 2), do: {name, value}
    Map.new(fields, &data/1)
  end

  defp data({"data", text}) do
    {:ok, data} = Tidepool.Native.json_decode(text)
    {"data", data}
  end

  defp data(field), do: field
end
