# The node whose calls atomics.py watches: makes calls of the subject that a line on standard input names, until the next.
Code.require_file("../support.exs", __DIR__)
Code.require_file("subjects.exs", __DIR__)

defmodule Bench.Scale.Traced do
  @moduledoc false

  alias Bench.Scale.Subjects

  # A subject's code is loaded, and its instance made, before it is watched.
  @before 2_000

  def run do
    Bench.start!()
    Subjects.deploy()
    IO.puts("ready #{System.pid()}")
    serve(nil)
  end

  defp serve(caller) do
    case IO.gets("") do
      name when is_binary(name) ->
        if caller, do: Process.exit(caller, :kill)
        call = name |> String.trim() |> Subjects.call()
        for _ <- 1..@before, do: call.()
        caller = spawn(fn -> forever(call) end)
        IO.puts("calling")
        serve(caller)

      _end ->
        :ok
    end
  end

  defp forever(call) do
    call.()
    forever(call)
  end
end

Bench.Scale.Traced.run()
