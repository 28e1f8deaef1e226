defmodule Tidepool.RecursionTest do
  # Guest → Elixir → the same function → …. Not async: the guest's target is fixed, tidepool/function/recurse.
  use Tidepool.Case, async: false

  alias Tidepool.{Error, Latch}

  # The function that calls itself, under the name that it was deployed by.
  defp itself(call), do: nested(call.function, call.payload)

  defp nested(name, payload) do
    case Tidepool.call(name, nil, payload) do
      {:error, %Error{reason: :guest_error, message: message}} -> {:error, message}
      {:error, %Error{reason: reason}} -> {:error, inspect(reason)}
      {:ok, reply} -> {:ok, reply}
    end
  end

  defp tower(n), do: Enum.map_join(n..1//-1, &"#{&1}>") <> "bottom"

  for instances <- [:fresh, {:warm, 1}] do
    describe "with #{inspect(instances)} instances," do
      @describetag instances: instances

      setup %{instances: instances} do
        handle!({"tidepool", "function", "recurse"}, &itself/1)
        %{name: deploy!("rust", "recurse", instances: instances)}
      end

      test "a guest calls itself to the depth limit of 64, and again", %{name: name} do
        for _ <- 1..3, do: assert(Tidepool.call(name, nil, "63") == {:ok, tower(63)})
        assert_no_stray_messages()
      end

      test "past the limit the innermost guest is refused, with the limit as reason", %{name: name} do
        assert {:error, %Error{reason: :guest_error, message: message}} = Tidepool.call(name, nil, "64")
        assert message == inspect({:limit, :depth})
        assert Tidepool.call(name, nil, "63") == {:ok, tower(63)}
      end

      test "many towers stand side by side", %{name: name} do
        1..50
        |> Task.async_stream(fn _ -> Tidepool.call(name, nil, "30") end, max_concurrency: 50, timeout: 30_000)
        |> Enum.each(fn {:ok, reply} -> assert reply == {:ok, tower(30)} end)

        eventually(fn -> busy_instances() == 0 end)
      end

      test "a guest that would call itself for ever is refused at the limit", %{name: _name, instances: instances} do
        handle!({"tidepool", "function", "recurse_forever"}, &itself/1)
        name = deploy!("wat", "recurse_forever", instances: instances)
        assert {:error, %Error{reason: :guest_error, message: message}} = Tidepool.call(name, "down")
        assert message == inspect({:limit, :depth})
      end
    end
  end

  test "the refused call is a typed error with the figure" do
    test = self()

    handle!({"tidepool", "function", "recurse"}, fn call ->
      outcome = Tidepool.call(call.function, nil, call.payload)
      with {:error, error} <- outcome, do: send(test, error)
      with {:error, error} <- outcome, do: {:error, error.message}
    end)

    name = deploy!("rust", "recurse", limits: [depth: 5])
    assert Tidepool.call(name, nil, "4") == {:ok, tower(4)}
    assert {:error, %Error{reason: :guest_error}} = Tidepool.call(name, nil, "5")
    # The innermost is told first.
    assert_received %Error{reason: {:limit, :depth}, function: ^name, details: %{allowed: 5}}
  end

  test "depth counts over different functions, each with its own limit" do
    inner = deploy!("rust", "hello_world", limits: [depth: 2])
    namespace = unique_name("nest")
    handle!({"host", namespace, "inner"}, fn call -> nested(inner, call.payload) end)
    handle!({"tidepool", "function", "recurse"}, fn call -> deeper(call, inner) end)
    outer = deploy!("rust", "recurse")
    direct = deploy!("rust", "hello_world")

    {:ok, _function} =
      Tidepool.deploy(guest("rust", "hello_world"), name: inner, operation: "hello", limits: [depth: 2])

    assert Tidepool.call(direct, "host", "host/#{namespace}/inner\nAda") == {:ok, "Hello, Ada!"}
    assert Tidepool.call(outer, nil, "1") == {:ok, "1>Hello, 0!"}
    assert {:error, %Error{reason: :guest_error, message: message}} = Tidepool.call(outer, nil, "2")
    assert message == inspect({:limit, :depth})
  end

  # 0 goes to the inner function, so that its depth is one more than that of the tower.
  defp deeper(%{payload: "0"}, inner), do: nested(inner, "0")
  defp deeper(call, _inner), do: nested(call.function, call.payload)

  test "a depth of 1 allows no call within a call" do
    handle!({"tidepool", "function", "recurse"}, &itself/1)
    name = deploy!("rust", "recurse", limits: [depth: 1])
    assert Tidepool.call(name, nil, "0") == {:ok, "bottom"}
    assert {:error, %Error{reason: :guest_error, message: message}} = Tidepool.call(name, nil, "1")
    assert message == inspect({:limit, :depth})
  end

  test "a nested call has no more time than the call around it" do
    namespace = unique_name("nest")
    test = self()
    spins = deploy!("wat", "loop", limits: [time: 600_000, cpu_time: 600_000])

    spin = fn call ->
      outcome = Tidepool.call(spins, "spin", "", timeout: 600_000)
      send(test, {:nested, outcome})
      # Clocks of whole milliseconds may end the inner call up to one before the outer one.
      Process.sleep(max(call.deadline + 1 - System.monotonic_time(:millisecond), 0))
      {:ok, "caught"}
    end

    # In a process of its own the handler would be stopped together with the call that it has to tell of.
    handle!({"host", namespace, "spin"}, spin, run: :inline)
    name = deploy!("rust", "hello_world", limits: [time: 600_000])

    assert {:error, %Error{reason: :timeout, function: ^name}} =
             Tidepool.call(name, "host", "host/#{namespace}/spin", timeout: 2_000)

    assert_received {:nested, {:error, %Error{reason: :timeout, function: ^spins}}}
    assert_no_stray_messages()
  end

  test "after a nested call whose guest has asked the host, the next one is as deep as the first and has the same time" do
    namespace = unique_name("nest")
    test = self()
    name = deploy!("rust", "hello_world", limits: [time: 600_000])

    handle!({"host", namespace, "look"}, fn call ->
      send(test, call)
      {:ok, ""}
    end)

    handle!({"host", namespace, "twice"}, fn call ->
      send(test, call)
      for _call <- 1..2, do: {:ok, ""} = Tidepool.call(name, "host", "host/#{namespace}/look")
      {:ok, "done"}
    end)

    options = [timeout: 60_000, context: :theirs]
    assert Tidepool.call(name, "host", "host/#{namespace}/twice", options) == {:ok, "done"}
    assert_received %{operation: "twice", depth: 1, deadline: deadline}

    for _call <- 1..2 do
      assert_received %{operation: "look", depth: 2, deadline: nested, context: :theirs}
      # What the VM needs between two looks at the clock, and much less than its function's own time.
      assert_in_delta nested, deadline, 60_000
    end

    refute_received %{operation: "look"}
  end

  test "a nested call that waits for a GenServer has no more time than the call around it" do
    latch = start_supervised!(Latch)
    namespace = unique_name("nest")
    handle!({"host", namespace, "park"}, latch)
    name = deploy!("rust", "hello_world", limits: [time: 600_000])
    handle!({"host", namespace, "nest"}, fn call -> nested_park(name, namespace, call) end)

    assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, "host", "host/#{namespace}/nest", timeout: 200)
    Latch.release(latch)
    assert_no_stray_messages()
    eventually(fn -> busy_instances() == 0 end)
  end

  defp nested_park(name, namespace, _call) do
    with {:error, error} <- Tidepool.call(name, "host", "host/#{namespace}/park"), do: {:error, inspect(error.reason)}
  end

  test "a handler that raised leaves no depth behind: the next call of the process is an outermost one" do
    namespace = unique_name("nest")
    handle!({"host", namespace, "raise"}, fn _call -> raise "in the middle" end)
    handle!({"tidepool", "function", "recurse"}, &itself/1)
    hello = deploy!("rust", "hello_world")
    recurse = deploy!("rust", "recurse")

    for _ <- 1..70,
        do: assert({:error, %Error{reason: :guest_error}} = Tidepool.call(hello, "host", "host/#{namespace}/raise"))

    assert Tidepool.call(recurse, nil, "63") == {:ok, tower(63)}
  end
end
