defmodule Tidepool.DeployRefusalTest do
  # What is no function is refused at the deploy, with the step and what it was about, and changes nothing.
  use Tidepool.Case, async: true

  alias Tidepool.{Deploy, Error, TestModule}

  setup_all do
    name = unique_name("standing")
    {:ok, function} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
    on_exit(fn -> Tidepool.remove(name) end)
    %{name: name, function: function}
  end

  # {guest, reason, what the details say, apart from the step}
  @compile_refusals [
    {"no_exports", :unknown_abi, %{exports: []}},
    {"no_guest_call", :unknown_abi, %{exports: ["memory", "wapc_init"]}},
    {"no_memory", :missing_export, %{export: "memory"}},
    {"wasi_no_memory", :missing_export, %{export: "memory"}},
    {"memory_not_memory", :export_type, %{export: "memory"}},
    {"guest_call_signature", :export_type, %{export: "__guest_call"}},
    {"guest_call_not_function", :export_type, %{export: "__guest_call"}},
    {"init_signature", :export_type, %{export: "wapc_init"}},
    {"memory_imported", :missing_import, %{import: "env.memory"}},
    {"import_unknown", :missing_import, %{import: "env.mystery"}},
    {"import_unknown_wapc", :missing_import, %{import: "wapc.__mystery"}},
    {"wasi_unknown", :missing_import, %{import: "wasi_snapshot_preview1.mystery"}},
    {"import_signature", :import_type, %{import: "wapc.__guest_response"}},
    {"invalid", :invalid_module, %{}},
    {"memory64", :invalid_module, %{}},
    {"memory_huge", :too_demanding, %{}},
    {"table_huge", :too_demanding, %{}}
  ]

  for {guest, reason, details} <- @compile_refusals do
    test "#{guest} is refused as #{reason} in the step :compile", %{name: name, function: function} do
      assert_refused(guest("wat", unquote(guest)), [], :compile, unquote(reason), unquote(Macro.escape(details)), name)
      assert Tidepool.fetch(name) == {:ok, function}
      assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
    end
  end

  @start_refusals [
    {"init_trap", {:trap, :unreachable}},
    {"start_section_trap", {:trap, :unreachable}},
    {"start_exit_7", {:trap, :exit}},
    {"init_loop", {:limit, :cpu_time}},
    {"start_loop", {:limit, :cpu_time}},
    {"start_section_loop", {:limit, :cpu_time}}
  ]

  for {guest, reason} <- @start_refusals do
    test "#{guest} is refused as #{inspect(reason)} in the step :start", %{name: name, function: function} do
      assert_refused(guest("wat", unquote(guest)), [limits: [cpu_time: 200]], :start, unquote(reason), %{}, name)
      assert Tidepool.fetch(name) == {:ok, function}
      assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
    end
  end

  test "folders of what no process can run are refused, and a version that had them comes back all the same" do
    for {language, guest, options} <- [
          {"rust", "http", []},
          {"component", "calc", []},
          {"rust", "tally", [actor: true]},
          {"rust", "hello_world", []}
        ] do
      {wasm, name} = {guest(language, guest), unique_name(guest)}
      options = [files: ["/data=memory"]] ++ options
      assert_refused(wasm, options, :compile, :invalid_config, %{}, name)
      given = [name: name] ++ options
      assert {:ok, %{files: ["/data=memory"]}, :created, nil} = Deploy.again(wasm, given, :elixir)
      on_exit(fn -> remove!(name) end)
    end

    # One that is called may be started as well.
    name = deploy!("rust", "upper_command", files: ["/data=memory"])
    assert Tidepool.call(name, "run", "x") == {:ok, "X"}
  end

  test "a start that takes longer than the time limit is refused in the step :start", %{name: name} do
    assert_refused(guest("wat", "init_loop"), [limits: [time: 30, cpu_time: 600_000]], :start, :timeout, %{}, name)
  end

  test "what does not begin as WebAssembly does is not_wasm", %{name: name} do
    for bytes <- ["", "\0as", "<html></html>", "\0ASM\1\0\0\0", <<0x7F, "ELF">>] do
      assert_refused(bytes, [], :compile, :not_wasm, %{}, name)
    end
  end

  test "a header of another version, or one that is cut short, is an invalid module", %{name: name} do
    for bytes <- ["\0asm", "\0asm\2\0\0\0", "\0asm\1\0"] do
      assert_refused(bytes, [], :compile, :invalid_module, %{}, name)
    end
  end

  test "every truncation of a module is refused", %{name: name, function: function} do
    wasm = guest("rust", "counter")

    for size <- Enum.take_every(0..(byte_size(wasm) - 1), 701) do
      assert {:error, %Error{details: %{step: :compile}}} = Tidepool.deploy(binary_part(wasm, 0, size), name: name)
    end

    assert Tidepool.fetch(name) == {:ok, function}
  end

  test "a component that exports nothing is told so, and one of another binary format to be one", %{name: name} do
    <<magic::binary-4, 0x0D, rest::binary>> = component = TestModule.component()
    assert_refused(component, [], :compile, :unknown_abi, %{exports: []}, name)
    assert_refused(<<magic::binary, 0x0E, rest::binary>>, [], :compile, :component, %{}, name)
  end

  test "a WASI program can't be kept warm", %{name: name} do
    assert_refused(guest("rust", "upper"), [instances: {:warm, 2}], :compile, :invalid_config, %{}, name)
  end

  test "a module that starts with more memory than its limit is too demanding", %{name: name} do
    assert_refused(guest("rust", "upper"), [limits: [memory: 65_536]], :compile, :too_demanding, %{}, name)
  end

  test "a module that starts with a larger table than its limit is refused", %{name: name} do
    wasm = TestModule.table(100)
    assert {:error, %Error{reason: reason}} = Tidepool.deploy(wasm, name: name, limits: [table: 99])
    assert reason in [:too_demanding, {:limit, :table}]
    other = deploy_bytes!(wasm, limits: [table: 100])
    assert Tidepool.call(other, "anything") == {:ok, ""}
  end

  test "a refused first deploy leaves the name free, and version 1 to the first that succeeds" do
    name = unique_name("refused")
    on_exit(fn -> Tidepool.remove(name) end)
    assert {:error, %Error{}} = Tidepool.deploy(guest("wat", "init_trap"), name: name)
    assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
    assert {:error, %Error{reason: :not_deployed}} = Tidepool.call(name, "hello")
    assert {:ok, %{version: 1}} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
  end

  test "a start function that exits with 0 has succeeded" do
    name = deploy!("wat", "start_exit_0")
    assert Tidepool.call(name, "anything") == {:ok, "ready"}
  end

  test "a start function may take its time, and call the host in vain" do
    slow = deploy!("wat", "init_slow", limits: [cpu_time: 50_000, time: 50_000])
    assert Tidepool.call(slow, "anything") == {:ok, "ready"}
    hosting = deploy!("wat", "init_host")
    assert Tidepool.call(hosting, "anything") == {:ok, "refused"}
  end

  defp assert_refused(wasm, options, step, reason, details, name) do
    assert {:error, %Error{} = error} = Tidepool.deploy(wasm, [name: name] ++ options)
    assert {error.reason, error.function, error.details.step} == {reason, name, step}
    assert Map.take(error.details, Map.keys(details)) == details
    assert_no_stray_messages()
  end
end
