defmodule Tidepool.ReplayTaskTest do
  # `mix tidepool.replay`, as a shell runs it: on a runtime that has nothing but the files.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Error, Recording}

  @hello "guests/build/rust/hello_world.wasm"

  # A folder with a recording of each of these calls, called after their operations.
  defp recorded!(calls, guest \\ "hello_world") do
    name = deploy!("rust", guest, record: :all)
    folder = tmp_folder!()

    for {operation, payload} <- calls do
      _outcome = Tidepool.call(name, operation, payload)
      write_last!(name, Path.join(folder, operation <> ".tiderec"))
    end

    folder
  end

  # The newest recording of a function, as a file.
  defp write_last!(name, file) do
    {:ok, [%{id: id} | _older]} = Recording.list(name)
    {:ok, recording} = Recording.fetch(id)
    File.write!(file, recording)
    file
  end

  defp trial(arguments) do
    System.cmd("mix", ["tidepool.replay" | arguments], env: [{"MIX_ENV", "test"}], stderr_to_stdout: true)
  end

  test "a call that comes to the same is told with status 0, and with what its host was asked" do
    file = Path.join(recorded!([{"host", "host/nobody/asks\nx"}]), "host.tiderec")
    assert {text, 0} = trial([file, "--wasm", @hello, "--log"])
    assert [head, "  replayed: guest_error: " <> _text | log] = String.split(text, "\n", trim: true)
    assert head == file <> ": same"
    assert List.last(log) =~ "host/nobody/asks"
  end

  test "of a folder each recording is told, and one that comes to something else makes the status 3" do
    folder = recorded!([{"echo", ""}, {"hello", "Ada"}])
    assert {text, 3} = trial([folder, "--against", "guests/build/go/hello.wasm", "--json"])
    reports = for line <- String.split(text, "\n", trim: true), do: elem(Tidepool.Native.json_decode(line), 1)
    assert ["failed", "same"] == for(report <- reports, do: report["verdict"])
    assert ["echo.tiderec", "hello.tiderec"] == for(report <- reports, do: Path.basename(report["file"]))
  end

  test "what guests print comes before what is said of them, each time" do
    folder = recorded!([{"index", "3"}], "faulty")
    for copy <- 1..5, do: File.cp!(Path.join(folder, "index.tiderec"), Path.join(folder, "#{copy}.tiderec"))
    assert {text, 0} = trial([folder, "--wasm", "guests/build/rust/faulty.wasm"])

    lines =
      for line <- String.split(text, "\n"),
          which = Enum.find(["panicked at '", ".tiderec: same"], &String.contains?(line, &1)),
          do: which

    assert Enum.frequencies(lines) == %{"panicked at '" => 6, ".tiderec: same" => 6}
    # The VM writes to standard output later than it says, when it is busy.
    ahead = Enum.scan(lines, 0, fn line, ahead -> if line == ".tiderec: same", do: ahead - 1, else: ahead + 1 end)
    assert Enum.min(ahead) == 0
  end

  test "of what a replayed guest prints a terminal obeys nothing: whose it is only its recording says" do
    # It writes to the clipboard of whoever looks, begins a line of its own, and turns what follows around.
    file = Path.join(recorded!([{"log", "a\e]52;c;Zm9v\a\rb\u202E"}]), "log.tiderec")
    assert {text, 0} = trial([file, "--wasm", @hello])
    assert text =~ ~S(a\u{1b}]52;c;Zm9v\u{7}\rb\u{202e})
    refute text =~ ~r/[\e\a\r\x{202E}]/u
  end

  # `traced`, which loops for ever where it trapped.
  defp endless do
    [before, rest] = :binary.split(guest("rust", "traced"), <<0x2D, 0, 0, 0x41, 0xD5, 0, 0x73>>, [:global])
    before <> <<0x1A, 0x03, 0x40, 0x0C, 0, 0x0B, 0>> <> rest
  end

  # The functions that a process is in.
  defp functions(pid) do
    {:current_stacktrace, frames} = Process.info(pid, :current_stacktrace)
    for {module, function, arity, _place} <- frames, do: {module, function, arity}
  end

  # Of its ten minutes none is needed; to start a VM twice may take one on a busy machine.
  @tag timeout: 600_000
  test "a call that looped until it was cut comes to where that was, with the lines of the source, and ends" do
    folder = tmp_folder!()
    module = Path.join(folder, "endless.wasm")
    File.write!(module, endless())
    name = deploy_bytes!(endless(), record: :failures, limits: [time: 600_000, cpu_time: 200])
    assert {:error, %Error{reason: {:limit, :cpu_time}}} = Tidepool.call(name, "trap", "xyz")
    spent = write_last!(name, Path.join(folder, "spent.tiderec"))

    # Its caller is killed while it computes: nothing but its end says that it would never end.
    name = deploy_bytes!(endless(), record: :failures, limits: [time: 600_000, cpu_time: 600_000])
    caller = begin(fn -> Tidepool.call(name, "trap", "xyz") end)
    eventually(fn -> {Tidepool.Execution, :next_slice, 1} in functions(caller) end)
    kill(caller)
    eventually(fn -> match?({:ok, [_one]}, Recording.list(name)) end)
    killed = write_last!(name, Path.join(folder, "killed.tiderec"))

    for {file, reason} <- [{spent, "limit: "}, {killed, "internal: .*the call was aborted"}] do
      {took_us, {text, 0}} = :timer.tc(fn -> trial([file, "--wasm", module]) end)
      assert took_us < 240_000_000, text
      place = ~S"\n +in traced::inner at \S*traced\.rs:3[34] \(offset \d+\)\n +in traced::outer at \S*traced\.rs:25 .*"

      assert text =~
               Regex.compile!(
                 "\\A#{file}: cut\n  recorded: #{reason}.*#{place}  replayed: timeout: .*#{place}  cut in call 1, after ",
                 "s"
               ),
             text
    end
  end

  test "a file that is no recording, or of another module, makes the status 1, and what makes no sense 2" do
    folder = recorded!([{"hello", "Ada"}])
    file = Path.join(folder, "hello.tiderec")
    assert {text, 1} = trial([file, "--wasm", "guests/build/zig/hello_world.wasm"])
    assert text =~ "it is of a module with the SHA-256"
    assert {text, 1} = trial([@hello, "--wasm", @hello])
    assert text =~ "can't be replayed"
    assert {text, 2} = trial([file])
    assert text =~ "--wasm FILE"
  end

  @years 10 * 365 * 24 * 3_600

  # What begins a command where there is no network, not even to itself. Where nobody may make such a place, that is said.
  defp without_network do
    makes? = fn [program | arguments] ->
      match?({_, 0}, System.cmd(program, arguments ++ ["true"], stderr_to_stdout: true))
    end

    case Enum.find([["unshare", "--net"], ["unshare", "--map-root-user", "--net"]], makes?) do
      nil ->
        IO.puts(
          :stderr,
          "NOT TESTED: that replays ask no network. This machine makes no network namespaces: unshare --net fails."
        )

        ["env"]

      words ->
        words
    end
  end

  test "a call that asked clock, random bytes and host comes to the same ten years later, where there is no network" do
    Tidepool.Host.register({"fickle", "test", "weigh"}, fn _call -> {:ok, "#{:rand.uniform(1_000_000)}"} end)
    file = Path.join(recorded!([{"mix", ""}], "fickle"), "mix.tiderec")
    clock = Tidepool.FalseClock.new!() |> Tidepool.FalseClock.set(@years)
    # Files are as old as they are: mix would compile what it takes to be changed.
    false_clock = [
      {"NO_FAKE_STAT", "1"}
      | Enum.map(Tidepool.FalseClock.environment(clock), fn {name, value} -> {"#{name}", "#{value}"} end)
    ]

    [program | arguments] = without_network()

    script =
      ~S(date +%Y; cut -d: -f1 -s /proc/net/dev | tr -d ' \n'; echo; exec mix tidepool.replay "$1" --wasm "$2" --log 2> "$3")

    said = Path.join(tmp_folder!(), "stderr")
    arguments = arguments ++ ["sh", "-c", script, "sh", file, "guests/build/rust/fickle.wasm", said]
    {text, status} = System.cmd(program, arguments, env: [{"MIX_ENV", "test"} | false_clock])

    assert {[year, devices, head | log], 0} = {String.split(text, "\n", trim: true), status},
           File.read!(said)

    assert String.to_integer(year) >= Date.utc_today().year + 9
    # Where there is a network there is a device for it.
    assert devices == "lo" or program == "env"
    assert head == file <> ": same"
    for asked <- ["clock", "random bytes", "fickle/test/weigh"], do: assert(Enum.any?(log, &(&1 =~ asked)), asked)
  end

  # What each of these commands says, typed one after the other; the status.
  defp debugged(commands, file, module) do
    script = Path.join(tmp_folder!(), "commands")
    File.write!(script, Enum.map(commands, &[&1, ?\n]))
    shell = ~s(exec mix tidepool.replay "$1" --wasm "$2" --debug < "$3")
    arguments = ["-c", shell, "sh", file, module, script]
    {text, status} = System.cmd("sh", arguments, env: [{"MIX_ENV", "test"}], stderr_to_stdout: true)
    ["" | said] = String.split(text, "(tidepool) ")
    {Enum.map(said, &String.split(&1, "\n", trim: true)), status}
  end

  defp trapped! do
    name = deploy!("rust", "traced", record: :failures)
    {:error, _trap} = Tidepool.call(name, "trap", "xyz")
    write_last!(name, Path.join(tmp_folder!(), "traced.tiderec"))
  end

  # A session in the documentation: its commands, and what it shows of each.
  defp documented do
    [session] = Regex.run(~r/```text\n\(tidepool\) (.*?)```/s, File.read!("docs/replay.md"), capture: :all_but_first)

    for part <- String.split(session, "(tidepool) "), [command | shown] = String.split(part, "\n", trim: true) do
      {command, shown}
    end
  end

  test "a session of the debugger shows what the documentation says, and comes to what was recorded, with status 0" do
    session = documented()
    commands = for {command, _shown} <- session, do: command
    assert {said, 0} = debugged(commands, trapped!(), "guests/build/rust/traced.wasm")
    # What differs from machine to machine is left out there.
    like = fn shown -> shown |> Regex.escape() |> String.replace("…", ".*") end

    for {{command, shown}, said} <- Enum.zip(session, said) do
      assert Enum.join(said, "\n") =~ Regex.compile!("\\A" <> like.(Enum.join(shown, "\n")) <> "\\z", "s"),
             "#{command}: #{inspect(said)}"
    end

    assert Enum.any?(commands, &(&1 == "back"))
    assert List.last(commands) == "quit"
  end

  test "a debugger that is told nonsense goes on, one that never comes to the end has the status 0, and what it can't do is told" do
    file = trapped!()
    wasm = "guests/build/rust/traced.wasm"

    assert {[["error: there is no command" <> _text], ["error: the guest does not run" <> _], ["in " <> _], _end], 0} =
             debugged(["brake", "locals", "step"], file, wasm)

    assert {text, 2} = trial([file, "--against", wasm, "--debug"])
    assert text =~ "--debug takes one recording"
    assert {text, 1} = trial([file, "--wasm", @hello, "--debug"])
    assert text =~ "it is of a module with the SHA-256"
  end
end
