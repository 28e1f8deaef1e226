defmodule Tidepool.CallTaskTest do
  # `mix tidepool.call`, as a shell runs it.
  use Tidepool.Case, async: true

  @moduletag :slow

  doctest Tidepool.Host.Stubs

  @hello "guests/build/rust/hello_world.wasm"

  # What it writes to standard output and to standard error, and its exit status.
  defp trial(arguments, stdin \\ "", options \\ []) do
    folder = tmp_folder!()
    File.write!(Path.join(folder, "in"), stdin)

    script =
      if options[:pipe],
        do: ~s(cat "$FOLDER/in" | "$@" 2>"$FOLDER/err"),
        else: ~s(exec "$@" <"$FOLDER/in" 2>"$FOLDER/err")

    environment = [{"MIX_ENV", "test"}, {"FOLDER", folder} | Keyword.get(options, :env, [])]
    command = ["-c", script, "bash", "mix", "tidepool.call" | arguments]
    {output, status} = System.cmd("bash", command, env: environment)
    {output, File.read!(Path.join(folder, "err")), status}
  end

  test "the reply is on standard output byte for byte, and what the guest prints on standard error" do
    bytes = for byte <- 0..255, into: "", do: <<byte>>
    assert {^bytes, "", 0} = trial([@hello, "echo", "-"], bytes)
    path = Path.join(tmp_folder!(), "payload")
    File.write!(path, bytes)
    assert {^bytes, "", 0} = trial([@hello, "echo", "--file", path])
    assert {"Hello, Ada!", "", 0} = trial([@hello, "hello", "Ada"])
    # None of it is lost at the end, and reading and writing bytes changes nothing about it.
    for _trial <- 1..5, do: assert({"", "low tide €\n", 0} = trial([@hello, "log", "low tide €"]))
    assert {"", "low tide €\n", 0} = trial([@hello, "log", "-"], "low tide €")
  end

  test "standard input is the payload byte for byte, from a file and from another program, or refused" do
    text = "é€" <> String.duplicate("aé€", 5_000)
    assert {^text, "", 0} = trial([@hello, "echo", "-"], text)
    assert {^text, "", 0} = trial([@hello, "echo", "-"], text, pipe: true)

    for bytes <- ["é" <> <<255>> <> "é", <<0x89, "PNG", 0, 0xE9>>] do
      assert {^bytes, "", 0} = trial([@hello, "echo", "-"], bytes)
      env = [{"ERL_FLAGS", "-kernel standard_io_encoding latin1"}]
      assert {^bytes, "", 0} = trial([@hello, "echo", "-"], bytes, pipe: true, env: env)

      case trial([@hello, "echo", "-"], bytes, pipe: true) do
        {^bytes, "", 0} -> :ok
        {"", "standard input can't be read: it is no text: use --file" <> _more, 2} -> :ok
      end
    end
  end

  test "a program reads its payload and writes its reply, and without an operation the file's name is it" do
    assert {"LOW TIDE", "", 0} = trial(["guests/build/c/upper.wasm", "-"], "low tide")
    assert {"Hello, world!", "", 0} = trial([@hello])
  end

  test "an export of a plain module is called with JSON, and its imports are answered with JSON" do
    numbers = "guests/build/wat/numbers.wasm"
    assert {"42", "", 0} = trial(["guests/build/rust/calc.wasm", "add", "[19,23]"])
    assert {"21", "", 0} = trial([numbers, "doubled", "[1]", "--host", "import/env/double=21"])
    stubs = Path.join(tmp_folder!(), "stubs.json")
    File.write!(stubs, ~s({"import/env/divide": {"payloads": {"[17,5]": "[3,2]", "[1,0]": {"error": "by 0"}}}}))
    assert {"[3,2]", "", 0} = trial([numbers, "divided", "[17,5]", "--stubs", stubs])
    assert {"", told, 1} = trial([numbers, "divided", "[1,0]", "--stubs", stubs])
    assert told =~ "by 0"
    assert {"", told, 1} = trial([numbers, "divided", "[1,1]", "--stubs", stubs])
    assert told =~ "no answer to the arguments [1,1]"
    assert {"", told, 1} = trial([numbers, "doubled", "[1]"])
    assert told =~ "--host 'import/env/double=REPLY'"
    assert {"", told, 1} = trial([numbers, "nope", "[1]"])
    assert told =~ "nope"
  end

  test "host calls are answered from arguments and from a file, and an argument goes before" do
    stubs = Path.join(tmp_folder!(), "stubs.json")

    File.write!(stubs, """
    {"shop/products/price": {"payloads": {"apple": "250", "kiwi": {"error": "sold out"}}},
     "shop/products/icon": {"base64": "AP+A"}, "shop/products/name": "from the file"}
    """)

    host = fn operation, payload, options ->
      trial([@hello, "host", "shop/products/#{operation}\n#{payload}" | options])
    end

    assert {"250", "", 0} = host.("price", "apple", ["--host", "shop/products/price=250"])
    assert {"a=b/c", "", 0} = host.("price", "apple", ["--host", "shop/products/price=a=b/c"])
    assert {"250", "", 0} = host.("price", "apple", ["--stubs", stubs])
    assert {"", "guest_error: sold out\n", 1} = host.("price", "kiwi", ["--stubs", stubs])
    assert {<<0, 255, 128>>, "", 0} = host.("icon", "", ["--stubs", stubs])
    assert {"mine", "", 0} = host.("name", "", ["--host", "shop/products/name=mine", "--stubs", stubs])
    assert {"", text, 1} = host.("price", "pear", ["--stubs", stubs])
    assert text =~ ~s(the stub has no answer to the payload "pear")
  end

  test "a host call without an answer fails the call, and names the option to add" do
    assert {"", text, 1} = trial([@hello, "host", "shop/products/price\napple"])
    assert text =~ "add --host 'shop/products/price=REPLY'"
    # As an argument it would be a stub for another target.
    assert {"", text, 1} =
             trial([@hello, "host", "shop/products/price=old\napple", "--host", "shop/products/price=old=1"])

    assert text =~ "the guest called shop/products/price=old of its host: add it to the JSON of --stubs FILE"
  end

  test "what fails is told on standard error, with status 1" do
    for {arguments, parts} <- [
          {["guests/build/wat/trap_unreachable.wasm", "x"], ["trap unreachable: ", "\n    __guest_call (offset "]},
          {["guests/build/wat/loop.wasm", "x", "--limit", "cpu_time=50"], ["limit cpu_time: ", "50 ms"]},
          {["guests/build/wat/loop.wasm", "x", "--timeout", "50"], ["timeout: "]},
          {[@hello, "dance"], ["guest_error: unknown operation: dance"]},
          {["README.md"], ["refused at the step compile, not_wasm: "]},
          {[@hello, "hello", "--limit", "memory=1"], ["invalid_option: ", "memory"]}
        ] do
      assert {"", text, 1} = trial(arguments)
      for part <- parts, do: assert(text =~ part)
    end
  end

  test "a command line that makes no sense is told in a sentence, with status 2" do
    for {arguments, part} <- [
          {[], "name a file"},
          {["nowhere.wasm"], "nowhere.wasm: no such file or directory"},
          {[@hello, "a", "b", "c"], "more arguments than"},
          {[@hello, "--hots", "a/b/c=d"], "--hots is unknown"},
          {[@hello, "--timeout", "soon"], ~s(--timeout can't be "soon")},
          {[@hello, "--timeout", "-1"], "--timeout is a number of milliseconds from 1 on, and not -1"},
          {[@hello, "--limit", "time=-5"], "a limit is NAME=NUMBER"},
          {[@hello, "--host", "price=250"], "a stub is binding/namespace/operation=reply"},
          {[@hello, "--limit", "cpu_tme=1"], "did you mean :cpu_time?"},
          {[@hello, "--limit", "cpu_time=long"], "a limit is NAME=NUMBER"},
          {[@hello, "--engine", "steam"], "--engine is fast or dense"},
          {[@hello, "--stubs", "README.md"], "the stubs are no JSON"},
          {[@hello, "echo", "a", "--file", "b"], "either an argument or --file"}
        ] do
      assert {"", text, 2} = trial(arguments)
      assert text =~ part
      assert text =~ "mix help tidepool.call"
    end
  end
end
