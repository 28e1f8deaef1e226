defmodule Tidepool.SourceLinesTest do
  # What a trap says of a module with debug data.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Command, Error, Native, TestModule}

  # A line of a guest's source, by the comment at its end.
  defp line(comment, source \\ "traced.rs") do
    lines = File.read!("guests/traced/#{source}") |> String.split("\n")
    Enum.find_index(lines, &String.ends_with?(&1, "// #{comment}")) + 1
  end

  defp places(backtrace, source \\ "traced.rs") do
    for %{file: file, line: line} <- backtrace, Path.basename(file) == source, do: line
  end

  defp trap(name, operation \\ "trap") do
    assert {:error, %Error{reason: {:trap, :memory_out_of_bounds}, details: details} = error} =
             Tidepool.call(name, operation)

    refute is_map_key(details, :lines)
    {details.backtrace, error}
  end

  test "the backtrace of a trap names file and line, of the trap and of those who called it" do
    for options <- [[], [engine: :dense], [instances: {:warm, 1}], [snapshot: false]] do
      {backtrace, error} = "rust" |> deploy!("traced", options) |> trap()
      assert [trapped, called | _more] = places(backtrace)
      assert {trapped, called} == {line("the trap's line"), line("the caller's line")}
      assert Command.explain(error) =~ "traced.rs:#{trapped})"
      assert Enum.all?(backtrace, &is_map_key(&1, :offset))
    end
  end

  test "over HTTP it does, too, and so does an actor's" do
    name = deploy!("rust", "traced")
    assert {500, _headers, %{"error" => %{"backtrace" => frames}}} = curl("/call/#{name}/trap")
    assert Enum.any?(frames, &(&1["line"] == line("the trap's line") and &1["file"] =~ "traced.rs"))

    class = deploy!("rust", "traced", actor: true)
    assert {:error, %Error{details: %{backtrace: backtrace}}} = Actor.call(class, "one", "trap")
    assert line("the trap's line") in places(backtrace)
  end

  test "of a component it has those of its module, whether it is called or an actor" do
    source = "traced_export.rs"
    expected = for whose <- ["trap's", "caller's"], do: line("the #{whose} line", source)
    component = TestModule.lifted(guest("rust", "traced_export"), "trap")

    told = fn outcome ->
      assert {:error, %Error{reason: {:trap, :memory_out_of_bounds}, details: details} = error} = outcome
      refute is_map_key(details, :lines)
      assert Enum.take(places(details.backtrace, source), 2) == expected
      assert Command.explain(error) =~ "#{source}:#{hd(expected)})"
    end

    for options <- [[], [engine: :dense], [instances: {:warm, 1}]],
        do: component |> deploy_bytes!(options) |> Tidepool.call(:trap, [0]) |> told.()

    class = deploy_bytes!(component, actor: true)
    told.(Actor.call(class, "one", "trap", "[0]"))
    assert {500, _headers, %{"error" => error}} = curl("/actors/#{class}/one/trap", ["--data", "[0]"])
    lines = for %{"file" => file, "line" => line} <- error["backtrace"], Path.basename(file) == source, do: line
    assert Enum.take(lines, 2) == expected

    stripped = deploy_bytes!(component, strip: true)
    assert {:error, %Error{details: %{backtrace: backtrace}}} = Tidepool.call(stripped, :trap, [0])
    assert backtrace != [] and places(backtrace, source) == []
  end

  test "a module that was deployed stripped has none of it, and is what is kept and sent" do
    wasm = guest("rust", "traced")
    assert wasm =~ ".debug_line"
    name = deploy_bytes!(wasm, strip: true)
    {backtrace, _error} = trap(name)
    assert places(backtrace) == []
    assert Enum.any?(backtrace, &(&1.function =~ "inner"))

    {:ok, kept} = Tidepool.wasm(name)
    refute kept =~ ".debug_"
    assert kept == Native.strip_module(wasm)
    {:ok, function} = Tidepool.fetch(name)
    assert function.strip
    assert function.sha256 == Base.encode16(:crypto.hash(:sha256, kept), case: :lower)
    assert function.size == byte_size(kept)
    # The same again is nothing new.
    {:ok, again} = Tidepool.deploy(wasm, name: name, strip: true)
    assert again.version == function.version
  end

  test "what is signed is what is run: a signed module with debug data is not stripped" do
    wasm = guest("rust", "traced")
    options = [name: unique_name("signed"), signature: Base.encode64(<<1::512>>), strip: true]
    assert {:error, %Error{reason: :invalid_option, message: message}} = Tidepool.deploy(wasm, options)
    assert message =~ "sign"
    {:ok, function} = Tidepool.deploy(Native.strip_module(wasm), options)
    assert function.strip
    :ok = Tidepool.remove(function.name)
  end

  test "a module with damaged debug data traps as any other, and soon" do
    wasm = guest("rust", "traced")
    {at, _size} = :binary.match(wasm, ".debug_line")
    offsets = Stream.iterate(at + 11, &(&1 + 7)) |> Enum.take(24)

    for offset <- offsets, value <- [0x00, 0xFF] do
      <<before::binary-size(offset), _byte, rest::binary>> = wasm
      name = deploy_bytes!(before <> <<value>> <> rest)
      {backtrace, _error} = trap(name)
      assert Enum.any?(backtrace, &(&1.function =~ "inner"))
    end
  end
end
