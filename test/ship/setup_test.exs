defmodule Tidepool.Ship.SetupTest do
  use Tidepool.Case, async: true

  @moduletag :ship

  # A machine that has these programs and no others.
  defp bare!(programs) do
    folder = tmp_folder!()
    for program <- programs, do: File.ln_s!(System.find_executable(program), Path.join(folder, program))
    [{"PATH", folder}, {"HOME", folder}]
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
end
