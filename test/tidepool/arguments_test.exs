defmodule Tidepool.ArgumentsTest do
  # What applications call, called wrongly: every function says what it wants.
  use ExUnit.Case, async: true

  alias Tidepool.{Cluster, Config, Functions, Host, Limits, Peer, Telemetry, Testing}

  # A wrong call, and what the sentence has to have.
  defp calls do
    %{
      {Tidepool, :deploy, 2} => [
        {[:wasm, []], ["Tidepool.deploy/2: the module has to be a binary", "and is :wasm"]},
        {["wasm", %{name: "a"}], ["Tidepool.deploy/2: the options have to be a keyword list", ~s|%{name: "a"}|]},
        {["wasm", [:name]], ["the options have to be a keyword list", "[:name]"]},
        {["wasm", nil], ["the options have to be a keyword list", "nil"]}
      ],
      {Tidepool, :deploy!, 2} => [{[~c"wasm", [name: "a"]], ["the module has to be a binary"]}],
      {Tidepool, :call, 4} => [
        {["a", 'price', "x"],
         ["Tidepool.call/4: the operation has to be a string, nil, an atom or {interface, name}, and is"]},
        {["a", :price, "x"],
         ["Tidepool.call/4: what an export is called with has to be a list or a map of arguments, and is", "\"x\""]},
        {["a", {"shop", :price}, 5], ["has to be a list or a map of arguments, and is 5"]},
        {[:a, "price", "x"], ["Tidepool.call/4: the function's name has to be a string, and is :a"]},
        {[nil, "price"], ["the function's name has to be a string, and is nil"]},
        {["a", "price", :x], ["Tidepool.call/4: the payload has to be a binary or iodata, and is :x"]},
        {["a", "price", %{}], ["the payload has to be a binary or iodata"]},
        {["a", "price", ["x", :y]], ["the payload has to be a binary or iodata", ~s|["x", :y]|]},
        {["a", "price", [256]], ["the payload has to be a binary or iodata"]},
        {["a", "price", <<1::3>>], ["the payload has to be a binary or iodata"]},
        {[:a, "price", ["x"]], ["the function's name"]},
        {["a", nil, "x", [timout: 1]], ["Tidepool.call/4: the option :timout is unknown: did you mean :timeout?"]},
        {["a", nil, "x", [timeout: -1]], ["the option :timeout has to be a number of ms from 0 up, or :infinity"]},
        {["a", nil, "x", [timeout: nil]], ["the option :timeout", "and is nil"]},
        {["a", nil, "x", [timeout: 1.5]], ["the option :timeout", "and is 1.5"]},
        {["a", nil, "x", 5_000], ["the options have to be a keyword list, and are 5000"]},
        {["a", nil, "x", %{timeout: 1}], ["the options have to be a keyword list"]}
      ],
      {Tidepool, :call!, 4} => [
        {["a", 5], ["the operation has to be a string, nil, an atom or {interface, name}, and is 5"]},
        {["a", nil, "x", [timout: 1]], ["did you mean :timeout?"]}
      ],
      {Tidepool, :fetch, 1} => [{[:a], ["Tidepool.fetch/1: the function's name has to be a string, and is :a"]}],
      {Tidepool, :fetch!, 1} => [{[nil], ["the function's name has to be a string"]}],
      {Tidepool, :wasm, 1} => [{[:a], ["Tidepool.wasm/1: the function's name has to be a string, and is :a"]}],
      {Tidepool, :versions, 1} => [
        {[:a], ["Tidepool.versions/1: the function's name has to be a string, and is :a"]}
      ],
      {Tidepool, :rollback, 2} => [
        {[:a], ["Tidepool.rollback/2: the function's name has to be a string, and is :a"]},
        {["a", 2], ["Tidepool.rollback/2: the options have to be a keyword list, and are 2"]},
        {["a", [version: 0]], ["Tidepool.rollback/2: the option :version", "and is 0"]},
        {["a", [vision: 1]], ["did you mean :version?"]}
      ],
      {Tidepool, :remove, 1} => [{[:a], ["Tidepool.remove/1: the function's name has to be a string, and is :a"]}],
      {Host, :register_interface, 3} => [
        {[:interface, __MODULE__], ["the interface has to be a string, the name that", "and is :interface"]},
        {["docs:shop", __MODULE__], [~s|as "docs:shop/prices"|, ~s|and is "docs:shop"|]},
        {["wasi:cli/environment@0.2.0", __MODULE__], ["is WASI's", "`net`, `files`, `keyvalue` and `config`"]},
        {["a:b/c", "module"], ["the module has to be a module that is loaded, and is \"module\""]},
        {["a:b/c", NoModule], ["the module has to be a module that is loaded"]}
      ],
      {Host, :register, 3} => [
        {[{"a", "b", "c"}, &Function.identity/1, [rum: :inline]],
         ["Tidepool.Host.register/3: the option :rum is unknown: did you mean :run?"]},
        {[{"a", "b", "c"}, &Function.identity/1, :inline], ["the options have to be a keyword list, and are :inline"]},
        {[{"a", "b"}, &Function.identity/1],
         ["a target is {binding, namespace, operation}, each a string or :_", ~s|{"a", "b"}|]},
        {[{"a", :b, "c"}, &Function.identity/1], ["a target is", ~s|{"a", :b, "c"}|]},
        {["a/b/c", &Function.identity/1], ["a target is", ~s|"a/b/c"|]},
        {[{"a", "b", "c"}, fn -> :ok end],
         ["a handler is a function of one argument, {module, function}, or a GenServer's"]},
        {[{"a", "b", "c"}, nil], ["a handler is", "not nil"]},
        {[{"a", "b", "c"}, "name"], ["a handler is", ~s|not "name"|]}
      ],
      {Host, :unanswered, 1} => [
        {["shop"],
         ["Tidepool.Host.unanswered/1: the function has to be one, as Tidepool.fetch/1 has it, and is", "shop"]}
      ],
      {Host, :unregister, 2} => [
        {[{"a", "b"}], ["a target is"]},
        {[nil], ["a target is", "not nil"]},
        {[{"a", "b", "c"}, [namspace: "a"]], ["did you mean :namespace?"]},
        {[{"a", "b", "c"}, [namespace: "a/b"]], ["the option :namespace", "and is", "a/b"]}
      ],
      {Host, :reply, 2} => [
        {[:ref, {:ok, ""}],
         ["Tidepool.Host.reply/2: the ref has to be the one that the host call came with, and is :ref"]},
        {[make_ref(), "bytes"],
         ["the answer has to be {:ok, bytes}, {:ok, value} for an import, or {:error, bytes}", ~s|"bytes"|]},
        {[make_ref(), {:error, :bytes}], ["the answer has to be"]},
        {[make_ref(), {:done, "bytes"}], ["the answer has to be"]}
      ],
      {Functions, :child_spec, 1} => [
        {["a.wasm"], ["Tidepool.Functions: its argument has to be a list of functions", ~s|"a.wasm"|]},
        {[["a.wasm"]],
         ["Tidepool.Functions: a function has to be {name, source} or {name, source, options}", ~s|"a.wasm"|]},
        {[[{"a", :b}]], ["a function has to be"]},
        {[[{"a", {"b", "c"}}]], ["a function has to be"]},
        {[[{1, "a.wasm"}]], ["a function has to be"]},
        {[[{nil, "a.wasm"}]], ["a function has to be"]},
        {[[{"a", "a.wasm", :warm}]], ["a function has to be"]},
        {[[{"a", "a.wasm", name: "b"}]], [~s|the name of "a" is its first element, not an option|]},
        {[[{"a", "a.wasm"}, {:a, "b.wasm"}]], [~s|Tidepool.Functions: "a" is there twice|]}
      ],
      {Testing, :deploy!, 2} => [
        {[:wasm], ["the module has to be a binary"]},
        {["wasm", :warm], ["Tidepool.Testing.deploy!/2: the options have to be a keyword list, and are :warm"]},
        {["wasm", [name: :a]], ["Tidepool.Testing.deploy!/2: the name has to be a string, and is :a"]}
      ],
      {Testing, :handle, 3} => [
        {[{"a", "b", "c"}, self(), [run: :inline]], ["the option :run is for handlers that are functions"]},
        {["a/b/c", &Function.identity/1], ["a target is"]},
        {[{"a", "b", "c"}, 5], ["a handler is"]}
      ],
      {Testing, :allow, 1} => [
        {["pid"], ["Tidepool.Testing.allow/1: the process has to be a pid or the name of one"]},
        {[:nobody_at_all], ["the process has to be", ":nobody_at_all"]}
      ],
      {Testing, :guest, 1} => [{[:gost], ["has to be one of :echo, :fail, :host, :loop, :trap, and is :gost"]}],
      {Config, :get, 1} => [
        {[:prot], ["the setting :prot is unknown: did you mean :port?"]},
        {["port"], ["the setting \"port\" is unknown: settings are atoms"]}
      ],
      {Telemetry, :attach_default_logger, 1} => [
        {[:loud], ["the options have to be a keyword list, and are :loud"]},
        {[[level: :loud]], ["Tidepool.Telemetry.attach_default_logger/1: the option :level has to be one of", ":loud"]},
        {[[events: [:calls]]], ["the option :events has to be :all or a list with any of :call", "[:calls]"]},
        {[[events: []]], ["the option :events", "[]"]},
        {[[encoded: true]], ["did you mean :encode?"]}
      ],
      {Telemetry, :attach, 4} => [
        {["id", [[:tidepool, :call, :end]], &__MODULE__.handle/4], ["there is no event [:tidepool, :call, :end]"]},
        {["id", :call, &__MODULE__.handle/4],
         ["Tidepool.Telemetry.attach/4: what to attach to has to be a list of events"]},
        {["id", [], :handler], ["Tidepool.Telemetry.attach/4: the handler has to be a function of four arguments"]},
        {["id", [], &Function.identity/1], ["the handler has to be a function of four arguments"]}
      ],
      {Cluster, :forget, 1} => [
        {[{"b", 1}],
         ["Tidepool.Cluster.forget/1: the node has to be its name, an atom or a string, and is {\"b\", 1}"]},
        {[nil], ["the node has to be its name"]}
      ],
      {Cluster, :wait, 3} => [
        {[:a, :all, 1], ["Tidepool.Cluster.wait/3: the function has to be one, or its name, a string, and is :a"]},
        {["a", :some, 1], ["the extent has to be :local, :majority or :all, and is :some"]},
        {["a", :all, -1], ["the timeout has to be a number of ms from 0 to 3600000, and is -1"]},
        {["a", :all, 3_600_001], ["the timeout has to be a number of ms from 0 to 3600000"]},
        {["a", :all, Integer.pow(10, 31)], ["the timeout has to be a number of ms from 0 to 3600000"]},
        {["a", :all, :infinity], ["the timeout has to be a number of ms"]}
      ]
    }
  end

  # Any term is an id of a handler.
  @any [{Telemetry, :detach, 1}]

  @modules [Tidepool, Host, Functions, Testing, Telemetry, Cluster, Limits]

  def handle(_event, _measurements, _metadata, _config), do: :ok

  test "every documented function of the public modules says in a sentence what it wants instead of a wrong argument" do
    for module <- @modules do
      {:docs_v1, _line, _language, _format, _doc, _metadata, functions} = Code.fetch_docs(module)

      for {{:function, name, arity}, _line, _signature, %{"en" => _doc}, _metadata} <- functions,
          arity > 0,
          {module, name, arity} not in @any do
        assert is_map_key(calls(), {module, name, arity}),
               "no wrong call of #{inspect(module)}.#{name}/#{arity} is tried"
      end
    end

    for {{module, name, arity}, calls} <- calls(), {arguments, parts} <- calls do
      assert length(arguments) <= arity
      error = catch_error(apply(module, name, arguments))
      call = "#{inspect(module)}.#{name}(#{Enum.map_join(arguments, ", ", &inspect/1)})"
      assert %ArgumentError{message: message} = error, "#{call} fails with #{inspect(error)}"
      for part <- parts, do: assert(message =~ part, "#{call} says: #{message}")
    end
  end

  test "before Tidepool is started it is said to be so" do
    peer = Peer.boot!()

    functions = [
      call: ["a", nil],
      call!: ["a", nil],
      deploy: ["wasm", [name: "a"]],
      deploy!: ["wasm", [name: "a"]],
      exchange: ["a", "GET /", nil],
      fetch: ["a"],
      fetch!: ["a"],
      list: [],
      remove: ["a"],
      rollback: ["a"],
      versions: ["a"],
      wasm: ["a"]
    ]

    assert Enum.sort(Keyword.keys(functions)) ==
             (Tidepool.__info__(:functions) |> Keyword.keys() |> Enum.uniq()) -- [:timeout?, :version?]

    for {function, arguments} <- functions do
      assert_raise ArgumentError, ~r/Tidepool has not been started/, fn ->
        Peer.call(peer, Tidepool, function, arguments)
      end
    end
  end

  test "a setting that there is not shows none of the others" do
    error = catch_error(Config.get(:no_setting))
    refute Exception.message(error) =~ Config.get(:data)
  end

  test "what a wrong argument holds does not make the sentence long" do
    error = catch_error(Tidepool.call("a", nil, [String.duplicate("x", 100_000), :y]))
    assert byte_size(Exception.message(error)) < 1_000
    error = catch_error(Tidepool.call("a", nil, Enum.to_list(300..100_000)))
    assert byte_size(Exception.message(error)) < 1_000
  end
end
