defmodule Tidepool.Packages do
  @moduledoc """
  The components of guests/packages, by what becomes of them. The last element of each row is `:asked` where wasmtime's command line
  has to come to the same, and `:stubbed` where it has to when all that is imported fails. Otherwise it says why that is not asked.
  """

  @host "it calls its host"
  @resources "resources have no text"
  @both "it imports its host's functions beside WASI's, and wasmtime's command line has no such host"
  @on "wasmtime's command line has the proposal on"

  @codec "numcodecs:abc/codec@0.1.1"
  @codecs ~w(asinh bit-round fixed-offset-scale identity jpeg2000 linear-quantize log pco reinterpret round zfp zlib zstd)

  # A request as arcjet's own packages describe it.
  @request ~s({"ip":"203.0.113.7","method":"GET","protocol":"http:","host":"shop.example","path":"/","headers":{"user-agent":"curl/8"}})

  @doc """
  Component, export, arguments, and result: that of a call, or `:same`, which is whatever wasmtime prints. What they import is answered
  with its argument. An export that is `nil` is `wasi:cli/run`.
  """
  def run, do: tools() ++ shipped()

  # What tools are tried with.
  defp tools do
    [
      {"adapt_saved", :entrypoint, [5], nil, :asked},
      {"basic", nil, "", "", :asked},
      {"command", {"wasi:cli-base/environment", :"get-arguments"}, [], [], :asked},
      {"hostcall_fuel", :f2, [], List.duplicate(List.to_tuple(List.duplicate(false, 10)), 10), :asked},
      {"hostcall_fuel", :f3, [], List.duplicate({:some, {:some, {:some, 1}}}, 10), :asked},
      {"hostcall_fuel", :f7, [], List.duplicate(Map.new(1..8, &{:"this-is-a-really-long-flag#{&1}", true}), 10),
       :asked},
      {"link", {"test:test/test", :bar}, [5], 56, @host},
      {"link_asyncify", {"test:test/test", :bar}, [], nil, :asked},
      {"link_bare", :baz, [], nil, :stubbed},
      {"link_initialize", {"test:test/test", :bar}, [5], 56, @host},
      {"multiple_runs", nil, "", "", :asked},
      {"plug", {"test:dep/iface@0.2.0", :foo}, [], nil, :asked},
      {"provenance", :"guest-u32", [5], 5, @host},
      {"provenance", :"guest-enum", ["B"], "B", @host},
      {"provenance", :"guest-option", [{:some, 7}], {:some, 7}, @host},
      {"provenance", :"guest-string", ["low tide"], "low tide", @host},
      {"provenance", :"guest-list", [["low", "tide"]], ["low", "tide"], @host},
      {"provenance", :"resource-intrinsics", [], nil, :stubbed},
      {"used_type", :run, [], 7, :stubbed}
    ]
  end

  # What others run.
  defp shipped do
    guard = {"cerberust:guard/scanner@0.1.0", :scan}
    environment = {"wasi:cli/environment@0.2.6", :"get-arguments"}
    random = {"wasi:random/random@0.2.6", :"get-random-u64"}
    capsule = {"capsule:host/task-runner", :run}
    skipped = %{:"skip-custom-detect" => true}

    [
      {"egress_guard", guard, ["low tide"], %{text: "low tide", valid: true, risk: 0.0}, @host},
      {"redact_guard", guard, ["hello FOO world"], %{text: "hello [REDACTED] world", valid: false, risk: 1.0}, :asked},
      {"sandboxed_cli", environment, [], [], :stubbed},
      {"sandboxed_clocks", {"wasi:clocks/monotonic-clock@0.2.6", :now}, [], 0, :stubbed},
      {"sandboxed_random", random, [], 5_976_869_722_197_606_210, :asked},
      {"sandboxed_wasi", random, [], 5_976_869_722_197_606_210, :stubbed},
      {"shopping_cart", {"golem:it/api", :"get-cart-contents"}, [], [], :asked},
      {"cron", {"wasmcloud:example/cron@0.0.1", :invoke}, [], nil, :asked},
      {"hyperlight_javascript", {"hyperlight:sandbox/executor", :run}, ["console.log('low tide')"],
       %{stdout: "low tide\n", stderr: "", "exit-code": 0}, @both},
      {"hyperlight_python", {"hyperlight:sandbox/executor", :run}, ["print('low tide')"],
       %{stdout: "low tide\n", stderr: "", "exit-code": 0}, @both},
      {"capsule_javascript", capsule, [~s({"task_name": "executeCode", "args": ["6 * 7"]})], ~s({"result":42}), @both},
      {"capsule_python", capsule, [~s({"task_name": "execute_code", "args": ["6 * 7"]})], ~s({"result": 42}), @both},
      {"arcjet_redact", :redact, ["ask ada@shop.example", Map.put(skipped, :"skip-custom-redact", true)], :same,
       :stubbed}
    ] ++
      for component <- ["arcjet", "arcjet_analyze"],
          {export, arguments} <- [
            {:"validate-characteristics", [@request, ["ip.src"]]},
            {:"generate-fingerprint", [@request, ["ip.src", "http.host"]]},
            {:"detect-sensitive-info",
             ["ask ada@shop.example or 203.0.113.7", Map.put(skipped, :entities, {:deny, [:email]})]}
          ] do
        {component, export, arguments, :same, :stubbed}
      end ++
      for codec <- @codecs do
        {"codec_" <> String.replace(codec, "-", "_"), {@codec, :"codec-id"}, [], codec <> ".rs", :stubbed}
      end
  end

  @doc "Component, export, arguments, and what the error's text begins with."
  def fail do
    [
      {"file_service", {"golem:it/api", :"read-file"}, ["/shells"], "failed to find a pre-opened file descriptor",
       :asked}
    ]
  end

  @doc "Component, the interface of its resource."
  def carts, do: [{"cart_resource", "golem:it/api", @resources}, {"cart_versioned", "golem:it/api@1.2.3", @resources}]

  @doc "A component that handles HTTP."
  def http, do: [{"mcp_server", :asked}]

  @doc "A component that never ends by itself."
  def endless, do: [{"cron_service", @host}]

  @doc """
  Component, export, arguments. What their authors left out is `unreachable` there, mostly: they are about their types. `rpc_caller` says
  that its environment lacks what it calls.
  """
  def trap do
    [
      {"adapt_reallocs", :entrypoint, [["x"]], :stubbed},
      {"composed", :m1, ["x"], :asked},
      {"composed_a", :f, [5], :asked},
      {"composed_b", {"x", :m}, ["x"], :stubbed},
      {"exports", {"foo", :b}, ["x"], :asked},
      {"lift_options", {"foo:foo/my-default", :b}, [["x"]], :asked},
      {"link_circular", {"test:test/test", :foo}, [5], :stubbed},
      {"link_dlopen", {"test:test/test", :foo}, [5], :stubbed},
      {"link_got", {"test:test/test", :foo}, [5], :stubbed},
      {"link_weak", {"test:test/test", :foo}, [5], :stubbed},
      {"merged_results", {"example:example/my-interface", :"my-func2"}, [], :stubbed},
      {"names", :g, [], :stubbed},
      {"post_return", :a, [], :asked},
      {"renamed_types", {"foo:foo/i", :"the-func"}, [], :stubbed},
      {"rpc_caller", :test2, [], @both}
    ]
  end

  @doc "Component, reason, and what the message has in it."
  def refused do
    [
      {"async_export", :invalid_module, "async", :asked},
      {"async_import", :invalid_module, "async", @on},
      {"codec_sz3", :invalid_module, "exception", @on},
      {"duplicate_imports", :invalid_module, "root-level component imports", :asked},
      {"initialize", {:trap, :unreachable}, "unreachable", :asked},
      {"link_tag", :invalid_module, "exceptions", @on},
      {"page_sizes", :invalid_module, "custom page sizes", :asked}
    ]
  end

  @doc "All rows: component, what becomes of it, as the README's table says it, and what the row says of wasmtime's command line."
  def rows do
    groups = [
      runs: run(),
      runs: fail(),
      runs: carts(),
      runs: http(),
      runs: endless(),
      traps: trap(),
      refused: refused()
    ]

    for {how, rows} <- groups, row <- rows do
      %{component: elem(row, 0), how: to_string(how), beside: elem(row, tuple_size(row) - 1)}
    end
  end
end
