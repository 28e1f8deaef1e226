defmodule Tidepool.ExtismBesideTest do
  # Not async: what answers an import is registered for the whole node.
  #
  # Plug-ins answer here as they do in Extism's own runtime, the crate `extism`: outputs, texts of errors, variables, configuration,
  # and what the host answers.
  use Tidepool.Case

  alias Tidepool.{Error, Host, Instance}

  # It is minutes until the crate is built.
  @moduletag skip: System.get_env("TIDEPOOL_LONG", "") == ""

  @configurations 6
  # Of each.
  @calls 100
  @tide {"extism", "extism:host/user", "tide"}
  @start_ms 120_000

  setup_all do
    folder = System.get_env("CARGO_TARGET_DIR", "target") |> Path.expand("native") |> Path.join("peers")
    how = ["build", "--quiet", "--release", "--locked", "--target-dir", folder]
    {_text, 0} = System.cmd("cargo", how, cd: "bench/components/extism", stderr_to_stdout: true)
    Host.register(@tide, &tide/1)
    on_exit(fn -> Host.unregister(@tide) end)
    {:ok, program: Path.join(folder, "release/extism_calls")}
  end

  for {language, guest, exports} <- [
        {"rust", "vowels", ~w(count_vowels echo fails tide_at fetches)},
        {"assemblyscript", "plugin", ~w(count_vowels echo fails tide_at)},
        {"go", "plugin", ~w(count_vowels echo fails tide_at)}
      ] do
    @tag language: language, guest: guest, exports: exports
    test "generated calls of a plug-in in #{language} are answered alike", %{program: program} = context do
      theirs = peer!(program, guest_path(context.language, context.guest))
      :rand.seed(:exsss, {9, 9, 9})

      for configuration <- 1..@configurations do
        config = if configuration == 1, do: %{}, else: config()
        name = deploy!(context.language, context.guest, config: config)

        Enum.reduce(1..@calls, begun(theirs, name, config), fn number, instance ->
          export = Enum.random(context.exports)
          input = input(export)
          expected = call(theirs, export, input)
          answer = Instance.call(instance, export, input)
          assert {config, number, export, input, told(answer)} == {config, number, export, input, expected}
          # A trap is an instance's end here, and is none there: what it kept goes.
          trapped? = match?({:error, %Error{reason: {:trap, _kind}}}, answer)
          if trapped? or :rand.uniform(20) == 1, do: begun(theirs, name, config), else: instance
        end)
      end
    end
  end

  defp tide(%{payload: "dry" <> _rest = harbour}), do: {:error, "the gauge of #{harbour} is dry"}
  defp tide(%{payload: harbour}), do: {:ok, "#{harbour} has #{byte_size(harbour)} bytes"}

  defp told({:ok, output}), do: {:ok, output}
  defp told({:error, %Error{message: message}}), do: {:error, message}

  # Both sides with this configuration, and without variables.
  defp begun(theirs, name, config) do
    true = Port.command(theirs, ["n" | for({key, value} <- config, do: [0, key, 0, value])])
    {:ok, instance} = Instance.start(name)
    on_exit(fn -> Process.exit(instance, :kill) end)
    instance
  end

  defp config do
    case :rand.uniform(3) do
      1 -> %{"other" => "x"}
      2 -> %{"vowels" => text(:rand.uniform(9))}
      3 -> %{"vowels" => Enum.random(["", "ø", "o=ø", "aeiou\n", "🌊a"]), "vowel" => "y"}
    end
  end

  defp input("tide_at"), do: Enum.random(["", "dry ", ""]) <> text(:rand.uniform(40) - 1)
  defp input("fetches"), do: Enum.random(["http", "https"]) <> "://#{word()}.example:8#{:rand.uniform(9)}/#{word()}"

  defp input("echo"), do: :rand.bytes(Enum.random([0, 1, 7, 8, 9, 100, 4_095, 4_096, 65_535, 65_537, 300_001]))
  defp input("count_vowels"), do: if(:rand.uniform(6) == 1, do: :rand.bytes(:rand.uniform(20)), else: input("fails"))
  # What is no UTF-8 stands in an error's text here, with a sign in its place, where that runtime has none of it.
  defp input("fails"), do: text(Enum.random([0, 1, 2, 15, 100, 700]))

  defp text(length), do: for(_letter <- 1..length//1, into: "", do: <<letter(:rand.uniform(6))::utf8>>)

  defp letter(1), do: Enum.random([0xE4, 0xF8, 0xDF, 0x20AC, 0x1F30A, 0x10FFFF, 0xD7FF, 0xFEFF])
  defp letter(2), do: Enum.random(~c"\t\n\"\\{}% ")
  defp letter(_other), do: Enum.random(?a..?z)

  defp word, do: for(_letter <- 1..:rand.uniform(8), into: "", do: <<Enum.random(?a..?z)>>)

  # It ends with its input, which ends with the test.
  defp peer!(program, plugin), do: Port.open({:spawn_executable, program}, [:binary, packet: 4, args: [plugin]])

  defp call(theirs, export, input) do
    true = Port.command(theirs, ["c", export, 0, input])

    receive do
      {^theirs, {:data, "o" <> output}} -> {:ok, output}
      {^theirs, {:data, "e" <> text}} -> {:error, text}
    after
      @start_ms -> flunk("the runtime of Extism does not answer")
    end
  end
end
