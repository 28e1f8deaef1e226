defmodule Tidepool.Process.HostCallsTest do
  # Not async: the handler answers for all guests of the node.
  #
  # What a handler of the host is told by a process that asks it, and what is nested in that.
  use Tidepool.Case

  import Tidepool.ProgramClient

  alias Tidepool.Host.{Call, Nesting}

  @target {"wasi", "keyvalue", "get"}

  # A process that asks for the value of a key, and the call that its handler got.
  defp asked!(name, key, handler) do
    test = self()

    handle!(
      @target,
      fn call ->
        send(test, {:asked, key, call})
        handler.(call)
      end,
      run: :inline
    )

    program = start!(name, args: [name, "open a", "get #{key}"])
    assert ended!(program) == :normal
    assert_received {:asked, ^key, call}
    call
  end

  test "a handler gets the process's function, version, arguments and a time to answer in, outside of all calls" do
    name = deploy!("rust", "keyvalue_command", keyvalue: ["a"])
    {:ok, %{version: 2}} = Tidepool.deploy(guest("rust", "keyvalue_command"), name: name, keyvalue: ["a", "b"])
    before = System.monotonic_time(:millisecond)

    call =
      asked!(name, "k", fn %Call{deadline: deadline} ->
        # What the handler calls is one deeper, and has no more time.
        assert {1, ^deadline, nil} = Nesting.get()
        {:ok, "low tide"}
      end)

    assert output() =~ "low tide"
    assert %Call{binding: "wasi", namespace: "keyvalue", operation: "get", payload: "", args: ["a", "k"]} = call
    assert %Call{function: ^name, version: 2, depth: 1, context: nil} = call
    assert call.deadline > before
  end

  test "what was nested in one call is not what the next one is nested in" do
    name = deploy!("rust", "keyvalue_command", keyvalue: ["a"])
    test = self()

    handle!(
      @target,
      fn call ->
        send(test, {:nested, Nesting.get(), call.deadline})
        {:ok, "v"}
      end,
      run: :inline
    )

    program = start!(name, args: [name, "open a", "get k", "get l"])
    assert ended!(program) == :normal
    for _get <- 1..2, do: assert_received({:nested, {1, deadline, nil}, deadline})
    refute_received {:nested, _nesting, _deadline}
  end

  test "a handler that fails is an error of the store for the guest, and its process goes on" do
    name = deploy!("rust", "keyvalue_command", keyvalue: ["a"])
    handle!(@target, fn %Call{args: [_bucket, key]} -> if key == "k", do: raise("no"), else: {:ok, "v"} end)
    program = start!(name, args: [name, "open a", "get k", "get l"])
    assert ended!(program) == :normal
    assert output() =~ ~r/\Aok\nerror other the host's handler failed \(id .*\nv\n/
  end

  test "a handler runs in a process of its own, whose messages are not the guest's, unless it is to be inline" do
    name = deploy!("rust", "keyvalue_command", keyvalue: ["a"])
    test = self()

    for {run, own?} <- [timed: true, isolated: true, inline: false] do
      handle!(
        @target,
        fn _call ->
          send(test, {:runs_in, self()})
          {:ok, "v"}
        end,
        run: run
      )

      program = start!(name, args: [name, "open a", "get k"])
      assert ended!(program) == :normal
      assert_received {:runs_in, pid}
      assert {run, pid != program} == {run, own?}
    end
  end
end
