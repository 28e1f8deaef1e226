defmodule Mix.Tasks.Tidepool.Run do
  @shortdoc "Runs a module as a program of its own"

  @moduledoc """
  Runs a WebAssembly module as a program: with arguments, standard input and output, and an exit status.

      mix tidepool.run app.wasm -- --verbose input.txt
      mix tidepool.run --net tcp:listen:127.0.0.1:7000 server.wasm
      echo 'low tide' | mix tidepool.run upper.wasm

  `Tidepool.Command.Run` says which options and exit statuses there are. In a release it is `bin/tidepool run`.
  """

  use Mix.Task

  alias Tidepool.Command.Run

  @impl true
  def run(arguments) do
    leader = Process.group_leader()
    # What compiling the project prints is none of the program's output.
    Process.group_leader(self(), Process.whereis(:standard_error))

    status =
      try do
        Mix.Task.run("app.config")
        Run.main(arguments, leader)
      after
        Process.group_leader(self(), leader)
      end

    if status != 0, do: exit({:shutdown, status})
  end
end
