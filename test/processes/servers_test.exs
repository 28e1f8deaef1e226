defmodule Tidepool.Processes.ServersTest do
  # Whole servers, as their clients see them: what the death of one of their processes does, and what it does not.
  use Tidepool.Case, async: true

  import Tidepool.ProgramClient

  alias Tidepool.Error
  alias Tidepool.Process, as: Guest

  @moduletag :lunatic
  @patience 60_000
  @listen ["tcp:listen:127.0.0.1:*"]

  # A server that listens, and its port.
  defp server!(name, language \\ "lunatic") do
    program = start!(deploy!(language, name, net: @listen), args: [name])
    {program, port!()}
  end

  # A connection that is served, and the process that serves it: that which has come with it.
  defp served!(program, port, line) do
    before = living(program)
    client = connect!(port)
    answer = ask!(client, line)
    # A chat's client has a process that writes, too, and it is the one that came first.
    [process | _its_own] = Enum.sort_by(living(program) -- before, & &1.id)
    {client, process.pid, answer}
  end

  defp living(program) do
    %{program: number} = Guest.info(program)
    for info <- Guest.list(), info.program == number, do: Map.take(info, [:id, :pid])
  end

  defp kill!(process) do
    monitor = Process.monitor(process)
    Guest.kill(process)
    assert_receive {:DOWN, ^monitor, :process, ^process, _reason}, @patience
  end

  defp joined!(port, name) do
    client = connect!(port)
    say!(client, name)
    # It is there once it sees itself.
    assert client |> ask!("/who") |> String.contains?(name)
    client
  end

  describe "the chat" do
    test "passes what one says to all others, and goes on when one leaves, however that is" do
      {_program, port} = server!("chat")
      ada = joined!(port, "ada")
      bob = joined!(port, "bob")
      assert hear!(ada) == "* bob came"
      say!(ada, "hello, you")
      assert hear!(bob) == "ada: hello, you"

      # One goes, one hangs up, one panics.
      for {name, leave, how} <- [
            {"cleo", &say!(&1, "/quit"), "went"},
            {"dora", &:gen_tcp.close/1, "went"},
            {"eve", &say!(&1, "/crash"), "was lost"}
          ] do
        guest = joined!(port, name)
        for client <- [ada, bob], do: assert(hear!(client) == "* #{name} came")
        leave.(guest)
        for client <- [ada, bob], do: assert(hear!(client) == "* #{name} #{how}")
        say!(bob, "without #{name}")
        assert hear!(ada) == "bob: without #{name}"
      end

      assert ask!(ada, "/who") == "* here: ada, bob"
    end

    test "loses the client whose process is killed, and no other" do
      {program, port} = server!("chat")
      ada = joined!(port, "ada")
      before = living(program)
      bob = joined!(port, "bob")
      assert hear!(ada) == "* bob came"
      # His reader is linked to his writer.
      for %{pid: pid} <- Enum.take(Enum.sort_by(living(program) -- before, & &1.id), 1), do: kill!(pid)
      assert hear!(bob) == :closed
      assert hear!(ada) == "* bob was lost"
      assert joined!(port, "cleo")
      assert hear!(ada) == "* cleo came"
    end
  end

  describe "the key-value store" do
    test "puts, gets and deletes for many clients at once, and loses no sum" do
      {_program, port} = server!("key_value")
      {clients, rounds} = {50, 20}

      1..clients
      |> Task.async_stream(
        fn number ->
          client = connect!(port)

          for round <- 1..rounds do
            key = "key#{number}_#{round}"
            assert ask!(client, "SET #{key} a value of #{number}") == "NEW"
            assert ask!(client, "GET #{key}") == "VALUE a value of #{number}"
            "VALUE " <> _sum = ask!(client, "ADD sum 1")
            assert ask!(client, "DEL #{key}") == "GONE"
            assert ask!(client, "GET #{key}") == "NONE"
          end
        end,
        max_concurrency: clients,
        timeout: @patience
      )
      |> Enum.each(&assert {:ok, _done} = &1)

      client = connect!(port)
      assert ask!(client, "GET sum") == "VALUE #{clients * rounds}"
      assert ask!(client, "COUNT") == "VALUE 1"
    end

    test "goes on with its values when the process of a connection is killed" do
      {program, port} = server!("key_value")
      {other, _process, "NEW"} = served!(program, port, "SET tide low")
      {client, process, "NEW"} = served!(program, port, "SET moon full")
      kill!(process)
      assert hear!(client) == :closed
      assert ask!(other, "GET moon") == "VALUE full"
      assert ask!(connect!(port), "GET tide") == "VALUE low"
    end

    test "ends with its store, which it is linked to" do
      {program, port} = server!("key_value")
      {client, _process, "NEW"} = served!(program, port, "SET tide low")
      [store] = for %{id: 2, pid: pid} <- living(program), do: pid
      kill!(store)
      assert ended!(program) == :killed
      assert hear!(client) == :closed
    end
  end

  describe "the tree of supervisors" do
    test "restarts one alone, or a pair together, and its server's clients see no more of it" do
      {_program, port} = server!("supervisor_tree")
      client = connect!(port)

      for name <- ["left", "right", "alone"] do
        assert ask!(client, "ADD #{name}") == "1"
        assert ask!(client, "ADD #{name}") == "2"
      end

      assert ask!(client, "CRASH alone") == "0"
      line!(~r/a client has asked for it/)
      assert for(name <- ["left", "right", "alone"], do: ask!(client, "READ #{name}")) == ["2", "2", "0"]
      assert ask!(client, "ADD alone") == "1"
      assert ask!(client, "CRASH left") == "0"
      assert for(name <- ["left", "right", "alone"], do: ask!(client, "READ #{name}")) == ["0", "0", "1"]
    end
  end

  describe "a server in C" do
    test "shouts back, to each client its own, and a connection that is killed leaves the listener" do
      {program, port} = server!("shout", "c")
      {first, _process, "LOW TIDE"} = served!(program, port, "low tide")
      {second, process, "HIGH TIDE"} = served!(program, port, "high tide")
      kill!(process)
      assert hear!(second) == :closed
      assert ask!(first, "still here") == "STILL HERE"
      assert ask!(connect!(port), "new") == "NEW"
    end
  end

  for {language, name} <- [
        {"lunatic", "chat"},
        {"lunatic", "key_value"},
        {"lunatic", "supervisor_tree"},
        {"c", "shout"}
      ] do
    test "#{name} is told which grant it lacks, and ends" do
      program = start!(deploy!(unquote(language), unquote(name)))
      line!(~r/the function is not granted tcp:listen:127\.0\.0\.1:\*: its deploy's option `net`/)
      assert {%Error{}, []} = ended!(program)
    end
  end
end
