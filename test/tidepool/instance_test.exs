defmodule Tidepool.InstanceTest do
  # A process that keeps an instance: what its calls leave, what can be seen and changed of it between them, and how it ends.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Instance}

  @page 65_536

  setup do
    Process.flag(:trap_exit, true)
    %{numbers: deploy!("wat", "numbers"), reactor: deploy!("wat", "reactor", limits: [memory: 3 * @page])}
  end

  defp start!(function, options \\ []) do
    {:ok, instance} = Instance.start_link(function, options)
    instance
  end

  test "its calls find what those before have left, and nothing of others", %{numbers: numbers} do
    {one, other} = {start!(numbers), start!(numbers)}
    assert for(_call <- 1..3, do: Instance.call(one, :count)) == [{:ok, 1}, {:ok, 2}, {:ok, 3}]
    assert Instance.call(other, :count) == {:ok, 1}
    assert Instance.call(one, "add", "[19,23]") == {:ok, "42"}
    assert_no_stray_messages()
  end

  test "its globals are read and set", %{numbers: numbers, reactor: reactor} do
    instance = start!(numbers)
    assert Instance.get_global(instance, "calls") == {:ok, 0}
    assert Instance.call(instance, :count) == {:ok, 1}
    assert Instance.get_global(instance, "calls") == {:ok, 1}
    assert Instance.set_global(instance, "calls", 41) == :ok
    assert Instance.call(instance, :count) == {:ok, 42}
    assert Instance.set_global(instance, "calls", 0xFFFF_FFFF) == :ok
    assert Instance.get_global(instance, "calls") == {:ok, -1}

    other = start!(reactor)
    assert Instance.get_global(other, "answer") == {:ok, -42}
    assert Instance.get_global(other, "half") == {:ok, 0.5}
    assert Instance.set_global(other, "half", :infinity) == :ok
    assert Instance.get_global(other, "half") == {:ok, :infinity}

    for {outcome, reason} <- [
          {Instance.set_global(other, "answer", 1), :invalid_arguments},
          {Instance.get_global(other, "reference"), :invalid_arguments},
          {Instance.set_global(other, "reference", 1), :invalid_arguments},
          {Instance.set_global(instance, "calls", 1.5), :invalid_arguments},
          {Instance.set_global(instance, "calls", 4_294_967_296), :invalid_arguments},
          {Instance.set_global(instance, "calls", self()), :invalid_arguments},
          {Instance.set_global(instance, "calls", [1 | 2]), :invalid_arguments},
          {Instance.get_global(instance, "add"), :no_export},
          {Instance.get_global(instance, "memory"), :no_export},
          {Instance.get_global(instance, "nope"), :no_export},
          {Instance.get_global(instance, <<0, 1>>), :no_export}
        ] do
      assert {:error, %Error{reason: ^reason}} = outcome
    end

    assert Instance.get_global(instance, "calls") == {:ok, -1}
  end

  test "its memory is read and written, and grows within its limits", %{reactor: reactor} do
    instance = start!(reactor)
    assert Instance.memory_size(instance) == {:ok, @page}
    assert Instance.read_memory(instance, 32, 5) == {:ok, "tide\n"}
    assert Instance.write_memory(instance, 100, <<7, 8>>) == :ok
    assert Instance.call(instance, :load, [101]) == {:ok, 8}
    assert Instance.grow_memory(instance, 1) == {:ok, 1}
    assert Instance.grow_memory(instance, 0) == {:ok, 2}
    assert Instance.memory_size(instance) == {:ok, 2 * @page}
    assert Instance.read_memory(instance, 2 * @page - 1, 1) == {:ok, <<0>>}
    # What is written last stays where it was when the memory grows.
    assert Instance.write_memory(instance, 2 * @page - 1, <<9>>) == :ok
    assert Instance.grow_memory(instance, 1) == {:ok, 2}
    assert Instance.call(instance, :load, [2 * @page - 1]) == {:ok, 9}
    assert {:error, %Error{reason: {:limit, :memory}, details: %{allowed: 196_608}}} = Instance.grow_memory(instance, 1)
    # A refusal is none of the guest's next call.
    assert {:error, %Error{reason: {:trap, :memory_out_of_bounds}}} = Instance.call(instance, :load, [-1])
  end

  test "what is not within its memory is refused, and changes nothing", %{reactor: reactor} do
    instance = start!(reactor)
    largest = 0xFFFF_FFFF_FFFF_FFFF

    for {offset, length} <- [{@page, 1}, {@page - 1, 2}, {0, @page + 1}, {largest, 1}, {largest, largest}, {1, largest}] do
      assert {:error, %Error{reason: :invalid_arguments}} = Instance.read_memory(instance, offset, length)
    end

    assert Instance.read_memory(instance, @page, 0) == {:ok, ""}
    assert {:error, %Error{reason: :invalid_arguments}} = Instance.read_memory(instance, @page + 1, 0)

    for {offset, bytes} <- [{@page, "a"}, {@page - 1, "ab"}, {0, :binary.copy("a", 2_000_000)}, {largest, "a"}] do
      assert {:error, %Error{reason: :invalid_arguments}} = Instance.write_memory(instance, offset, bytes)
    end

    assert Instance.read_memory(instance, @page - 1, 1) == {:ok, <<0>>}
    for pages <- [4, largest], do: assert({:error, %Error{}} = Instance.grow_memory(instance, pages))
    assert Instance.memory_size(instance) == {:ok, @page}
  end

  test "a memory of some MiB is read and written in one piece", %{} do
    instance = start!(deploy!("wat", "numbers", limits: [memory: 64 * 1_048_576]))
    assert {:ok, 1} = Instance.grow_memory(instance, 319)
    bytes = :crypto.strong_rand_bytes(20 * 1_048_576)
    assert Instance.write_memory(instance, 0, bytes) == :ok
    assert Instance.read_memory(instance, 0, byte_size(bytes)) == {:ok, bytes}
  end

  test "the module's own limit of memory is none of the function's" do
    instance = start!(deploy!("wat", "reactor"))
    assert {:error, %Error{reason: :invalid_arguments}} = Instance.grow_memory(instance, 4)
    assert {:ok, 1} = Instance.grow_memory(instance, 3)
  end

  test "without a memory it has calls and globals all the same" do
    instance = start!(deploy!("wat", "bare"))
    assert Instance.call(instance, :f32, [0.1]) == {:ok, 0.1}

    for outcome <- [
          Instance.memory_size(instance),
          Instance.read_memory(instance, 0, 0),
          Instance.write_memory(instance, 0, ""),
          Instance.grow_memory(instance, 1)
        ] do
      assert {:error, %Error{reason: :no_export}} = outcome
    end
  end

  test "it tells what its module exports", %{numbers: numbers} do
    assert {:ok, exports} = Instance.exports(start!(numbers))
    assert %{name: "memory", kind: :memory} in exports
    assert %{name: "calls", kind: :global, type: "i32", mutable: true} in exports
    assert %{name: "swap", kind: :function, params: ["i32", "f64"], results: ["f64", "i32"]} in exports
    assert Enum.all?(exports, &(not String.starts_with?(&1.name, "tidepool:")))
  end

  test "wrong calls leave it as it is", %{numbers: numbers} do
    instance = start!(numbers)
    assert Instance.call(instance, :count) == {:ok, 1}
    assert {:error, %Error{reason: :invalid_arguments, details: %{path: "2"}}} = Instance.call(instance, :add, [1, "2"])
    assert {:error, %Error{reason: :invalid_arguments}} = Instance.call(instance, :add, [1 | 2])
    assert {:error, %Error{reason: :no_export}} = Instance.call(instance, :nope)
    assert Instance.call(instance, :count) == {:ok, 2}
  end

  test "a call that traps, or is stopped, is its end: those who wait are told that they have not run" do
    numbers = deploy!("wat", "numbers", limits: [cpu_time: 300, time: 20_000])
    instance = start!(numbers)
    assert {:error, %Error{reason: {:trap, :integer_division_by_zero}} = error} = Instance.call(instance, :crash, [0])
    assert_receive {:EXIT, ^instance, {:shutdown, {:spent, ^error}}}
    assert {:error, %Error{reason: :unavailable}} = Instance.call(instance, :count)

    instance = start!(numbers)
    spinning = asked(fn -> Instance.call(instance, :spin) end)
    eventually(fn -> running?(instance) end)
    waiting = asked(fn -> Instance.call(instance, :count) end)
    assert_receive {^spinning, {:error, %Error{reason: {:limit, :cpu_time}}}}
    assert_receive {^waiting, {:error, %Error{reason: :unavailable}}}
    assert_receive {:EXIT, ^instance, {:shutdown, {:spent, %Error{reason: {:limit, :cpu_time}}}}}
    assert_no_stray_messages()
  end

  # Has another process ask; its answer comes with the reference.
  defp asked(ask) do
    {test, ref} = {self(), make_ref()}
    spawn(fn -> send(test, {ref, ask.()}) end)
    ref
  end

  # Has the call come that was made last, and been begun?
  defp running?(instance) do
    case Process.info(instance, [:current_function, :message_queue_len]) do
      [current_function: {:gen_server, :loop, _arity}, message_queue_len: _any] -> false
      [current_function: _guest, message_queue_len: length] -> length == 0
      nil -> false
    end
  end

  test "under a supervisor it is there again after its end, by its name, and as new", %{numbers: numbers} do
    name = :"#{unique_name("instance")}"
    start_supervised!({Instance, function: numbers, name: name})
    assert Instance.call(name, :count) == {:ok, 1}
    assert Instance.call(name, :count) == {:ok, 2}
    assert {:error, %Error{}} = Instance.call(name, :crash, [0])
    eventually(fn -> Instance.call(name, :count) == {:ok, 1} end)
  end

  test "its owner's end is its end, and frees its place" do
    numbers = deploy!("wat", "numbers", limits: [instances: 1, queue: 1, time: 10_000])
    test = self()

    owner =
      spawn(fn ->
        send(test, {:started, Instance.start_link(numbers)})
        Process.sleep(:infinity)
      end)

    assert_receive {:started, {:ok, instance}}
    # It has the only place, called or not.
    assert {:error, %Error{reason: :overloaded}} = Tidepool.call(numbers, :nothing, [], timeout: 50)
    assert Instance.call(instance, :count) == {:ok, 1}
    Process.exit(owner, :kill)
    assert Tidepool.call(numbers, :nothing) == {:ok, nil}
  end

  test "it stays with the version that it was made from", %{numbers: numbers} do
    instance = start!(numbers)
    assert Instance.call(instance, :count) == {:ok, 1}
    {:ok, %{version: 2}} = Tidepool.deploy(guest("rust", "calc"), name: numbers)
    assert Instance.call(instance, :count) == {:ok, 2}
    :ok = Tidepool.remove(numbers)
    assert Instance.call(instance, :count) == {:ok, 3}
  end

  test "that can't be made is refused with the reason" do
    assert {:error, %Error{reason: :not_deployed}} = Instance.start_link("nobody")
    # What has no export that could be called, or none after its first.
    for {language, guest, instead} <- [
          {"wat", "wasi_yield", "`Tidepool.Process`"},
          {"rust", "upper_command", "`Tidepool.Process`"},
          {"rust", "http", "/call/NAME/..."}
        ] do
      assert {:error, %Error{reason: :invalid_config, message: message}} = Instance.start_link(deploy!(language, guest))

      assert message =~ instead
    end

    full = deploy!("wat", "numbers", limits: [instances: 1, queue: 0, time: 10_000])
    start!(full)
    assert {:error, %Error{reason: :overloaded}} = Instance.start_link(full)
    for _exit <- 1..5, do: assert_receive({:EXIT, _pid, {:shutdown, %Error{}}})
  end

  test "one who does not wait longer is told so, and gets no late answer" do
    numbers = deploy!("wat", "numbers", limits: [cpu_time: 60_000, time: 60_000])
    instance = start!(numbers)
    spinning = asked(fn -> Instance.call(instance, :spin, [], timeout: 2_000) end)
    eventually(fn -> running?(instance) end)
    assert {:error, %Error{reason: :timeout}} = Instance.call(instance, :count, [], timeout: 10)
    assert_receive {^spinning, {:error, %Error{reason: :timeout}}}
    assert_receive {:EXIT, ^instance, {:shutdown, {:spent, %Error{reason: :timeout}}}}
    assert_no_stray_messages()
  end

  test "it does not wait for itself", %{numbers: _numbers} do
    namespace = unique_name("instance")
    hello = deploy!("rust", "hello_world")
    instance = start!(hello)

    handle!({"host", namespace, "op"}, fn _call -> {:ok, inspect(Instance.call(instance, "hello", "Ada"))} end,
      run: :inline
    )

    assert {:ok, answer} = Instance.call(instance, "host", "host/#{namespace}/op\n")
    assert answer =~ "deadlock"
    assert Instance.call(instance, "hello", "Ada") == {:ok, "Hello, Ada!"}
  end

  test "wrong arguments raise with what is wanted instead", %{numbers: numbers} do
    instance = start!(numbers)

    for {call, text} <- [
          {fn -> Instance.start_link(:numbers) end, "the function's name has to be a string"},
          {fn -> Instance.start_link(numbers, nam: :a) end, "did you mean :name?"},
          {fn -> Instance.start_link(numbers, name: "a") end, "has to be a name as a GenServer has it"},
          {fn -> Instance.call(instance, 5) end, "the operation has to be a string, an atom or {interface, name}"},
          {fn -> Instance.call(instance, nil) end, "the operation has to be a string, an atom or {interface, name}"},
          {fn -> Instance.call(instance, :add, 5) end, "a list or a map of arguments"},
          {fn -> Instance.call(instance, "add", [:a]) end, "a binary or iodata"},
          {fn -> Instance.call(instance, :add, [1, 2], timeout: -1) end, "a number of ms"},
          {fn -> Instance.read_memory(instance, -1, 1) end, "the offset has to be a number from 0"},
          {fn -> Instance.read_memory(instance, 0, Integer.pow(2, 64)) end, "the length has to be a number from 0"},
          {fn -> Instance.write_memory(instance, 0, ["a"]) end, "what to write has to be a binary"},
          {fn -> Instance.write_memory(instance, 0, <<1::3>>) end, "what to write has to be a binary"},
          {fn -> Instance.grow_memory(instance, 1.0) end, "the number of pages has to be"},
          {fn -> Instance.get_global(instance, :calls) end, "the global's name has to be a string"},
          {fn -> Instance.set_global(instance, nil, 1) end, "the global's name has to be a string"}
        ] do
      assert_raise ArgumentError, ~r/#{Regex.escape(text)}/, call
    end

    assert Instance.call(instance, :count) == {:ok, 1}
  end
end
