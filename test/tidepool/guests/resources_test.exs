defmodule Tidepool.ResourcesTest do
  # Resources of a component in an instance that is kept: what handles are good for, and when they end.
  use Tidepool.Case, async: true

  import Tidepool.Property, only: [assert_holds: 3, types: 0]

  alias Tidepool.{Error, Instance, Resource}

  @counters "docs:counter/counters"

  setup do
    Process.flag(:trap_exit, true)
    name = deploy!("component", "counters")
    %{name: name, instance: start!(name)}
  end

  defp start!(name) do
    {:ok, instance} = Instance.start_link(name)
    instance
  end

  defp new!(instance, start) do
    {:ok, counter} = Instance.new(instance, {@counters, "counter"}, [start])
    counter
  end

  # What is refused for an argument, with its place; the text.
  defp refused(outcome, path) do
    assert {:error, %Error{reason: :invalid_arguments, details: %{path: ^path}, message: message}} = outcome
    message
  end

  test "methods find what those before have left, each of its own", %{instance: instance} do
    {one, other} = {new!(instance, 40), new!(instance, 1)}
    assert Instance.call(instance, {one, :increment}, [2]) == {:ok, 42}
    assert Instance.call(instance, {other, "increment"}, %{by: 1}) == {:ok, 2}
    assert Instance.call(instance, {one, :value}) == {:ok, 42}
    assert Instance.call(instance, {"#{@counters}@1.0.0", "[method]counter.value"}, [other]) == {:ok, 2}
    assert Instance.call(instance, :"counter.value", [other]) == {:ok, 2}
    assert Instance.call(instance, :alive) == {:ok, 2}
    # What is not named any more may be gone: these are, here.
    assert Instance.call(instance, :total, [[one, other]]) == {:ok, 44}
    assert Resource.type(one) == "docs:counter/counters@1.0.0#counter"
    assert inspect(one) == "#Tidepool.Resource<docs:counter/counters@1.0.0#counter>"
  end

  test "it tells the functions of its component: interface, name, and types as in WIT, those of resources too", %{
    name: name,
    instance: instance
  } do
    assert {:ok, exports} = Instance.exports(instance)
    interface = "#{@counters}@1.0.0"

    for {function, names, params, results} <- [
          {"[constructor]counter", ["start"], ["u32"], ["counter"]},
          {"[method]counter.increment", ["self", "by"], ["borrow<counter>", "u32"], ["u32"]},
          {"[static]counter.merge", ["one", "other"], ["counter", "counter"], ["counter"]},
          {"checked", ["start"], ["u32"], ["result<counter, string>"]}
        ] do
      assert %{
               name: "#{interface}##{function}",
               kind: :function,
               interface: interface,
               function: function,
               names: names,
               params: params,
               results: results,
               uncallable: nil
             } in exports
    end

    assert %{interface: nil, function: "unlabel", params: ["labelled"], results: ["option<counter>"]} =
             find(exports, "unlabel")

    # What GET says of the function, with what only a kept instance can call.
    {:ok, %{"functions" => told}} = Tidepool.Native.json_decode(Tidepool.fetch!(name).interface)

    assert Enum.map(exports, &{&1.name, &1.names, &1.params}) ==
             Enum.map(told, &{&1["name"], param(&1, "name"), param(&1, "type")})
  end

  defp find(exports, name), do: Enum.find(exports, &(&1.name == name))
  defp param(export, key), do: Enum.map(export["params"], & &1[key])

  test "it tells the functions of any component, those that are in no interface, too" do
    {:ok, exports} = Instance.exports(start!(deploy!("component", "calc")))

    assert %{name: "docs:adder/add@0.1.0#add", names: ["one", "other"], params: ["u32", "u32"], results: ["u32"]} =
             hd(exports)

    instance = start!(deploy!("component", "values"))
    {:ok, exports} = Instance.exports(instance)
    assert %{interface: nil, function: "people", params: ["list<person>"]} = find(exports, "people")
    assert Enum.all?(exports, &match?(%{kind: :function, uncallable: nil}, &1))
  end

  test "a process that is sent a handle has it as well", %{instance: instance} do
    counter = new!(instance, 7)
    assert Task.await(Task.async(fn -> Instance.call(instance, {counter, :increment}, [1]) end), 60_000) == {:ok, 8}
    assert Instance.call(instance, {:erlang.binary_to_term(:erlang.term_to_binary(counter)), :value}) == {:ok, 8}
  end

  test "handles are in lists, records, options and results, as arguments and as results", %{instance: instance} do
    assert {:ok, [one, two, three] = all} = Instance.call(instance, :many, [[1, 2, 3]])
    assert Instance.call(instance, :total, [all]) == {:ok, 6}
    assert Instance.call(instance, :total, [[one, one, one]]) == {:ok, 3}
    assert {:ok, %{name: "two", counter: labelled} = record} = Instance.call(instance, :label, ["two", two])
    assert Instance.call(instance, {labelled, :value}) == {:ok, 2}
    assert {:ok, {:some, back}} = Instance.call(instance, :unlabel, [record])
    assert Instance.call(instance, {back, :value}) == {:ok, 2}
    assert Instance.call(instance, :unlabel, [%{name: "", counter: back}]) == {:ok, :none}
    assert Instance.call(instance, :alive) == {:ok, 2}
    assert Instance.call(instance, {one, :value}) == {:ok, 1}
    assert {:ok, checked} = Instance.call(instance, :checked, [5])
    assert {:error, %Error{reason: :guest_error}} = Instance.call(instance, :checked, [101])
    assert {:ok, sum} = Instance.call(instance, {@counters, "counter.merge"}, [three, checked])
    assert Instance.call(instance, {sum, :value}) == {:ok, 8}
  end

  test "one that is gone is refused with its place", %{instance: instance} do
    {one, other} = {new!(instance, 1), new!(instance, 2)}
    assert Instance.drop(instance, one) == :ok
    assert Instance.call(instance, :alive) == {:ok, 1}
    assert Instance.call(instance, {other, :value}) == {:ok, 2}
    assert refused(Instance.call(instance, {one, :value}), "self") =~ "was dropped, or given away"
    assert refused(Instance.drop(instance, one), "1") =~ "was dropped, or given away"
    assert refused(Instance.call(instance, :total, [[other, one]]), "counters.1") =~ "dropped"
    assert refused(Instance.call(instance, :unlabel, [%{name: "a", counter: one}]), "it.counter") =~ "dropped"
    # Nothing of a call that was refused is taken.
    assert refused(Instance.call(instance, :"counter.merge", [other, one]), "other") =~ "dropped"
    assert refused(Instance.call(instance, :"counter.merge", [other, other]), "other") =~ "in the same call"
    assert Instance.call(instance, {other, :value}) == {:ok, 2}
    assert {:ok, _labelled} = Instance.call(instance, :label, ["a", other])
    assert refused(Instance.call(instance, {other, :value}), "self") =~ "given away"
  end

  test "another instance's, a made up one and what is none are refused with their place", %{
    name: name,
    instance: instance
  } do
    another = start!(name)
    {own, foreign} = {new!(instance, 1), new!(another, 2)}
    assert refused(Instance.call(instance, {foreign, :value}), "self") =~ "of another instance"
    assert refused(Instance.drop(instance, foreign), "1") =~ "of another instance"
    assert refused(Instance.call(instance, :total, [[own, foreign]]), "counters.1") =~ "of another instance"
    assert Instance.call(another, {foreign, :value}) == {:ok, 2}

    assert refused(Instance.call(instance, {Resource.new(:own), :value} |> typed(own)), "self") =~
             "a resource of the guest"

    for reference <- [make_ref(), self(), nil, 1, Tidepool.Engine.runtime()] do
      forged = Map.put(own, :ref, reference)
      assert refused(Instance.call(instance, {forged, :value}), "1") =~ "a resource that this node does not have"
      assert refused(Instance.call(instance, :total, [[own, forged]]), "1.1") =~ "does not have"
    end

    for other <- [1, "counter", nil, %{}, {own, own}] do
      assert refused(Instance.call(instance, :total, [[other]]), "counters.0") =~ "has to be a resource"
    end

    # Of another interface, by its name alone.
    assert {:error, %Error{reason: :no_export}} = Instance.call(instance, {%{own | type: "docs:a/b#c"}, :value})
    assert Instance.call(instance, {own, :value}) == {:ok, 1}
  end

  defp typed({resource, method}, like), do: {%{resource | type: like.type}, method}

  test "one whose handle nobody has any more is dropped before the next call", %{instance: instance} do
    kept = new!(instance, 1)
    # What a process has made is gone with it.
    :ok = Task.await(Task.async(fn -> for(start <- 1..50, do: new!(instance, start)) && :ok end), 60_000)

    eventually(fn ->
      :erlang.garbage_collect(instance)
      Instance.call(instance, :alive) == {:ok, 1}
    end)

    assert Instance.call(instance, {kept, :value}) == {:ok, 1}
  end

  test "callers have no more of them than they may, and go on when some are dropped", %{instance: instance} do
    handles = for start <- 1..16_384, do: new!(instance, start)

    assert {:error, %Error{reason: :invalid_arguments, message: message}} = Instance.new(instance, :counter, [0])
    assert message =~ "drop some of them"
    assert Instance.drop(instance, hd(handles)) == :ok
    assert {:ok, more} = Instance.new(instance, :counter, [5])
    assert Instance.call(instance, {more, :value}) == {:ok, 5}
    assert Instance.call(instance, {List.last(handles), :value}) == {:ok, 16_384}
  end

  test "a million of the guest's own end it at 65,536", %{instance: instance} do
    assert {:error, %Error{reason: {:trap, _kind}}} = Instance.call(instance, :hoard, [1_000_000])
    assert_receive {:EXIT, ^instance, {:shutdown, {:spent, _error}}}
  end

  test "a method that traps ends the instance, and all its handles with it", %{name: name, instance: instance} do
    {one, other} = {new!(instance, 1), new!(instance, 2)}
    assert {:error, %Error{reason: {:trap, :unreachable}}} = Instance.call(instance, {one, :crash})
    assert_receive {:EXIT, ^instance, {:shutdown, {:spent, _error}}}
    assert {:error, %Error{reason: :unavailable}} = Instance.call(instance, {other, :value})
    assert refused(Instance.call(start!(name), {other, :value}), "self") =~ "of another instance"
  end

  test "a destructor that traps ends the instance", %{instance: instance} do
    counter = new!(instance, 666)
    assert {:error, %Error{reason: {:trap, :unreachable}}} = Instance.drop(instance, counter)
    assert_receive {:EXIT, ^instance, {:shutdown, {:spent, _error}}}
  end

  test "one who is killed while a method runs takes the instance along, and frees its place" do
    name = deploy!("component", "counters", limits: [instances: 1, queue: 1, cpu_time: 60_000, time: 60_000])
    instance = start!(name)
    counter = new!(instance, 1)
    test = self()
    spawn(fn -> send(test, {:ended, Instance.call(instance, {counter, :spin})}) end)

    eventually(fn -> running?(instance) end)
    Process.exit(instance, :kill)
    assert_receive {:ended, {:error, %Error{reason: :unknown_outcome}}}
    another = start!(name)
    assert refused(Instance.call(another, {counter, :value}), "self") =~ "of another instance"
    assert Instance.call(another, :alive) == {:ok, 0}
  end

  # Has the call come that was made last, and been begun?
  defp running?(instance) do
    case Process.info(instance, [:current_function, :message_queue_len]) do
      [current_function: {:gen_server, :loop, _arity}, message_queue_len: _any] -> false
      [current_function: _guest, message_queue_len: length] -> length == 0
    end
  end

  test "calls of instances that are not kept, and JSON, are refused with a sentence that says where to go", %{
    name: name,
    instance: instance
  } do
    counter = new!(instance, 1)

    for outcome <- [
          Tidepool.call(name, :"[constructor]counter", [1]),
          Tidepool.call(name, :"counter.value", [counter]),
          Tidepool.call(name, "counter.value", "[1]"),
          Tidepool.call(name, :checked, [1]),
          Instance.call(instance, "counter.value", "[1]"),
          Instance.call(instance, "many", "[[1]]")
        ] do
      assert {:error, %Error{reason: :invalid_arguments, message: message}} = outcome
      assert message =~ "resource: `Tidepool.Instance`, which keeps an instance, calls it with values"
    end

    assert {:error, %Error{reason: :invalid_arguments}} = Instance.call(instance, "[resource-drop]", "[1]")
    assert {:error, %Error{reason: :invalid_arguments}} = Tidepool.call(name, :"[resource-drop]", [counter])
    assert Instance.call(instance, {counter, :value}) == {:ok, 1}
  end

  test "wrong arguments raise with what is wanted instead", %{instance: instance} do
    counter = new!(instance, 1)

    for {call, text} <- [
          {fn -> Instance.new(instance, 5) end, "the resource has to be a string, an atom or {interface, name}"},
          {fn -> Instance.new(instance, nil) end, "the resource has to be a string, an atom or {interface, name}"},
          {fn -> Instance.new(instance, :counter, 5) end, "a list or a map of arguments"},
          {fn -> Instance.new(instance, :counter, [1], timeout: -1) end, "a number of ms"},
          {fn -> Instance.drop(instance, 5) end, "what to drop has to be a Tidepool.Resource"},
          {fn -> Instance.call(instance, {counter, 5}) end, "the operation has to be"},
          {fn -> Instance.call(instance, {counter, nil}) end, "the operation has to be"},
          {fn -> Instance.call(instance, {counter, :value}, 5) end, "a list or a map of arguments"},
          {fn -> Instance.call(instance, {Resource.new(1), :value}) end, "the operation has to be"},
          {fn -> Resource.new(1, :drop) end, "a function of one argument, or nil"},
          {fn -> Resource.fetch!(counter) end, "none of the host's, or has ended"}
        ] do
      assert_raise ArgumentError, ~r/#{Regex.escape(text)}/, call
    end
  end

  test "whatever is made, called, lent, given away and dropped, the guest has what a model has", %{name: name} do
    step =
      types().oneof([
        {:new, types().integer(0, 9)},
        {:many, types().list(types().integer(0, 9))},
        {:increment, types().integer(0, 5), types().integer(0, 9)},
        {:drop, types().integer(0, 5)},
        {:merge, types().integer(0, 5), types().integer(0, 5)},
        {:total, types().list(types().integer(0, 5))},
        :forget
      ])

    assert_holds(
      types().list(step),
      fn steps ->
        {:ok, instance} = Instance.start(name)
        model = Enum.reduce(steps, [], &run(&1, &2, instance))

        {:ok, left} = Instance.call(instance, :alive)

        # Named after that, those of the model are there until now.
        for {handle, value} <- model, value != nil do
          assert Instance.call(instance, {handle, :value}) == {:ok, value}
        end

        alive = Enum.count(model, fn {_handle, value} -> value != nil end)
        GenServer.stop(instance)
        # Those that were forgotten may be there until garbage is collected.
        left >= alive
      end,
      sample(60, 1_000)
    )
  end

  # The model is a list of handles with their values; `nil` of one that is gone.
  defp run({:new, start}, model, instance), do: [{new!(instance, start), start} | model]

  defp run({:many, starts}, model, instance) do
    {:ok, handles} = Instance.call(instance, :many, [starts])
    Enum.zip(handles, starts) ++ model
  end

  defp run({:increment, at, by}, model, instance) do
    case Enum.at(model, at) do
      nil ->
        model

      {handle, nil} ->
        refused(Instance.call(instance, {handle, :increment}, [by]), "self")
        model

      {handle, value} ->
        assert Instance.call(instance, {handle, :increment}, [by]) == {:ok, value + by}
        List.replace_at(model, at, {handle, value + by})
    end
  end

  defp run({:drop, at}, model, instance) do
    case Enum.at(model, at) do
      nil ->
        model

      {handle, nil} ->
        refused(Instance.drop(instance, handle), "1")
        model

      {handle, _value} ->
        assert Instance.drop(instance, handle) == :ok
        List.replace_at(model, at, {handle, nil})
    end
  end

  defp run({:merge, at, other}, model, instance) do
    with {one, _value} <- Enum.at(model, at), {two, _value} <- Enum.at(model, other) do
      {first, second} = {model |> Enum.at(at) |> elem(1), model |> Enum.at(other) |> elem(1)}
      outcome = Instance.call(instance, :"counter.merge", [one, two])

      if at == other or first == nil or second == nil do
        assert {:error, %Error{reason: :invalid_arguments}} = outcome
        model
      else
        {:ok, sum} = outcome
        gone = model |> List.replace_at(at, {one, nil}) |> List.replace_at(other, {two, nil})
        [{sum, first + second} | gone]
      end
    else
      nil -> model
    end
  end

  defp run({:total, places}, model, instance) do
    chosen = for at <- places, found = Enum.at(model, at), do: found
    outcome = Instance.call(instance, :total, [Enum.map(chosen, &elem(&1, 0))])

    case Enum.find_index(chosen, fn {_handle, value} -> value == nil end) do
      nil -> assert outcome == {:ok, chosen |> Enum.map(&elem(&1, 1)) |> Enum.sum()}
      at -> refused(outcome, "counters.#{at}")
    end

    model
  end

  defp run(:forget, [], _instance), do: []
  defp run(:forget, [_first | model], _instance), do: model
end
