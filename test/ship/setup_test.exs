Code.require_file("built.exs", __DIR__)

defmodule Tidepool.Ship.SetupTest do
  use Tidepool.Case, async: true

  alias Tidepool.Built

  @moduletag :ship

  # A machine that has these programs and no others.
  defp bare!(programs) do
    folder = tmp_folder!()
    for program <- programs, do: File.ln_s!(System.find_executable(program), Path.join(folder, program))
    [{"PATH", folder}, {"HOME", folder}]
  end

  # A stand-in for a program, of a line for the shell.
  defp program!(folder, name, line) do
    path = Path.join(folder, name)
    File.write!(path, "#!#{folder}/bash\n#{line}\n")
    File.chmod!(path, 0o755)
  end

  test "there is nothing to do on a machine that has everything" do
    assert System.cmd(Path.expand("bin/setup"), ["--test"], stderr_to_stdout: true) == {"setup: nothing to do\n", 0}
  end

  test "where nothing can be installed, what is missing is named, and the status is another than 0" do
    env = bare!(~w(bash dirname sed grep id env python3 curl cc))

    setup = fn arguments ->
      System.cmd(System.find_executable("bash"), ["bin/setup" | arguments], env: env, stderr_to_stdout: true)
    end

    assert {output, 1} = setup.(["--guests"])
    for needed <- ["Elixir", "Rust", "Node.js"], do: assert(output =~ needed)
    for present <- ["curl", "C compiler"], do: refute(output =~ present)

    # What compiles guests is asked for by those alone who compile some.
    assert {output, 1} = setup.([])
    for needed <- ["Elixir", "Rust"], do: assert(output =~ needed)
    refute output =~ "Node.js"
  end

  test "what is too old is told with its version and where it was found, beside what is wanted" do
    env = bare!(~w(bash dirname sed grep id env python3 curl cc))
    {"PATH", folder} = List.keyfind(env, "PATH", 0)

    for {program, line} <- [
          {"elixir", "printf 'elixir 1.12.2\\notp 24\\nElixir.crypto\\n'"},
          {"rustc", "echo 'rustc 1.63.0 (built from a source tarball)'"},
          {"cargo", "exit 0"}
        ],
        do: program!(folder, program, line)

    bash = System.find_executable("bash")
    setup = fn -> System.cmd(bash, ["bin/setup"], env: env, stderr_to_stdout: true) end
    assert {output, 1} = setup.()
    assert output =~ ~r/Elixir 1\.\d+ or newer on .* \(found Elixir 1\.12\.2 on OTP 24 at #{folder}\/elixir\)/
    assert output =~ ~r/Rust 1\.\d+ or newer \(found Rust 1\.63\.0 at #{folder}\/rustc\)/

    # One without its VM says nothing of itself.
    program!(folder, "elixir", "exit 1")
    assert {output, 1} = setup.()
    assert output =~ "(found one that does not start at #{folder}/elixir)"
  end

  # A machine of Debian's with neither Rust nor Elixir, whose apt-get installs nothing, and writes down what it is asked to install.
  # `rust` is the version of its own Rust, and `rustup` that of its rustup.
  defp debian!(rust, rustup) do
    env = bare!(~w(bash dirname sed grep env cp python3 curl cc))
    {"PATH", folder} = List.keyfind(env, "PATH", 0)
    program!(folder, "id", "echo 0")
    program!(folder, "apt-get", ~s([[ " $* " != *" install "* ]] || echo "$@" >>#{folder}/installed))
    candidates = ~s|case $2 in *-web) it=1.99.0+dfsg1-2 ;; rustup) it="#{rustup}" ;; *) it="#{rust}" ;; esac|
    program!(folder, "apt-cache", candidates <> ~s|; echo "  Candidate: $it"|)
    {folder, [{"CI", nil} | env]}
  end

  defp read(file), do: if(File.exists?(file), do: File.read!(file), else: "")

  test "where apt has the slower Rust and no other that is new enough, that is said before it is installed" do
    bash = System.find_executable("bash")

    for {rust, told?} <- [{"1.63.0+dfsg1-2", true}, {"1.99.0+dfsg1-2", false}] do
      {folder, env} = debian!(rust, "(none)")
      assert {output, 1} = System.cmd(bash, ["bin/setup"], env: env, stderr_to_stdout: true)
      assert output =~ "installing "
      assert output =~ "rustc-web" == told?
      assert output =~ ~r/twelve minutes with Debian's rustc-web, and five with rustup's .*installing /s == told?
      assert read(Path.join(folder, "installed")) =~ "rustc-web" == told?
    end
  end

  # In a terminal, at which a key is pressed when something is asked: what was said in it.
  defp in_terminal(command, env, key) do
    python = """
    import os, pty, sys
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.argv[2], sys.argv[2:])
    said, asked = b"", False
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:
            break
        if not read:
            break
        said += read
        if b"install that first: " in said and not asked:
            asked = True
            os.write(terminal, sys.argv[1].encode())
    os.waitpid(pid, 0)
    sys.stdout.buffer.write(said)
    """

    arguments = ["-c", python, key, System.find_executable("bash"), command]
    {output, 0} = System.cmd(System.find_executable("python3"), arguments, env: env)
    String.replace(output, "\r\n", "\n")
  end

  test "at a terminal, where apt has the slower Rust alone, nothing is installed before somebody has said that it is to be" do
    {folder, env} = debian!("1.63.0+dfsg1-2", "(none)")
    installed = Path.join(folder, "installed")

    for command <- ["bin/start", "bin/setup"] do
      refute in_terminal(command, env, "\x03") =~ "installing "
      assert read(installed) == ""
      assert in_terminal(command, env, "\n") =~ "installing "
      assert read(installed) =~ " rustc-web cargo-web"
      File.rm!(installed)
    end

    # With CI set nobody is there.
    refute in_terminal("bin/setup", [{"CI", "true"} | List.keydelete(env, "CI", 0)], "\n") =~ "Ctrl-C"
    assert read(installed) =~ " rustc-web"
  end

  test "where apt has rustup, the faster Rust is taken by that" do
    {folder, env} = debian!("1.63.0+dfsg1-2", "1.27.1-4")
    bash = System.find_executable("bash")
    setup = fn -> System.cmd(bash, ["bin/setup"], env: env, stderr_to_stdout: true) end

    # What apt-get brings: programs of rustup, which are none before a Rust is fetched.
    later = Path.join(folder, "later")
    File.mkdir!(later)
    fetched = ~s([[ -e #{folder}/fetched ]] || exit 1)

    for {name, lines} <- [
          {"rustup", ~s(echo "$@" >>#{folder}/asked; [[ $* != *"install stable"* ]] || echo >#{folder}/fetched)},
          {"rustc", fetched <> "; echo rustc 1.99.0"},
          {"cargo", fetched}
        ] do
      File.write!(Path.join(later, name), "#!#{folder}/bash\n#{lines}\n")
      File.chmod!(Path.join(later, name), 0o755)
    end

    installs = ~s([[ " $* " != *" install "* ]] || { echo "$@" >>#{folder}/installed; cp #{later}/* #{folder}; })
    program!(folder, "apt-get", installs)
    assert {output, 1} = setup.()
    assert read(Path.join(folder, "installed")) =~ " rustup"
    refute read(Path.join(folder, "installed")) =~ ~r/rustc|cargo/

    assert read(Path.join(folder, "asked")) ==
             "--quiet toolchain install stable --profile minimal\n--quiet default stable\n"

    # Elixir is all that lacks then.
    assert [_before, lacks] = String.split(output, "install what is still missing")
    assert lacks =~ "Elixir"
    refute lacks =~ "Rust"
  end

  test "on the smallest Debian, which may have curl alone, certificates are installed by which cargo knows where crates are" do
    [root, machine] = for program <- ~w(ops/root ops/machine), do: Path.expand(program, __DIR__)
    env = [{"MACHINE_ROOT", root |> Built.run!(["bookworm"]) |> String.trim()}]
    # Nothing is to be fetched.
    script = "mkdir /tmp/it && ln -s /bin/false /tmp/it/apt-get; PATH=/tmp/it:$PATH /mnt/bin/setup 2>&1 || true"
    assert Built.run!(machine, [File.cwd!(), script], env: env) =~ ~r/^setup: installing .*\bca-certificates\b/m
  end
end
