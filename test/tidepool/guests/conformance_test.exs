defmodule Tidepool.ConformanceTest do
  # Every operation of the hello_world guest, in every language, fresh and warm, through Elixir and through HTTP.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, LogWatch}

  @guests [
    {"rust", "hello_world"},
    {"rust", "hello_world_crate"},
    {"assemblyscript", "hello_world"},
    {"zig", "hello_world"},
    {"go", "hello_world"},
    {"c", "hello_world"}
  ]

  # What is tried here is not how fast a busy machine is.
  @patient ~s({"time": 50000, "cpu_time": 50000})

  # Every byte there is, the empty string, and more than one page of memory.
  @payloads [
    "",
    "text",
    "zero\0byte",
    :binary.list_to_bin(Enum.to_list(0..255)),
    String.duplicate("0123456789abcdef", 65_536)
  ]

  # Uploaded as users do it, at once: Go's modules take seconds to compile.
  setup_all do
    names =
      for {language, guest} <- @guests, instances <- ["fresh", "warm:4"], into: %{} do
        {{language, guest, instances}, unique_name("#{language}_#{guest}")}
      end

    names
    |> Task.async_stream(
      fn {{language, guest, instances}, name} ->
        form = ["name=#{name}", "instances=#{instances}", "operation=hello", "limits=#{@patient}"]
        form = Enum.flat_map(["wasm=@#{guest_path(language, guest)}" | form], &["-F", &1])
        {201, _headers, _function} = curl("/deploy", form ++ ["--max-time", "300"])
      end,
      timeout: :infinity
    )
    |> Stream.run()

    on_exit(fn -> Enum.each(Map.values(names), &Tidepool.remove/1) end)
    %{names: names}
  end

  for {language, guest} <- @guests, instances <- ["fresh", "warm:4"] do
    describe "#{language}/#{guest}, #{instances}:" do
      @describetag key: {language, guest, instances}

      setup %{names: names, key: key}, do: %{name: Map.fetch!(names, key)}

      test "hello_world and hello greet the payload, and the world without one", %{name: name} do
        for operation <- ["hello_world", "hello", nil] do
          assert Tidepool.call(name, operation, "Ada") == {:ok, "Hello, Ada!"}
          assert Tidepool.call(name, operation, "") == {:ok, "Hello, world!"}
          assert Tidepool.call(name, operation, "Zoë 世界") == {:ok, "Hello, Zoë 世界!"}
        end
      end

      test "hello_world and hello greet over HTTP", %{name: name} do
        assert {200, _headers, "Hello, world!"} = curl("/call/#{name}")
        assert {200, _headers, "Hello, world!"} = curl("/call/#{name}/hello_world")
        assert {200, _headers, "Hello, Ada!"} = curl("/call/#{name}/hello", ["--data-binary", "Ada"])
        assert {200, _headers, "Hello, Ada!"} = curl("/call/#{name}/hello?payload=Ada")
      end

      test "echo replies with exactly the payload, whatever its bytes and length", %{name: name} do
        for payload <- @payloads do
          # Compared outside of the assertion, which would print a MiB.
          {:ok, reply} = Tidepool.call(name, "echo", payload)
          same? = reply == payload
          assert same?, "a payload of #{byte_size(payload)} bytes came back as #{byte_size(reply)} others"
        end
      end

      test "echo replies over HTTP with exactly the payload", %{name: name} do
        file = Path.join(tmp_folder!(), "payload")

        for payload <- @payloads do
          File.write!(file, payload)
          {200, _headers, reply} = curl("/call/#{name}/echo", ["--data-binary", "@#{file}"])
          same? = reply == payload
          assert same?, "a payload of #{byte_size(payload)} bytes came back as #{byte_size(reply)} others"
        end
      end

      test "fail is the guest's error with its text", %{name: name} do
        assert {:error, %Error{reason: :guest_error, message: "failed as asked: why", function: ^name}} =
                 Tidepool.call(name, "fail", "why")

        assert {:error, %Error{reason: :guest_error, message: "failed as asked"}} = Tidepool.call(name, "fail")
      end

      test "fail is status 422 over HTTP", %{name: name} do
        assert {422, _headers, %{"error" => error}} = curl("/call/#{name}/fail", ["--data-binary", "why"])
        assert error == %{"reason" => "guest_error", "message" => "failed as asked: why", "function" => name}
      end

      test "host replies with what the host answers", %{name: name} do
        handle!({"b-#{name}", "n", "double"}, fn call -> {:ok, call.payload <> call.payload} end)

        for payload <- ["", "ab", <<0, 255>>, String.duplicate("x", 100_000)] do
          assert Tidepool.call(name, "host", "b-#{name}/n/double\n" <> payload) == {:ok, payload <> payload}
        end

        assert {200, _headers, "abab"} = curl("/call/#{name}/host", ["--data-binary", "b-#{name}/n/double\nab"])
      end

      test "host fails with exactly the host's text when that refuses", %{name: name} do
        handle!({"b-#{name}", "n", "refuse"}, fn call -> {:error, "not #{call.payload}"} end)

        assert {:error, %Error{reason: :guest_error, message: "not this"}} =
                 Tidepool.call(name, "host", "b-#{name}/n/refuse\nthis")

        assert {422, _headers, %{"error" => %{"message" => "not this"}}} =
                 curl("/call/#{name}/host", ["--data-binary", "b-#{name}/n/refuse\nthis"])
      end

      test "host of a target that nobody handles fails with the target's name", %{name: name} do
        assert {:error, %Error{reason: :guest_error, message: "no host function nobody/at/home"}} =
                 Tidepool.call(name, "host", "nobody/at/home")
      end

      test "fib computes", %{name: name} do
        assert Tidepool.call(name, "fib", "20") == {:ok, "6765"}
        assert {200, _headers, "6765"} = curl("/call/#{name}/fib?payload=20")
        assert {:error, %Error{reason: :guest_error, message: "not a number: x"}} = Tidepool.call(name, "fib", "x")
      end

      test "log replies nothing, and the line is in the log", %{name: name} do
        LogWatch.watch(name)
        assert Tidepool.call(name, "log", "a line from #{name}") == {:ok, ""}
        assert_receive {:logged, ^name, :info, text, _metadata}
        assert text =~ "a line from #{name}"
        assert {200, _headers, ""} = curl("/call/#{name}/log?payload=another")
        assert_receive {:logged, ^name, :info, text, _metadata}
        assert text =~ "another"
      end

      test "an operation that the guest doesn't know is the guest's error", %{name: name} do
        assert {:error, %Error{reason: :guest_error, message: message}} = Tidepool.call(name, "sing", "la")
        assert message =~ "sing"
        assert {422, _headers, %{"error" => %{"message" => ^message}}} = curl("/call/#{name}/sing")
      end

      test "an error leaves the function as it was", %{name: name} do
        assert {:error, %Error{reason: :guest_error}} = Tidepool.call(name, "fail")
        assert Tidepool.call(name, "echo", "still here") == {:ok, "still here"}
      end
    end
  end
end
