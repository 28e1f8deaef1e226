defmodule Tidepool.CommandTest do
  # Components that are programs: WASI 0.2's `wasi:cli/run`. One call is one run, and a process may run one.
  use Tidepool.Case, async: true

  import Tidepool.ProgramClient

  alias Tidepool.{Error, Function, LogWatch}

  for {language, module} <- [{"rust", "upper_command"}, {"c", "upper_command"}] do
    test "the payload of a command in #{language} is its stdin, and its stdout the reply" do
      name = unique_name("command")
      assert {:ok, %Function{abi: :command}} = Tidepool.deploy(guest(unquote(language), unquote(module)), name: name)
      on_exit(fn -> Tidepool.remove(name) end)

      for payload <- ["", "Shout", "two\nlines\n", <<0, 255, ?a>>, String.duplicate("abc", 300_000)] do
        assert Tidepool.call(name, "run", payload) == {:ok, String.upcase(payload, :ascii)}
      end

      assert {200, _headers, "SHOUT"} = curl("/call/#{name}", ["--data-binary", "Shout"])
    end

    test "a command in #{language} that fails is its caller's error, with the last lines of stderr" do
      name = deploy!(unquote(language), unquote(module))

      # What compilers use of WASI 0.2 has failure alone, and no number.
      assert {:error, %Error{reason: :guest_error, message: message, details: %{exit_code: 1}}} =
               Tidepool.call(name, "run", "fail")

      assert message == "upper: asked to fail\nupper: giving up"
      assert {422, _headers, %{"error" => error}} = curl("/call/#{name}", ["--data-binary", "fail"])
      assert %{"reason" => "guest_error", "message" => ^message, "exit_code" => 1, "function" => ^name} = error
    end
  end

  # What is of some MiB is built, and compiled, in long runs alone.
  for module <- ["python_upper", "js_upper"] do
    @tag skip: System.get_env("TIDEPOOL_LONG", "") == ""
    test "#{module} is such a command, fails so, and is run by a process" do
      limits = %{memory: 67_108_864, cpu_time: 20_000, time: 60_000}
      name = deploy!("component", unquote(module), limits: limits)
      assert {:ok, %Function{abi: :command}} = Tidepool.fetch(name)

      for payload <- ["", "Shout", "two\nlines\n", <<0, 255, ?a>>, String.duplicate("abc", 50_000)],
          do: assert(Tidepool.call(name, "run", payload) == {:ok, String.upcase(payload, :ascii)})

      assert {:error, %Error{reason: :guest_error, message: message, details: %{exit_code: 1}}} =
               Tidepool.call(name, "run", "fail")

      assert message == "upper: asked to fail\nupper: giving up"
      assert ended!(start!(name, args: [name])) == :normal
    end
  end

  test "a command that is called sees its operation as its name, and no folder and no environment" do
    name = deploy!("rust", "surroundings_command")

    assert Tidepool.call(name, "look") ==
             {:ok, "arguments: look\nenvironment: \nfiles: none\nclock: real\n"}
  end

  test "what a command traps with, loops for or writes too much of is its caller's error alone" do
    name =
      deploy!("rust", "files_command", limits: [time: 2_000, cpu_time: 60_000, reply: 100_000], files: ["/data=memory"])

    other = deploy!("rust", "upper_command")
    LogWatch.watch(name)

    assert {:error, %Error{reason: {:trap, :unreachable}} = trap} = called(name, ["panic"])
    assert Enum.any?(trap.details.console, &(&1 =~ "asked to"))
    assert {:error, %Error{reason: :timeout}} = called(name, ["loop"])
    assert {:error, %Error{reason: {:limit, :reply}}} = Tidepool.call(name, "cat", String.duplicate("x", 200_000))
    assert {:ok, "X"} = Tidepool.call(other, "run", "x")
  end

  defp called(name, args), do: Tidepool.call(name, Enum.join(args, " "))

  test "a command that exits with a code by exit-with-code has that for its status, called or run by a process" do
    name = deploy!("component", "exit_command")

    assert {:error, %Error{reason: :guest_error, message: message, details: %{exit_code: 7}}} = called(name, [])
    assert message =~ "exited with code 7"
    assert {422, _headers, %{"error" => %{"exit_code" => 7}}} = curl("/call/#{name}")
    assert {%Error{reason: :guest_error, details: %{exit_code: 7}}, []} = ended!(start!(name))
  end

  test "a process runs a command with its arguments, its environment and its folders" do
    name = deploy!("rust", "surroundings_command", files: ["/=memory"])
    program = start!(name, args: ["look", "around"], env: %{"TIDE" => "low"}, files: %{"/a" => "", "/b" => ""})

    for line <- ["arguments: look around", "environment: TIDE", "files: 2", "clock: real"],
        do: assert([^line] = line!(~r/^#{line}$/))

    assert ended!(program) == :normal
  end

  test "a process of a command ends as the command does, and has no other entry" do
    name = deploy!("rust", "files_command")

    assert {%Error{reason: :guest_error, details: %{exit_code: 1}}, []} =
             ended!(start!(name, args: ["files", "exit", "7"]))

    assert ended!(start!(name, args: ["files", "exit", "0"])) == :normal
    assert {:ok, _printed} = called(name, ["exit", "0"])
    assert {:error, %Error{reason: :guest_error, details: %{exit_code: 1}}} = called(name, ["exit", "7"])
    assert {%Error{reason: {:trap, :unreachable}}, _console} = ended!(start!(name, args: ["files", "panic"]))

    assert {:error, %Error{reason: :invalid_option, message: message}} =
             Tidepool.Process.start(name, [], entry: "other")

    assert message =~ "no entry `other`"

    looping = start!(name, args: ["files", "loop"])
    Process.exit(looping, :kill)
    assert ended!(looping) == :killed
  end
end
