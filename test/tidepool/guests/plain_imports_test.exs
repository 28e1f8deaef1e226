defmodule Tidepool.PlainImportsTest do
  # What a plain module imports the application answers, with values of the import's types, or the guest traps. The targets are the
  # modules' own, so no other file registers them.
  use Tidepool.Case, async: true

  import ExUnit.CaptureLog

  alias Tidepool.{Error, Host}

  @double {"import", "env", "double"}
  @divide {"import", "env", "divide"}
  @note {"import", "env", "note"}
  @ask {"import", "env", "ask"}

  setup do
    %{name: deploy!("wat", "numbers", instances: {:warm, 1})}
  end

  defp assert_trap(outcome, text) do
    assert {:error, %Error{reason: {:trap, :other}, message: message}} = outcome
    assert message =~ text
  end

  test "a function answers with the arguments that it got", %{name: name} do
    test = self()

    handle!(@double, fn call ->
      send(test, call)
      {:ok, 2 * hd(call.args)}
    end)

    handle!(@divide, fn %{args: [one, other]} -> {:ok, [div(one, other), rem(one, other)]} end)
    handle!(@note, fn call -> {:ok, send(test, {:noted, call.args}) && nil} end)

    assert Tidepool.call(name, :doubled, [-21], context: :mine) == {:ok, -42}
    assert_receive %Host.Call{binding: "import", namespace: "env", operation: "double", args: [-21]} = call
    assert {call.function, call.version, call.depth, call.context, call.payload} == {name, 1, 1, :mine, ""}
    assert Tidepool.call(name, :divided, [-17, 5]) == {:ok, [-3, -2]}
    assert Tidepool.call(name, "divided", "[17,5]") == {:ok, "[3,2]"}
    assert Tidepool.call(name, :noted, [1.5]) == {:ok, nil}
    assert_receive {:noted, [1.5]}
    assert Tidepool.call(name, :noted, [:neg_infinity]) == {:ok, nil}
    assert_receive {:noted, [:neg_infinity]}
  end

  test "a tuple answers several results as a list does", %{name: name} do
    handle!(@divide, fn %{args: [one, other]} -> {:ok, {one, other}} end)
    assert Tidepool.call(name, :divided, [1, 2]) == {:ok, [1, 2]}
  end

  test "a GenServer answers, by the one message or the other", %{name: name} do
    test = self()

    double =
      spawn_link(fn ->
        for _message <- 1..2 do
          receive do
            {:host_call, %Host.Call{args: [number]}, ref} -> Host.reply(ref, {:ok, 2 * number})
            {:invoke_callback, "import", "env", "double", [number], ref} -> Host.reply(ref, {:ok, 3 * number})
          end
        end

        send(test, :done)
      end)

    handle!(@double, double)
    assert Tidepool.call(name, :doubled, [5]) == {:ok, 15}
    handle!(@double, double, message: :call)
    assert Tidepool.call(name, :doubled, [5]) == {:ok, 10}
    assert_receive :done
    assert_no_stray_messages()
  end

  test "what nobody answers is a trap that names it", %{name: name} do
    assert_trap(Tidepool.call(name, :doubled, [1]), "import/env/double")
    # What does not come there is not asked.
    assert Tidepool.call(name, :add, [1, 2]) == {:ok, 3}
  end

  test "an error is a trap with its text", %{name: name} do
    handle!(@double, fn _call -> {:error, "closed on Sundays"} end)
    assert_trap(Tidepool.call(name, :doubled, [1]), "closed on Sundays")
  end

  test "a handler that raises, or answers no answer, is a trap that tells nothing of the host", %{name: name} do
    for handler <- [fn _call -> raise "secret" end, fn _call -> "secret" end, fn _call -> {:error, :secret} end] do
      handle!(@double, handler)

      log =
        capture_log(fn ->
          assert {:error, %Error{reason: {:trap, :other}, message: message}} = Tidepool.call(name, :doubled, [1])
          assert message =~ "the host's handler failed"
          refute message =~ "secret"
        end)

      assert log =~ "secret" or log =~ "more since" or log == ""
    end
  end

  test "an answer of another type or number is a trap that names the import", %{name: name} do
    for answer <- [
          nil,
          "4",
          1.5,
          4_294_967_296,
          :four,
          [],
          [1, 2],
          {1, 2},
          %{},
          self(),
          <<1::3>>,
          [1 | 2],
          Integer.pow(2, 5_000)
        ] do
      handle!(@double, fn _call -> {:ok, answer} end)
      assert_trap(Tidepool.call(name, :doubled, [1]), "import/env/double")
    end

    for answer <- [nil, 1, [1], [1, 2, 3], [1, nil], {1}, {1, :two}] do
      handle!(@divide, fn _call -> {:ok, answer} end)
      assert_trap(Tidepool.call(name, :divided, [1, 2]), "import/env/divide")
    end
  end

  test "an answer of a value to a guest that takes bytes is a failure of its handler", %{name: _name} do
    namespace = unique_name("plain")
    hello = deploy!("rust", "hello_world")
    handle!({"host", namespace, "op"}, fn _call -> {:ok, 42} end)

    capture_log(fn ->
      assert {:error, %Error{reason: :guest_error, message: message}} =
               Tidepool.call(hello, "host", "host/#{namespace}/op\n")

      assert message =~ "the host's handler failed"
    end)
  end

  test "a function may ask what its deploy grants, and no more" do
    handle!(@double, fn call -> {:ok, 2 * hd(call.args)} end)
    handle!(@divide, fn call -> {:ok, call.args} end)
    granted = deploy!("wat", "numbers", host: ["import/env/double"])
    assert Tidepool.call(granted, :doubled, [21]) == {:ok, 42}
    assert_trap(Tidepool.call(granted, :divided, [1, 2]), "import/env/divide is not granted")
    none = deploy!("wat", "numbers", host: ["none"])
    assert_trap(Tidepool.call(none, :doubled, [21]), "import/env/double is not granted")
  end

  test "a handler may call the guest again, to the depth that its limits have" do
    name = deploy!("wat", "numbers", instances: {:warm, 1}, limits: [depth: 10, time: 20_000])

    handle!(@double, fn %{args: [number], depth: depth} ->
      if number == 0, do: {:ok, depth}, else: Tidepool.call(name, :doubled, [number - 1])
    end)

    assert Tidepool.call(name, :doubled, [9]) == {:ok, 10}
    assert {:error, %Error{reason: {:trap, :other}}} = outcome = Tidepool.call(name, :doubled, [10])
    assert elem(outcome, 1).message =~ "handler failed"
  end

  test "a handler that is too slow is the end of the call's time, and not of its caller", %{name: name} do
    handle!(@ask, fn _call -> Process.sleep(:infinity) end)
    slow = deploy!("wat", "reactor")
    assert {:error, %Error{reason: :timeout}} = Tidepool.call(slow, :asked, [1], timeout: 50)
    assert Tidepool.call(name, :add, [1, 2]) == {:ok, 3}
    assert_no_stray_messages()
  end

  test "what is asked before calls are served is refused at the deploy" do
    wasm = guest("wat", "starts_asking")

    assert {:error, %Error{reason: {:trap, :other}, message: message}} =
             Tidepool.deploy(wasm, name: unique_name("asking"))

    assert message =~ "import/env/ask can't be called while the guest starts"
  end
end
