defmodule Bench.Redis do
  @moduledoc """
  A Redis server for a bench, and a client of it.

  The client has a few connections, each owned by a process that any number of callers share. Requests are pipelined:
  what has piled up goes out in one write, and answers are handed on in the order in which they come, as Redis promises.
  """

  @connections 4
  # Requests that go out in one write.
  @batch 128

  @doc "Starts redis-server on a free port of the loopback, without a disk; it ends with this node."
  def start_server! do
    {:ok, probe} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(probe)
    :gen_tcp.close(probe)

    # The shell ends the server when its standard input is closed, and that is when this VM is gone.
    command =
      "redis-server --bind 127.0.0.1 --port #{port} --save '' --appendonly no >/dev/null & cat >/dev/null; kill $!; wait"

    Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: ["-c", command]])
    await(port, System.monotonic_time(:millisecond) + 10_000)
    port
  end

  defp await(port, until) do
    case :gen_tcp.connect({127, 0, 0, 1}, port, []) do
      {:ok, socket} ->
        :gen_tcp.close(socket)

      {:error, reason} ->
        if System.monotonic_time(:millisecond) > until, do: raise("redis-server does not answer: #{reason}")
        Process.sleep(10)
        await(port, until)
    end
  end

  @doc "Connects the client."
  def connect!(port) do
    connections = for _ <- 1..@connections, do: start_connection(port)
    :persistent_term.put(__MODULE__, List.to_tuple(connections))
  end

  @doc "The value of a key: `{:ok, binary}` or `{:error, binary}`."
  def get(key) do
    connection = pick()
    ref = :erlang.monitor(:process, connection, alias: :reply_demonitor)
    send(connection, {:command, ["GET", key], &send(ref, {ref, &1})})

    receive do
      {^ref, result} -> result
      {:DOWN, ^ref, :process, _pid, reason} -> {:error, "the connection is gone: #{inspect(reason)}"}
    end
  end

  @doc "Like `get/1`, but returns at once; `answer` gets the value, in the connection's process."
  def get(key, answer) do
    send(pick(), {:command, ["GET", key], answer})
    :ok
  end

  @doc "Sets a key."
  def set!(key, value) do
    caller = self()
    send(pick(), {:command, ["SET", key, value], &send(caller, {:set, &1})})

    receive do
      {:set, {:ok, "OK"}} -> :ok
    end
  end

  defp pick do
    elem(:persistent_term.get(__MODULE__), :erlang.phash2(:erlang.unique_integer(), @connections))
  end

  # --- One connection -----------------------------------------------------------------------------

  defp start_connection(port) do
    spawn_link(fn ->
      {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: true, nodelay: true])
      serve(socket, "", :queue.new())
    end)
  end

  # `rest` is an answer's beginning; `waiting` has who gets the next answers.
  defp serve(socket, rest, waiting) do
    receive do
      {:command, parts, answer} ->
        {written, waiting} = gather([encode(parts)], :queue.in(answer, waiting), @batch)
        :ok = :gen_tcp.send(socket, written)
        serve(socket, rest, waiting)

      {:tcp, ^socket, bytes} ->
        {rest, waiting} = hand_on(rest <> bytes, waiting)
        serve(socket, rest, waiting)

      {:tcp_closed, ^socket} ->
        exit(:closed)
    end
  end

  defp gather(written, waiting, 0), do: {written, waiting}

  defp gather(written, waiting, left) do
    receive do
      {:command, parts, answer} -> gather([written | encode(parts)], :queue.in(answer, waiting), left - 1)
    after
      0 -> {written, waiting}
    end
  end

  defp hand_on(bytes, waiting) do
    case decode(bytes) do
      {result, rest} ->
        {{:value, answer}, waiting} = :queue.out(waiting)
        answer.(result)
        hand_on(rest, waiting)

      :more ->
        {bytes, waiting}
    end
  end

  # RESP 2, as redis.io/docs/reference/protocol-spec has it: a request is an array of bulk strings.
  defp encode(parts) do
    [
      "*#{length(parts)}\r\n"
      | for(part <- parts, do: ["$", Integer.to_string(byte_size(part)), "\r\n", part, "\r\n"])
    ]
  end

  defp decode(<<kind, rest::binary>>) do
    with [line, rest] <- :binary.split(rest, "\r\n"), do: decode(kind, line, rest), else: ([_part] -> :more)
  end

  defp decode(""), do: :more

  defp decode(?$, "-1", rest), do: {{:error, "no such key"}, rest}

  defp decode(?$, size, rest) do
    size = String.to_integer(size)

    case rest do
      <<value::binary-size(size), "\r\n", rest::binary>> -> {{:ok, value}, rest}
      _part -> :more
    end
  end

  defp decode(?+, line, rest), do: {{:ok, line}, rest}
  defp decode(?-, line, rest), do: {{:error, line}, rest}
end
