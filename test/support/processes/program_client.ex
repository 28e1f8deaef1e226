defmodule Tidepool.ProgramClient do
  @moduledoc """
  Programs of guest processes as tests see them from outside: their output, and their sockets.
  """

  import ExUnit.Assertions

  alias Tidepool.Process, as: Guest

  @patience 60_000

  @doc "Starts a deployed program, whose output and end come to the caller; it ends with the test at the latest."
  def start!(function, options \\ []) do
    # A short one is over before it could be monitored.
    Process.flag(:trap_exit, true)
    {args, options} = Keyword.pop(options, :args, [])
    {:ok, pid} = Guest.start_link(function, args, [output: self()] ++ options)

    ExUnit.Callbacks.on_exit(fn -> Process.exit(pid, :kill) end)
    pid
  end

  @doc "The first line of a program's output that the pattern fits, and what its groups have. Other lines are left for later."
  def line!(pattern) do
    deadline = System.monotonic_time(:millisecond) + @patience
    line!(pattern, deadline, [])
  end

  defp line!(pattern, deadline, seen) do
    receive do
      {:tidepool_output, _process, _stream, line} = message ->
        case Regex.run(pattern, line) do
          nil ->
            line!(pattern, deadline, [message | seen])

          groups ->
            for message <- Enum.reverse(seen), do: send(self(), message)
            groups
        end
    after
      max(0, deadline - System.monotonic_time(:millisecond)) ->
        lines = for {:tidepool_output, _process, _stream, line} <- Enum.reverse(seen), do: line
        flunk("no line is like #{inspect(pattern)}; said was #{inspect(lines)}")
    end
  end

  @doc "All that has come of a program's output, as one text."
  def output(text \\ "") do
    receive do
      {:tidepool_output, _process, _stream, line} -> output(text <> String.trim_trailing(line, "\n") <> "\n")
    after
      0 -> text
    end
  end

  @doc "Waits for the end of a program that `start!/2` has started, and returns its reason."
  def ended!(pid) do
    assert_receive {:EXIT, ^pid, reason}, @patience
    reason
  end

  @doc "Where a program listens, as it says itself."
  def port! do
    [_line, port] = line!(~r/(?:[Ll]istening on|on addr:) \S+:(\d+)/)
    String.to_integer(port)
  end

  @doc "A connection to a port of this machine, whose lines are read one by one."
  def connect!(port) do
    {:ok, socket} =
      :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, packet: :line, active: false, nodelay: true], @patience)

    socket
  end

  @doc "Sends a line."
  def say!(socket, line), do: :ok = :gen_tcp.send(socket, line <> "\n")

  @doc "The next line, or `:closed`."
  def hear!(socket) do
    case :gen_tcp.recv(socket, 0, @patience) do
      {:ok, line} -> String.trim_trailing(line, "\n")
      {:error, reason} when reason in [:closed, :econnreset] -> :closed
      {:error, reason} -> flunk("nothing comes: #{inspect(reason)}")
    end
  end

  @doc "Sends a line, and returns the answer's."
  def ask!(socket, line) do
    say!(socket, line)
    hear!(socket)
  end
end
