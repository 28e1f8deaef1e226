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

  test "where apt has the slower Rust and no other that is new enough, that is said before it is installed" do
    env = bare!(~w(bash dirname sed grep env python3 curl cc))
    {"PATH", folder} = List.keyfind(env, "PATH", 0)
    program!(folder, "id", "echo 0")
    program!(folder, "apt-get", "exit 1")
    bash = System.find_executable("bash")

    for {rust, told?} <- [{"1.63.0+dfsg1-2", true}, {"1.99.0+dfsg1-2", false}] do
      policy = ~s|case $2 in *-web) echo "  Candidate: 1.99.0+dfsg1-2" ;; *) echo "  Candidate: #{rust}" ;; esac|
      program!(folder, "apt-cache", policy)
      assert {output, 1} = System.cmd(bash, ["bin/setup"], env: env, stderr_to_stdout: true)
      assert output =~ "installing "
      assert output =~ "rustc-web" == told?
      assert output =~ "five with rustup's Rust" == told?
    end
  end

  test "on the smallest Debian, which may have curl alone, certificates are installed by which cargo knows where crates are" do
    [root, machine] = for program <- ~w(ops/root ops/machine), do: Path.expand(program, __DIR__)
    env = [{"MACHINE_ROOT", root |> Built.run!(["bookworm"]) |> String.trim()}]
    # Nothing is to be fetched.
    script = "mkdir /tmp/it && ln -s /bin/false /tmp/it/apt-get; PATH=/tmp/it:$PATH /mnt/bin/setup 2>&1 || true"
    assert Built.run!(machine, [File.cwd!(), script], env: env) =~ ~r/^setup: installing .*\bca-certificates\b/m
  end
end
