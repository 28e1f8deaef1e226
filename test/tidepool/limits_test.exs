defmodule Tidepool.LimitsTest do
  use Tidepool.Case, async: true

  alias Tidepool.Error

  @mib 1_048_576

  describe "memory" do
    test "grows up to its limit, to the page" do
      for limit <- [@mib, 4 * @mib, 4 * @mib + 65_536] do
        name = deploy!("wat", "memory_hold", limits: [memory: limit])
        assert Tidepool.call(name, "grow") == {:ok, to_string(div(limit, 65_536))}
      end
    end

    test "beyond its limit fails the guest that insists" do
      name = deploy!("wat", "memory_bomb", limits: [memory: 4 * @mib])

      assert {:error, %Error{reason: {:limit, :memory}, details: %{allowed: 4_194_304, unit: "bytes"}}} =
               Tidepool.call(name, "grow")
    end

    test "is counted over all calls of a warm instance; past it the next call has a new one" do
      # It starts with one page and takes 16 more with each call: three calls fit.
      name = deploy!("wat", "memory_leak", instances: {:warm, 1}, limits: [memory: 49 * 65_536])

      for _round <- 1..3 do
        for _call <- 1..3, do: assert({:ok, ""} = Tidepool.call(name, "leak"))
        assert {:error, %Error{reason: {:limit, :memory}}} = Tidepool.call(name, "leak")
      end
    end
  end

  test "a table that grows beyond its limit fails the guest" do
    name = deploy!("wat", "table_bomb", limits: [table: 5_000])
    assert {:error, %Error{reason: {:limit, :table}, details: %{allowed: 5_000}}} = Tidepool.call(name, "grow")
  end

  describe "computing" do
    test "longer than cpu_time is stopped" do
      name = deploy!("wat", "loop", limits: [cpu_time: 20, time: 600_000])
      assert {:error, %Error{reason: {:limit, :cpu_time}, details: details}} = Tidepool.call(name, "spin")
      assert %{allowed: 20, unit: "ms"} = details
    end

    test "longer than time is stopped" do
      name = deploy!("wat", "loop", limits: [cpu_time: 600_000, time: 20])
      assert {:error, %Error{reason: :timeout, function: ^name}} = Tidepool.call(name, "spin")
    end

    test "in long instructions is stopped all the same" do
      name = deploy!("wat", "loop_fill", limits: [cpu_time: 20, time: 600_000])
      assert {:error, %Error{reason: {:limit, :cpu_time}}} = Tidepool.call(name, "spin")
    end

    test "is counted over the whole call, host calls in between" do
      namespace = unique_name("flood")
      # host/test/echo has no handler or another test's: either way it returns at once, again and again.
      name = deploy!("wat", "host_flood", limits: [cpu_time: 20, time: 600_000])
      assert {:error, %Error{reason: {:limit, :cpu_time}}} = Tidepool.call(name, namespace)
    end

    test "doesn't count the time that a guest waits for its host" do
      namespace = unique_name("slow")
      name = deploy!("rust", "hello_world", limits: [cpu_time: 400, time: 600_000])

      handle!({"host", namespace, "wait"}, fn _call ->
        ends = System.monotonic_time(:millisecond) + 500
        eventually(fn -> System.monotonic_time(:millisecond) > ends end)
        {:ok, "waited"}
      end)

      assert Tidepool.call(name, "host", "host/#{namespace}/wait") == {:ok, "waited"}
    end

    test "doesn't count the time that a program sleeps" do
      name = deploy!("rust", "sleepy", limits: [cpu_time: 400, time: 600_000])
      assert Tidepool.call(name, "run", "500") == {:ok, "slept 500"}
    end
  end

  describe "messages" do
    test "into the guest: a payload beyond its limit never enters it" do
      name = deploy!("rust", "hello_world", limits: [payload: 10])
      assert Tidepool.call(name, "echo", "0123456789") == {:ok, "0123456789"}

      assert {:error, %Error{reason: {:limit, :payload}, details: %{allowed: 10, unit: "bytes"}}} =
               Tidepool.call(name, "echo", "0123456789a")
    end

    test "into the guest: a host's reply beyond the limit is an error in the guest" do
      namespace = unique_name("large")

      handle!({"host", namespace, "reply"}, fn call -> {:ok, String.duplicate("x", String.to_integer(call.payload))} end)

      name = deploy!("rust", "hello_world", limits: [payload: 100])
      call = "host/#{namespace}/reply\n"

      assert Tidepool.call(name, "host", call <> "100") == {:ok, String.duplicate("x", 100)}
      assert {:error, %Error{reason: :guest_error}} = Tidepool.call(name, "host", call <> "101")
    end

    test "out of the guest: a reply beyond its limit is an error" do
      name = deploy!("rust", "hello_world", limits: [reply: 10])
      assert Tidepool.call(name, "echo", "0123456789") == {:ok, "0123456789"}

      assert {:error, %Error{reason: {:limit, :reply}, details: %{allowed: 10}}} =
               Tidepool.call(name, "echo", "0123456789a")
    end

    test "out of the guest: a host call's payload beyond the limit never reaches the host" do
      namespace = unique_name("small")
      test = self()

      handle!({"host", namespace, "take"}, fn call ->
        send(test, {:taken, byte_size(call.payload)})
        {:ok, "taken"}
      end)

      name = deploy!("rust", "hello_world", limits: [reply: 10])
      assert {:error, %Error{reason: :guest_error}} = Tidepool.call(name, "host", "host/#{namespace}/take\n0123456789a")
      refute_received {:taken, _size}
      assert Tidepool.call(name, "host", "host/#{namespace}/take\n0123456789") == {:ok, "taken"}
      assert_received {:taken, 10}
    end

    test "out of the guest: what a program writes beyond the limit ends it" do
      name = deploy!("wat", "wasi_stdout_flood", limits: [reply: 100_000])
      assert {:error, %Error{reason: {:limit, :reply}, details: %{allowed: 100_000}}} = Tidepool.call(name, "run")
      upper = deploy!("rust", "upper", limits: [reply: 100_000])
      assert Tidepool.call(upper, "run", String.duplicate("A", 100_000)) == {:ok, String.duplicate("A", 100_000)}
    end
  end

  describe "the timeout of a call" do
    setup do: %{name: deploy!("wat", "loop", limits: [cpu_time: 600_000, time: 600_000])}

    test "ends it", %{name: name} do
      assert {:error, %Error{reason: :timeout, function: ^name}} = Tidepool.call(name, "spin", "", timeout: 20)
      assert_no_stray_messages()
    end

    test "of nothing ends it at once", %{name: name} do
      assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, "spin", "", timeout: 0)
    end

    test "doesn't lift the function's own limit" do
      name = deploy!("wat", "loop", limits: [cpu_time: 600_000, time: 20])

      for timeout <- [600_000, :infinity],
          do: assert({:error, %Error{reason: :timeout}} = Tidepool.call(name, "spin", "", timeout: timeout))
    end
  end

  test "a function has its node's limits where its deploy names none" do
    peer = Tidepool.Peer.start!(limits: [time: 1_234, depth: 7])
    function = Tidepool.Peer.deploy!(peer, "rust", "hello_world", limits: [depth: 5])
    assert %{time: 1_234, depth: 5} = function.limits
  end
end
