defmodule Tidepool.FunctionsTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Function, Functions, Testing}

  defp name!(stem) do
    name = unique_name(stem)
    on_exit(fn -> Tidepool.remove(name) end)
    name
  end

  # Supervisors that fail take those down that they are linked with.
  defp start(children) do
    Process.flag(:trap_exit, true)
    Supervisor.start_link(children, strategy: :one_for_one)
  end

  defp refused(functions) do
    assert {:error, {:shutdown, {:failed_to_start_child, Functions, {%Error{} = error, _stacktrace}}} = reason} =
             start([{Functions, functions}])

    # What whoever starts the application reads.
    assert Exception.format_exit(reason) =~ "** (Tidepool.Error) #{error.message}"
    error
  end

  test "functions of files, of an application's files and of bytes are deployed before the next child starts" do
    [file, app, bytes, plain] = for stem <- ["file", "app", "bytes", "plain"], do: name!(stem)
    test = self()

    functions = [
      {file, guest_path("rust", "hello_world"), operation: "hello", limits: [time: 1_234]},
      {app, {:tidepool, "priv/testing/echo.wasm"}},
      {bytes, Testing.guest(:echo), instances: {:warm, 2}},
      {String.to_atom(plain), guest_path("rust", "hello_world")}
    ]

    next = fn ->
      send(test, {:next, for(name <- [file, app, bytes, plain], do: Tidepool.fetch!(name))})
      :ignore
    end

    assert {:ok, _pid} = start([{Functions, functions}, %{id: :next, start: {Kernel, :apply, [next, []]}}])
    assert_receive {:next, [of_file, of_app, of_bytes, of_plain]}
    assert %Function{version: 1, operation: "hello", limits: %{time: 1_234}} = of_file
    assert %Function{version: 1, operation: ^app} = of_app
    assert %Function{instances: {:warm, 2}} = of_bytes
    assert %Function{name: ^plain} = of_plain
    assert Tidepool.call(file, nil, "Ada") == {:ok, "Hello, Ada!"}
  end

  test "a keyword list names functions as well" do
    name = name!("greeter")
    functions = [{String.to_atom(name), guest_path("rust", "hello_world")}]
    assert Keyword.keyword?(functions)
    assert {:ok, _pid} = start([{Functions, functions}])
    assert Tidepool.fetch!(name).version == 1
  end

  test "a restart makes no new version, another option or module does" do
    name = name!("again")
    functions = [{name, guest_path("rust", "hello_world"), limits: [time: 1_234]}]
    for _start <- 1..3, do: assert({:ok, _pid} = start([{Functions, functions}]))
    assert Tidepool.fetch!(name).version == 1

    assert {:ok, _pid} = start([{Functions, [{name, guest_path("rust", "hello_world"), limits: [time: 4_321]}]}])
    assert Tidepool.fetch!(name).version == 2
    assert {:ok, _pid} = start([{Functions, [{name, guest_path("zig", "hello_world"), limits: [time: 4_321]}]}])
    assert Tidepool.fetch!(name).version == 3
  end

  test "a file that is not there ends the start with a sentence that names function, file and reason" do
    name = name!("missing")
    path = Path.join(tmp_folder!(), "missing.wasm")
    error = refused([{name, path}])
    assert error.message == "the function #{name} could not be deployed from #{path}: no such file or directory"
    assert {error.reason, error.function} == {:storage, name}

    error = refused([{name, {:tidepool, "priv/missing.wasm"}}])
    assert error.message =~ ~r"deployed from /.*/priv/missing.wasm: no such file or directory"

    error = refused([{name, {:no_such_application, "x.wasm"}}])

    assert error.message ==
             "the function #{name} could not be deployed from x.wasm: there is no application called :no_such_application"
  end

  test "bytes that are neither a module nor a path are refused before they are told" do
    for bytes <- [:zlib.gzip(guest("rust", "hello_world")), "", "a\0b"] do
      assert_raise ArgumentError, ~r/a function has to be \{name, source\}/, fn ->
        Functions.child_spec([{"packed", bytes}])
      end
    end
  end

  test "a module that can't be deployed ends the start alike, and changes nothing" do
    name = name!("broken")
    path = Path.join(tmp_folder!(), "broken.wasm")
    File.write!(path, "no module")
    assert {:ok, _pid} = start([{Functions, [{name, guest_path("rust", "hello_world")}]}])

    error = refused([{name, path}])
    assert %Error{reason: :not_wasm, function: ^name, details: %{step: :compile}} = error
    assert error.message =~ "the function #{name} could not be deployed from #{path}: this is not a WebAssembly module"

    assert refused([{name, <<0, "asm", 1, 0, 0, 0>>}]).message =~ "could not be deployed from its bytes: "
    error = refused([{name, guest_path("rust", "hello_world"), limits: [tme: 5]}])
    assert error.message =~ "hello_world.wasm: the option :tme of :limits is unknown: did you mean :time?"
    assert Tidepool.fetch!(name).version == 1
  end

  test "two of them are children of one supervisor when each has an id" do
    [one, two] = [name!("one"), name!("two")]
    child = fn name -> Supervisor.child_spec({Functions, [{name, Testing.guest(:echo)}]}, id: name) end
    assert {:ok, _pid} = start([child.(one), child.(two)])
    for name <- [one, two], do: assert(Tidepool.call(name, nil, "x") == {:ok, "x"})
  end
end
