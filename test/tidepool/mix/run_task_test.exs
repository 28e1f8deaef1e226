defmodule Tidepool.RunTaskTest do
  # `mix tidepool.run`, as a shell runs it.
  use Tidepool.Case, async: true

  @moduletag :slow

  @moduletag :lunatic
  @echo "guests/build/lunatic/terminal.wasm"

  # What it writes to standard output and to standard error, and its exit status.
  defp run(arguments, stdin \\ "") do
    folder = tmp_folder!()
    File.write!(Path.join(folder, "in"), stdin)
    script = ~s(exec "$@" <"$FOLDER/in" 2>"$FOLDER/err")
    command = ["-c", script, "bash", "mix", "tidepool.run" | arguments]
    {output, status} = System.cmd("bash", command, env: [{"MIX_ENV", "test"}, {"FOLDER", folder}])
    {output, File.read!(Path.join(folder, "err")), status}
  end

  test "a program has arguments and environment, and its exit status is the command's" do
    assert {"terminal.wasm --verbose a b\n", "", 0} = run([@echo, "--", "--verbose", "a b"])
    assert {"terminal.wasm env KEY\na=b\n", "", 0} = run(["--env", "KEY=a=b", @echo, "--", "env", "KEY"])
    assert {"terminal.wasm exit 3\n", "", 3} = run([@echo, "--", "exit", "3"])
    assert {"terminal.wasm exit 125\n", "", 125} = run([@echo, "--", "exit", "125"])
  end

  test "standard input and output are bytes, however many, and in step with whoever is at the other end" do
    bytes = for byte <- 0..255, into: "", do: <<byte>>
    long = String.duplicate(bytes, 20_000)
    all = "terminal.wasm cat\n" <> long
    assert {^all, "", 0} = run([@echo, "--", "cat"], long)
    # Ends of lines of other systems, one of them where what is read at once ends.
    lines = String.duplicate("ab\r\n", 100_000) <> "\r"
    all = "terminal.wasm cat\n" <> lines
    assert {^all, "", 0} = run([@echo, "--", "cat"], lines)
    assert {"terminal.wasm cat\n", "", 0} = run([@echo, "--", "cat"], "")
    # A question is there before its answer is read.
    port =
      Port.open({:spawn_executable, System.find_executable("mix")}, [
        :binary,
        :exit_status,
        env: [{~c"MIX_ENV", ~c"test"}],
        args: ["tidepool.run", @echo, "--", "ask"]
      ])

    said!(port, "terminal.wasm ask\nname? ")
    Port.command(port, "Ada\n")
    said!(port, "hello Ada\n")
    assert_receive {^port, {:exit_status, 0}}
  end

  test "a program that writes for ever waits for its reader, and ends with it" do
    script = ~s(mix tidepool.run #{@echo} -- forever | head -c 3000000 | wc -c; echo ${PIPESTATUS[0]})
    {output, 0} = System.cmd("bash", ["-c", script], env: [{"MIX_ENV", "test"}], stderr_to_stdout: true)
    assert output == "3000000\n141\n"
  end

  test "output that can't be written is said, and who is asked to end has the status for that" do
    script = "mix tidepool.run #{@echo} -- forever >/dev/full"
    {error, 1} = System.cmd("bash", ["-c", script], env: [{"MIX_ENV", "test"}], stderr_to_stdout: true)
    assert error == "output can't be written: no space left on device\n"

    # It has said something: the program runs.
    script = ~s(coproc mix tidepool.run #{@echo} -- ask; read -u ${COPROC[0]} said; kill $COPROC_PID; wait $COPROC_PID)
    assert {"", 143} = System.cmd("bash", ["-c", script], env: [{"MIX_ENV", "test"}], stderr_to_stdout: true)
  end

  test "a trap is status 134 with its backtrace on standard error, and what it printed before it" do
    assert {"terminal.wasm panic\n", error, 134} = run([@echo, "--", "panic"])
    assert error =~ "panicked at 'as told'"
    assert error =~ ~r/trap unreachable: .*\n    rust_panic/
  end

  test "a limit of CPU time is that of its processes, each or together" do
    for limit <- ["cpu_time", "total_cpu_time"] do
      assert {_output, error, 134} = run(["--limit", "#{limit}=50", "guests/build/wat/wasi_loop.wasm"])
      assert error =~ "limit #{limit}: the #{limit} limit of 50 ms was exceeded"
    end
  end

  test "processes of the program share its output, and end with it" do
    assert {"terminal.wasm family\nchild\n", "", 0} = run([@echo, "--", "family"])
  end

  test "a program of WASI alone is one, too" do
    assert {"LOW\nTIDE", "", 0} = run(["guests/build/c/upper.wasm"], "low\ntide")
  end

  test "a folder of this machine is the program's by the name that it is given, and no other is" do
    folder = tmp_folder!()
    File.write!(Path.join(folder, "note"), "low ")
    files = "guests/build/lunatic/files.wasm"
    assert {"ok 8\n", "", 0} = run(["--dir", "#{folder}::/data", files, "--", "append", "/data/note", "tide"])
    assert File.read!(Path.join(folder, "note")) == "low tide"
    assert {"ok low tide\n", "", 0} = run(["--dir", folder, files, "--", "read", Path.join(folder, "note")])
    assert {"ok Code.require_file" <> _more, "", 0} = run(["--dir", ".", files, "--", "read", "mix.exs"])
    assert {"failed " <> _errno, "", 0} = run(["--dir", "#{folder}::/data", files, "--", "read", "/data/../etc/passwd"])
    assert {"failed " <> _errno, "", 0} = run([files, "--", "read", Path.join(folder, "note")])
    assert {"", "--dir /nowhere::/a: there is no folder" <> _more, 2} = run(["--dir", "/nowhere::/a", files])
  end

  test "what is no program, and a command line that makes no sense, says so" do
    assert {"", "this is a module of functions" <> _more, 1} = run(["guests/build/rust/hello_world.wasm"])
    assert {"", "name a file" <> _more, 2} = run([])
    assert {"", "what is the program's comes after --" <> _more, 2} = run([@echo, "cat"])
    assert {"", "the option --colour is unknown" <> _more, 2} = run(["--colour", "blue", @echo])
    assert {"", "--env is NAME=VALUE" <> _more, 2} = run(["--env", "KEY", @echo])
    assert {"", "nowhere.wasm: no such file" <> _more, 2} = run(["nowhere.wasm"])
    assert {"", "refused at the step options" <> _more, 1} = run(["--net", "tcp", @echo])
  end

  defp said!(port, text, said \\ "")
  defp said!(_port, text, text), do: :ok

  defp said!(port, text, said) do
    assert_receive {^port, {:data, more}}
    assert String.starts_with?(text, said <> more)
    said!(port, text, said <> more)
  end
end
