defmodule Tidepool.PackagesTest do
  # Components by others, of published packages and their tests: which of them run, and why not, and that wasmtime's command line comes
  # to the same. The table of guests/packages/README.md.
  use Tidepool.Case

  alias Tidepool.{Error, Packages, Wasmtime, Wave}

  # They are fetched, and wasmtime's command line is built, in long runs alone.
  @moduletag skip: System.get_env("TIDEPOOL_LONG", "") == ""

  @asked [:asked, :stubbed]

  # Python takes some of each.
  @limits %{memory: 134_217_728, cpu_time: 60_000, time: 120_000}

  for row <- Packages.run() do
    {component, export, arguments, result, beside} = row
    @tag call: {component, export, arguments}, result: result, beside: beside
    test "#{component} runs #{inspect(export)}", context do
      assert {:ok, value} = answer = called(context.call)
      assert context.result in [:same, value]
      assert_same_on_wasmtime(context.call, answer, context.beside)
    end
  end

  for row <- Packages.fail() do
    {component, export, arguments, text, beside} = row
    @tag call: {component, export, arguments}, text: text, beside: beside
    test "#{component} runs #{inspect(export)}, whose result is the error that #{text}", context do
      assert {:error, %Error{reason: :guest_error, details: %{value: value}}} = answer = called(context.call)
      assert String.starts_with?(value, context.text)
      assert_same_on_wasmtime(context.call, answer, context.beside)
    end
  end

  for row <- Packages.trap() do
    {component, export, arguments, beside} = row
    @tag call: {component, export, arguments}, beside: beside
    test "#{component} is called, and traps where it is unreachable", context do
      assert {:error, %Error{reason: {:trap, :unreachable}}} = answer = called(context.call)
      assert_same_on_wasmtime(context.call, answer, context.beside)
    end
  end

  for row <- Packages.refused() do
    {component, reason, text, beside} = row
    @tag component: component, reason: reason, text: text, beside: beside
    test "#{component} is refused, for #{text}", %{component: component, reason: reason, text: text} = context do
      name = unique_name(component)

      assert {:error, %Error{reason: ^reason, message: message}} =
               Tidepool.deploy(guest("packages", component), name: name)

      assert message =~ text

      if context.beside == :asked do
        {said, status} = Wasmtime.refusal(guest_path("packages", component))
        assert status != 0
        assert said =~ text
      end
    end
  end

  test "wasmtime's command line is asked for each of them, or there is a reason why it is not" do
    for row <- Packages.rows(), do: assert(row.beside in @asked or is_binary(row.beside), row.component)
    # What is not held to a result is held to what wasmtime prints.
    for {component, _export, _arguments, :same, beside} <- Packages.run(), do: assert(beside in @asked, component)
  end

  test "the table of the README has each of them, and says the same" do
    pattern = ~r/^\| `(\w+)` \| .* \| (runs|traps|refused).* \| (.*) \|$/m
    table = Regex.scan(pattern, File.read!("guests/packages/README.md"), capture: :all_but_first)
    assert Enum.sort(for [component, how, _beside] <- table, do: {component, how}) == components()
    sources = for line <- File.stream!("guests/packages/sources.txt"), do: line |> String.split(" ") |> hd()
    assert Enum.sort(sources) == for({component, _how} <- components(), do: component)
    assert Enum.count(components(), fn {_component, how} -> how == "runs" end) >= 40

    # Of some, one export is asked and another is not.
    for [component, _how, beside] <- table do
      reasons = for row <- Packages.rows(), row.component == component, do: row.beside
      expected = if Enum.any?(reasons, &(&1 in @asked)), do: ["yes"], else: Enum.map(reasons, &("no: " <> &1))
      assert beside in expected, component
    end
  end

  defp components, do: for(row <- Packages.rows(), uniq: true, do: {row.component, row.how}) |> Enum.sort()

  defp called({component, export, arguments}) do
    name = deploy!("packages", component, limits: @limits)
    {:ok, %{imports: imports}} = Tidepool.fetch(name)

    for import <- imports do
      {interface, [function]} = import |> String.split(".") |> Enum.split(-1)
      handle!({"wit", Enum.join(interface, "."), function}, fn call -> {:ok, List.first(call.args)} end)
    end

    Tidepool.call(name, export, arguments)
  end

  # A command prints the same. Of another export the result is printed, that of a `result` with its case; a trap is what `abort` would be.
  defp assert_same_on_wasmtime(_call, _answer, why) when is_binary(why), do: :not_asked

  defp assert_same_on_wasmtime({component, nil, input}, {:ok, output}, :asked),
    do: assert(Wasmtime.run(guest_path("packages", component), [], input, []) == {output, 0})

  defp assert_same_on_wasmtime({component, export, arguments}, answer, beside) do
    options = if beside == :stubbed, do: ["-W", "unknown-imports-trap=y"], else: []
    {output, status} = Wasmtime.invoke(guest_path("packages", component), Wave.call(export, arguments), options)

    case answer do
      {:ok, value} ->
        assert status == 0
        assert Wave.same?(output, value) or Wave.same?(output, {:ok, value}), output

      {:error, %Error{reason: :guest_error, details: %{value: value}}} ->
        assert status == 0
        assert Wave.same?(output, {:error, value}), output

      {:error, %Error{reason: {:trap, _kind}}} ->
        assert {output, status} == {"", 134}
    end
  end
end
