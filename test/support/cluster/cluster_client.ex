defmodule Tidepool.ClusterClient do
  @moduledoc """
  A client of a cluster, as behind a load balancer: it makes some calls on one connection, then goes to the next edge,
  and at once when it is refused or told to leave. A call that was sent and got no whole answer has failed; nothing is
  repeated.
  """

  @answer_ms 30_000
  @calls_on_a_connection 25

  @doc """
  Calls `name` in turns until it gets `:stop`, and returns `%{answers: count, versions: set, failures: [failure]}`.

  A failure is `{port, what happened}`.
  """
  def run(ports, name) do
    turns(%{ports: ports, socket: nil, name: name, answers: 0, versions: MapSet.new(), failures: []})
  end

  defp turns(%{socket: nil} = state) do
    [port | others] = state.ports

    case :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, packet: :http_bin, nodelay: true], 1_000) do
      {:ok, socket} -> turns(%{state | socket: socket})
      {:error, _refused} -> breathe(%{state | ports: others ++ [port]})
    end
  end

  defp turns(state) do
    head = "POST /call/#{state.name}/any HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"

    with :ok <- :gen_tcp.send(state.socket, head),
         {:ok, 200, body, keep?} <- answer(state.socket) do
      state = %{
        state
        | answers: state.answers + 1,
          versions: MapSet.put(state.versions, Tidepool.FaultVersion.of(body))
      }

      breathe(if keep? and rem(state.answers, @calls_on_a_connection) != 0, do: state, else: leave(state))
    else
      other -> breathe(leave(%{state | failures: [{hd(state.ports), other} | state.failures]}))
    end
  end

  # Somebody else has to get a turn as well.
  defp breathe(state) do
    receive do
      :stop -> Map.take(state, [:answers, :versions, :failures])
    after
      1 -> turns(state)
    end
  end

  defp leave(state) do
    :gen_tcp.close(state.socket)
    [port | others] = state.ports
    %{state | socket: nil, ports: others ++ [port]}
  end

  defp answer(socket) do
    with {:ok, {:http_response, _version, status, _text}} <- :gen_tcp.recv(socket, 0, @answer_ms),
         {:ok, length, keep?} <- headers(socket, 0, true),
         :ok <- :inet.setopts(socket, packet: :raw),
         {:ok, body} <- if(length > 0, do: :gen_tcp.recv(socket, length, @answer_ms), else: {:ok, ""}),
         :ok <- :inet.setopts(socket, packet: :http_bin) do
      {:ok, status, body, keep?}
    end
  end

  defp headers(socket, length, keep?) do
    case :gen_tcp.recv(socket, 0, @answer_ms) do
      {:ok, {:http_header, _bit, :"Content-Length", _reserved, value}} ->
        headers(socket, String.to_integer(value), keep?)

      {:ok, {:http_header, _bit, :Connection, _reserved, value}} ->
        headers(socket, length, keep? and value != "close")

      {:ok, {:http_header, _bit, _name, _reserved, _value}} ->
        headers(socket, length, keep?)

      {:ok, :http_eoh} ->
        {:ok, length, keep?}

      {:error, reason} ->
        {:error, reason}
    end
  end
end
