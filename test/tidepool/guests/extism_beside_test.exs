defmodule Tidepool.ExtismBesideTest do
  # Not async: what answers an import is registered for the whole node.
  #
  # Plug-ins answer here as they do in Extism's own runtime, the crate `extism`: outputs, texts of errors, variables, configuration,
  # lines, responses of servers, and what the host answers.
  use Tidepool.Case

  alias Tidepool.{Error, Host, Instance, LogWatch, Plugins}

  # It is minutes until the crate is built.
  @moduletag skip: System.get_env("TIDEPOOL_LONG", "") == ""

  @configurations 6
  # Of each.
  @calls 100
  @start_ms 120_000
  # Of the tests of the crate `extism-pdk`, as they lie in its package, with an export and inputs.
  @packaged [
    {"count_vowels.wasm", "count_vowels", ["", "low tide", "Ärmelkanal"]},
    {"test/code.wasm", "count_vowels", ["", "low tide", <<255>>]},
    {"test/host_function.wasm", "count_vowels", ["", "low tide"]},
    {"test/http.wasm", "http_get",
     [~s({"url":"ORIGIN/pier","headers":{}}), ~s({"url":"http://elsewhere.example"}), "{"]},
    {"test/http_headers.wasm", "http_get", [~s({"url":"ORIGIN/gone","headers":{"x-tide":"low"}})]}
  ]

  setup_all do
    folder = System.get_env("CARGO_TARGET_DIR", "target") |> Path.expand("native") |> Path.join("peers")
    how = ["build", "--quiet", "--release", "--locked", "--target-dir", folder]
    {_text, 0} = System.cmd("cargo", how, cd: "bench/components/extism", stderr_to_stdout: true)
    for {target, handler} <- Plugins.handlers(), do: Host.register(target, handler)
    on_exit(fn -> for {target, _handler} <- Plugins.handlers(), do: Host.unregister(target) end)
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
          {kept, _answer} = alike(theirs, instance, {config, number, export, input(export)})
          if kept == :ended or :rand.uniform(20) == 1, do: begun(theirs, name, config), else: instance
        end)
      end
    end
  end

  for {language, name} = plugin <- Plugins.all() do
    @tag plugin: plugin
    test "#{name} in #{language} answers alike, what is told of it and what is generated", context do
      %{program: program, plugin: {language, name} = plugin} = context
      theirs = peer!(program, guest_path(language, name))
      port = Plugins.origin!()
      config = Plugins.config()
      deployed = deploy!(language, name, config: config, net: ["tcp:connect:127.0.0.1:#{port}"])
      rows = Plugins.rows(plugin, "http://127.0.0.1:#{port}")

      Enum.reduce(rows, begun(theirs, deployed, config), fn {export, input, expected}, instance ->
        {kept, answer} = alike(theirs, instance, {config, 0, export, input})
        assert {export, answer} == {export, expected}
        if kept == :ended, do: begun(theirs, deployed, config), else: instance
      end)

      :rand.seed(:exsss, {9, 9, 9})
      exports = rows |> Enum.map(&elem(&1, 0)) |> Enum.uniq()

      Enum.reduce(1..@calls, begun(theirs, deployed, config), fn number, instance ->
        export = Enum.random(exports)
        {kept, _answer} = alike(theirs, instance, {config, number, export, Plugins.input(plugin, export)})
        if kept == :ended or :rand.uniform(20) == 1, do: begun(theirs, deployed, config), else: instance
      end)
    end
  end

  test "lines of each level are printed alike", %{program: program} do
    for {{language, name}, export} <- [{{"rust", "kit_log"}, "each"}, {{"assemblyscript", "kit_vars"}, "each"}] do
      theirs = peer!(program, guest_path(language, name))
      deployed = deploy!(language, name)
      LogWatch.watch(deployed)
      alike(theirs, begun(theirs, deployed, %{}), {%{}, 1, export, "ebb"})
      printed = theirs |> lines() |> String.split("\n", trim: true)
      assert [_info, _warn, _error] = printed

      for line <- printed do
        assert_receive {:logged, ^deployed, :info, text, _metadata}
        assert text =~ line
      end
    end
  end

  for {file, export, inputs} <- @packaged do
    @tag packaged: file, export: export, inputs: inputs
    test "#{file} of the package extism-pdk answers alike", %{program: program, export: export} = context do
      path = Path.join(package!("extism-pdk"), context.packaged)
      theirs = peer!(program, path)
      port = Plugins.origin!()
      deployed = deploy_bytes!(File.read!(path), net: ["tcp:connect:127.0.0.1:#{port}"])

      for {input, number} <- Enum.with_index(context.inputs) do
        input = String.replace(input, "ORIGIN", "http://127.0.0.1:#{port}")
        alike(theirs, begun(theirs, deployed, %{}), {%{}, number, export, input})
      end
    end
  end

  # Where cargo has the sources of a package: it compiles none of this one.
  defp package!(name) do
    how = ["metadata", "--locked", "--format-version", "1"]
    {text, 0} = System.cmd("cargo", how, cd: "bench/components/extism")
    [_all, path] = Regex.run(~r{"manifest_path":"([^"]+/#{name}-[\d.]+)/Cargo.toml"}, text)
    path
  end

  # The same call on both sides, and its answer; `:ended` when the instance is gone by a trap, which is no end there: what it kept goes.
  defp alike(theirs, instance, {config, number, export, input}) do
    expected = call(theirs, export, input)
    answer = Instance.call(instance, export, input)
    assert {config, number, export, input, told(answer)} == {config, number, export, input, expected}
    {if(match?({:error, %Error{reason: {:trap, _kind}}}, answer), do: :ended, else: :kept), expected}
  end

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
    case asked(theirs, ["c", export, 0, input]) do
      "o" <> output -> {:ok, output}
      "e" <> text -> {:error, text}
    end
  end

  defp lines(theirs) do
    "l" <> lines = asked(theirs, "l")
    lines
  end

  defp asked(theirs, message) do
    true = Port.command(theirs, message)

    receive do
      {^theirs, {:data, answer}} -> answer
    after
      @start_ms -> flunk("the runtime of Extism does not answer")
    end
  end
end
