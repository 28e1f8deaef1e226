defmodule Bench.Siege.Clients do
  @moduledoc """
  Well-behaved clients, in a program of their own: `elixir clients.exs PORT`. A call each 10 ms and a deploy each 250 ms,
  counted from when they were due.

  For each line of standard input, a number of seconds, it prints `call` or `deploy`, `ok` or `error` and the µs of each, and
  then `done`.
  """

  @call_ms 10
  @deploy_ms 250
  @patience_ms 10_000

  def run([port]) do
    port = String.to_integer(port)
    IO.stream(:line) |> Enum.each(&measure(port, &1 |> String.trim() |> String.to_integer()))
  end

  defp measure(port, seconds) do
    wasm = File.read!("guests/build/wat/returns_1_silent.wasm")
    calls = Task.async(fn -> every(@call_ms, seconds, fn turn -> call(port, turn) end) end)
    deploys = Task.async(fn -> every(@deploy_ms, seconds, fn turn -> deploy(port, wasm, turn) end) end)

    for {kind, task} <- [call: calls, deploy: deploys], {outcome, us} <- Task.await(task, :infinity) do
      IO.puts("#{kind} #{outcome} #{us}")
    end

    IO.puts("done")
  end

  # Each in a process of its own, so that one that waits delays no other.
  defp every(ms, seconds, work) do
    begun = System.monotonic_time(:millisecond)

    for turn <- 1..max(div(seconds * 1_000, ms), 1) do
      due = begun + turn * ms
      Process.sleep(max(due - System.monotonic_time(:millisecond), 0))

      Task.async(fn ->
        outcome = work.(turn)
        {outcome, System.monotonic_time(:microsecond) - due * 1_000}
      end)
    end
    |> Task.await_many(:infinity)
  end

  defp call(port, turn) do
    request(port, ["POST /call/good HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", body("#{turn}")])
  end

  # Another module each time: a deploy that changes nothing costs nothing.
  defp deploy(port, wasm, turn) do
    variant = <<7, "variant">> <> "#{turn} #{port} #{System.monotonic_time()}"
    wasm = [wasm, 0, byte_size(variant), variant]

    head =
      "POST /deploy HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=b\r\n"

    part = &["--b\r\ncontent-disposition: form-data; name=\"", &1, "\"\r\n\r\n", &2, "\r\n"]
    request(port, [head, body([part.("name", "deployed"), part.("wasm", wasm), "--b--\r\n"])])
  end

  defp body(content), do: ["content-length: #{IO.iodata_length(content)}\r\n\r\n", content]

  defp request(port, bytes) do
    with {:ok, socket} <- :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false], @patience_ms),
         :ok <- :gen_tcp.send(socket, bytes),
         {:ok, "HTTP/1.1 20" <> _rest} <- :gen_tcp.recv(socket, 0, @patience_ms) do
      :gen_tcp.close(socket)
      :ok
    else
      _refused_or_cut -> :error
    end
  end
end

Bench.Siege.Clients.run(System.argv())
