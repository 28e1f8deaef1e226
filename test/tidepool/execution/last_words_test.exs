defmodule Tidepool.LastWordsTest do
  # What is told of guests that fail as guests do: by an index past the end, a panic, a recursion too deep.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, TestModule}

  for {language, trap, message} <- [
        {"rust", :unreachable, "index out of bounds: the len is 3 but the index is 7"},
        {"assemblyscript", :unreachable, "Index out of range"},
        {"zig", :unreachable, "index out of bounds: index 7, len 3"},
        {"go", :unreachable, "index out of range [7] with length 3"}
      ],
      options <- [[], [instances: {:warm, 1}], [engine: :dense]] do
    # No module takes longer to compile than Go's does for this engine.
    if language == "go" and options[:engine] == :dense, do: @tag(:slow)

    test "an index past the end in #{language} is an error that says so, #{inspect(options)}" do
      name = deploy!(unquote(language), "faulty", unquote(options))
      assert Tidepool.call(name, "index", "1") == {:ok, "20"}
      assert {:error, %Error{reason: {:trap, unquote(trap)}} = error} = Tidepool.call(name, "index", "7")
      assert Enum.join(error.details.console, "\n") =~ unquote(message)
      # Of the call that fails, and of it alone.
      assert {:error, %Error{details: %{console: lines}}} = Tidepool.call(name, "index", "9")
      assert length(lines) == length(error.details.console)
    end
  end

  for language <- ["rust", "zig", "c"], options <- [[], [instances: {:warm, 1}], [engine: :dense]] do
    test "a recursion too deep for the stack in memory is a stack overflow in #{language}, #{inspect(options)}" do
      name = deploy!(unquote(language), "faulty", unquote(options))
      assert Tidepool.call(name, "deep", "10") == {:ok, "deep"}
      assert {:error, %Error{reason: {:trap, :stack_overflow}} = error} = Tidepool.call(name, "deep", "100000")
      assert error.message =~ "stack"
    end
  end

  test "a panic with the wapc-guest crate and the hook of the documents says why, over HTTP as well" do
    handle!({"shop", "products", "price"}, fn %{payload: item} ->
      {:ok, if(item == "kiwi", do: "250", else: "cheap")}
    end)

    name = deploy!("rust", "hello")
    assert {:ok, %{start: :snapshot}} = start(name)
    assert Tidepool.call(name, "price", "kiwi") == {:ok, "250"}
    assert {500, _headers, %{"error" => error}} = curl("/call/#{name}/price", ["-d", "plum"])
    assert %{"reason" => "trap", "trap" => "unreachable", "console" => [line]} = error
    assert line =~ "the host's price is a number"
    assert line =~ "hello.rs:"
  end

  defp start(name) do
    {200, _headers, function} = curl("/functions/#{name}")
    {:ok, %{start: String.to_existing_atom(function["start"])}}
  end

  test "a trap's answer is small, whatever its module calls its functions" do
    name = deploy_bytes!(TestModule.named_trap(String.duplicate("\x01", 100_000)))

    assert {500, _headers, %{"error" => %{"backtrace" => [%{"function" => function} | _outer]} = error}} =
             curl("/call/#{name}")

    assert byte_size(function) <= 256
    assert byte_size(Tidepool.Native.json_encode(error)) < 100_000
  end
end
