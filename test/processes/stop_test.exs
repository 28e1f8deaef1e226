defmodule Tidepool.Processes.StopTest do
  # The application's end in a VM that goes on. The VM is one of the test's own.
  use Tidepool.Case, async: true

  import Tidepool.ProgramClient, only: [connect!: 1, ask!: 2, hear!: 1]

  alias Tidepool.Process, as: Guest
  alias Tidepool.{Peer, Stage}

  @moduletag :lunatic
  # More than there is address space for, if the engines of those before were left.
  @rounds 8
  @served 10

  test "programs end with the application, and their connections, whoever has started them and is linked to them" do
    peer = Peer.start!()

    {:ok, _function} =
      Peer.call(peer, Tidepool, :deploy, [
        guest("lunatic", "key_value"),
        [name: "store", net: ["tcp:listen:127.0.0.1:*"]]
      ])

    for _round <- 1..@rounds do
      [linked, other] = stages = for _ <- 1..2, do: Stage.start(peer)
      _flag = Stage.run(linked, Process, :flag, [:trap_exit, true])
      first = served(linked, :start_link)
      second = served(other, :start)
      :ok = Peer.call(peer, Application, :stop, [:tidepool])
      # None of them lives on, and all are told.
      for {program, clients} <- [first, second] do
        refute Peer.call(peer, Process, :alive?, [program])
        for client <- clients, do: assert(hear!(client) == :closed)
      end

      {program, _clients} = first
      assert Stage.run(linked, Stage, :next, []) == {:EXIT, program, :killed}
      {:ok, _started} = Peer.call(peer, Application, :ensure_all_started, [:tidepool])
      # There: here another process may have that number.
      for stage <- stages, do: Peer.call(peer, Process, :exit, [stage.pid, :kill])
    end
  end

  # A server with clients that it serves.
  defp served(stage, start) do
    me = stage.pid
    {:ok, program} = Stage.run(stage, Guest, start, ["store", ["store"], [output: me]])
    {:tidepool_output, _process, _stream, line} = Stage.run(stage, Stage, :next, [])
    [_line, port] = Regex.run(~r/[Ll]istening on \S+:(\d+)/, line)
    clients = for _ <- 1..@served, do: connect!(String.to_integer(port))
    for client <- clients, do: assert(ask!(client, "GET name") == "NONE")
    {program, clients}
  end
end
