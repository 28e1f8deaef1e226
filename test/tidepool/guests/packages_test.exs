defmodule Tidepool.PackagesTest do
  # Components by others, of published packages and their tests: which of them run, and why not. The table of guests/packages/README.md.
  use Tidepool.Case

  alias Tidepool.{Error, Instance, Wasmtime}

  # They are fetched, and wasmtime's command line is built, in long runs alone.
  @moduletag skip: System.get_env("TIDEPOOL_LONG", "") == ""

  # Component, export, arguments, result. What they import is answered with its argument.
  @run [
    {"adapt_saved", :entrypoint, [5], nil},
    {"basic", nil, "", ""},
    {"command", {"wasi:cli-base/environment", :"get-arguments"}, [], []},
    {"egress_guard", {"cerberust:guard/scanner@0.1.0", :scan}, ["low tide"],
     %{text: "low tide", valid: true, risk: 0.0}},
    {"hostcall_fuel", :f3, [], List.duplicate({:some, {:some, {:some, 1}}}, 10)},
    {"link", {"test:test/test", :bar}, [5], 56},
    {"link_asyncify", {"test:test/test", :bar}, [], nil},
    {"link_bare", :baz, [], nil},
    {"link_initialize", {"test:test/test", :bar}, [5], 56},
    {"multiple_runs", nil, "", ""},
    {"plug", {"test:dep/iface@0.2.0", :foo}, [], nil},
    {"provenance", :"guest-u32", [5], 5},
    {"provenance", :"guest-enum", ["B"], "B"},
    {"provenance", :"guest-option", [{:some, 7}], {:some, 7}},
    {"provenance", :"guest-string", ["low tide"], "low tide"},
    {"provenance", :"guest-list", [["low", "tide"]], ["low", "tide"]},
    {"provenance", :"resource-intrinsics", [], nil},
    {"redact_guard", {"cerberust:guard/scanner@0.1.0", :scan}, ["hello FOO world"],
     %{text: "hello [REDACTED] world", valid: false, risk: 1.0}},
    {"sandboxed_cli", {"wasi:cli/environment@0.2.6", :"get-arguments"}, [], []},
    {"sandboxed_clocks", {"wasi:clocks/monotonic-clock@0.2.6", :now}, [], 0},
    {"sandboxed_random", {"wasi:random/random@0.2.6", :"get-random-u64"}, [], 5_976_869_722_197_606_210},
    {"sandboxed_wasi", {"wasi:random/random@0.2.6", :"get-random-u64"}, [], 5_976_869_722_197_606_210},
    {"shopping_cart", {"golem:it/api", :"get-cart-contents"}, [], []},
    {"used_type", :run, [], 7}
  ]

  # Component, the interface of its resource.
  @kept [{"cart_resource", "golem:it/api"}, {"cart_versioned", "golem:it/api@1.2.3"}]

  # What their authors left out is `unreachable` there, mostly: they are about their types.
  @trap [
    {"adapt_reallocs", :entrypoint, [["x"]]},
    {"composed", :m1, ["x"]},
    {"composed_a", :f, [5]},
    {"composed_b", {"x", :m}, ["x"]},
    {"exports", {"foo", :b}, ["x"]},
    {"lift_options", {"foo:foo/my-default", :b}, [["x"]]},
    {"link_circular", {"test:test/test", :foo}, [5]},
    {"link_dlopen", {"test:test/test", :foo}, [5]},
    {"link_got", {"test:test/test", :foo}, [5]},
    {"link_weak", {"test:test/test", :foo}, [5]},
    {"merged_results", {"example:example/my-interface", :"my-func2"}, []},
    {"names", :g, []},
    {"post_return", :a, []},
    {"renamed_types", {"foo:foo/i", :"the-func"}, []},
    # It says that its environment lacks what it calls.
    {"rpc_caller", :test2, []}
  ]

  @refused [
    {"async_export", :invalid_module, "async"},
    {"async_import", :invalid_module, "async"},
    {"duplicate_imports", :invalid_module, "root-level component imports"},
    {"initialize", {:trap, :unreachable}, "unreachable"},
    {"link_tag", :invalid_module, "exceptions"},
    {"page_sizes", :invalid_module, "custom page sizes"}
  ]

  for {component, export, arguments, result} <- @run do
    @tag call: {component, export, arguments}, result: result
    test "#{component} runs #{inspect(export)} with #{inspect(arguments)}", %{call: call, result: result} do
      assert called(call) == {:ok, result}
      assert on_wasmtime(call) in [0, :not_asked]
    end
  end

  for {component, interface} <- @kept do
    @tag component: component, interface: interface
    test "#{component} runs: a cart has what is put into it", %{component: component, interface: interface} do
      {:ok, instance} = Instance.start_link(deploy!("packages", component))
      {:ok, cart} = Instance.new(instance, {interface, "cart"}, ["alice"])
      tea = %{:name => "Tea", :price => 2.5, :quantity => 2, :"product-id" => "tea"}
      {:ok, _nothing} = Instance.call(instance, {cart, :"add-item"}, [tea])
      {:ok, _nothing} = Instance.call(instance, {cart, :"update-item-quantity"}, ["tea", 3])
      assert Instance.call(instance, {cart, :"get-cart-contents"}) == {:ok, [%{tea | quantity: 3}]}
    end
  end

  test "file_service runs, and is told that there are no folders" do
    call = {"file_service", {"golem:it/api", :"read-file"}, ["/shells"]}
    assert {:error, %Error{reason: :guest_error, details: %{value: value}}} = called(call)
    assert value =~ "failed to find a pre-opened file descriptor"
  end

  for {component, export, arguments} <- @trap do
    @tag call: {component, export, arguments}
    test "#{component} is called, and traps where it is unreachable", %{call: call} do
      assert {:error, %Error{reason: {:trap, :unreachable}}} = called(call)
      refute on_wasmtime(call) == 0
    end
  end

  for {component, reason, text} <- @refused do
    @tag component: component, reason: reason, text: text
    test "#{component} is refused, for #{text}", %{component: component, reason: reason, text: text} do
      name = unique_name(component)

      assert {:error, %Error{reason: ^reason, message: message}} =
               Tidepool.deploy(guest("packages", component), name: name)

      assert message =~ text
    end
  end

  test "the table of the README has each of them, and says the same" do
    rows = Regex.scan(~r/^\| `(\w+)` \| .* \| (runs|traps|refused).* \|$/m, File.read!("guests/packages/README.md"))
    ran = for {component, _export, _arguments, _result} <- @run, uniq: true, do: {component, "runs"}
    ran = ran ++ [{"file_service", "runs"} | for({component, _interface} <- @kept, do: {component, "runs"})]
    trapped = for {component, _export, _arguments} <- @trap, do: {component, "traps"}
    refused = for {component, _reason, _text} <- @refused, do: {component, "refused"}
    assert Enum.sort(for [_line, component, how] <- rows, do: {component, how}) == Enum.sort(ran ++ trapped ++ refused)
    sources = for line <- File.stream!("guests/packages/sources.txt"), do: line |> String.split(" ") |> hd()
    assert Enum.sort(sources) == Enum.sort(for [_line, component, _how] <- rows, do: component)
    assert length(ran) >= 10
  end

  defp called({component, export, arguments}) do
    name = deploy!("packages", component)
    {:ok, %{imports: imports}} = Tidepool.fetch(name)

    for import <- imports do
      {interface, [function]} = import |> String.split(".") |> Enum.split(-1)
      handle!({"wit", Enum.join(interface, "."), function}, fn call -> {:ok, List.first(call.args)} end)
    end

    Tidepool.call(name, export, arguments)
  end

  # Its exit status, of what needs no host, has a name without an interface and numbers as arguments.
  defp on_wasmtime({component, export, arguments}) when is_atom(export) and export != nil do
    if Enum.all?(arguments, &is_integer/1) and component not in ["provenance", "link_bare", "names"],
      do: Wasmtime.invoke(guest_path("packages", component), "#{export}(#{Enum.join(arguments, ", ")})"),
      else: :not_asked
  end

  defp on_wasmtime(_call), do: :not_asked
end
