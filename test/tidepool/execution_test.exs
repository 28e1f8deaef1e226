defmodule Tidepool.ExecutionTest do
  # Not async: counts the node's live instances.
  use Tidepool.Case, async: false

  alias Tidepool.{Error, Latch}

  doctest Tidepool.Execution

  setup do
    eventually(fn -> busy_instances() == 0 end)
    :ok
  end

  test "thousands of processes call at once, and each gets its own reply" do
    for {guest, instances} <- [{"hello_world", :fresh}, {"hello_world", {:warm, 8}}] do
      name = deploy!("rust", guest, instances: instances, limits: [time: 50_000])

      replies =
        1..5_000
        |> Enum.map(fn i ->
          Task.async(fn ->
            reply = Tidepool.call(name, "hello", "#{i}")
            assert_no_stray_messages()
            {i, reply}
          end)
        end)
        |> Task.await_many(50_000)

      for {i, reply} <- replies, do: assert(reply == {:ok, "Hello, #{i}!"})
    end

    eventually(fn -> busy_instances() == 0 end)
  end

  test "a process makes many calls one after another, and nothing of them stays with it" do
    name = deploy!("rust", "hello_world", instances: {:warm, 1})
    dictionary = Process.get_keys()

    for i <- 1..5_000 do
      assert Tidepool.call(name, "hello", "#{i}") == {:ok, "Hello, #{i}!"}
      if rem(i, 10) == 0, do: assert({:error, %Error{reason: :guest_error}} = Tidepool.call(name, "fail"))
    end

    assert_no_stray_messages()
    assert Process.get_keys() == dictionary
    assert Process.info(self(), :monitors) == {:monitors, []}
  end

  test "a long computation is cut into slices: other processes of the node go on" do
    name = deploy!("wat", "loop", limits: [cpu_time: 600_000, time: 600_000])
    spinners = for _ <- 1..(4 * System.schedulers_online()), do: spawn(fn -> Tidepool.call(name, "spin") end)
    eventually(fn -> busy_instances() == length(spinners) end)

    # Every scheduler has more spinning guests than one; a process that is never given a turn would not answer.
    for _ <- 1..100, do: assert(Task.await(Task.async(fn -> 1 + 1 end), 60_000) == 2)
    hello = deploy!("rust", "hello_world", limits: [time: 30_000])
    assert Tidepool.call(hello, "hello") == {:ok, "Hello, world!"}

    Enum.each(spinners, &Process.exit(&1, :kill))
    eventually(fn -> busy_instances() == 0 end)
  end

  test "a killed caller takes its guest along, whether that computes, sleeps or waits for the host" do
    latch = start_supervised!(Latch)
    namespace = unique_name("park")
    handle!({"host", namespace, :_}, latch)
    long = [time: 600_000, cpu_time: 600_000]
    spins = deploy!("wat", "loop", limits: long)
    sleeps = deploy!("wat", "wasi_sleep", limits: long)
    parks = deploy!("rust", "hello_world", limits: long)

    callers =
      for {name, payload} <- [{spins, ""}, {sleeps, ""}, {parks, "host/#{namespace}/park"}] do
        spawn(fn -> Tidepool.call(name, "host", payload) end)
      end

    Latch.await(latch, 1)
    eventually(fn -> busy_instances() == 3 end)
    Enum.each(callers, &Process.exit(&1, :kill))
    eventually(fn -> busy_instances() == 0 end)
  end

  test "a caller that had messages before has the same ones after, in their order" do
    hello = deploy!("rust", "hello_world")
    sleeps = deploy!("rust", "sleepy")
    namespace = unique_name("asked")
    handle!({"host", namespace, :_}, spawn_link(&answer_forever/0))
    for i <- 1..1_000, do: send(self(), {:mine, i})

    assert Tidepool.call(hello, "host", "host/#{namespace}/x\nping") == {:ok, "ping"}
    assert Tidepool.call(sleeps, "run", "5") == {:ok, "slept 5"}
    assert {:error, %Error{reason: :timeout}} = Tidepool.call(sleeps, "run", "600000", timeout: 10)

    assert Process.info(self(), :messages) == {:messages, for(i <- 1..1_000, do: {:mine, i})}
    for i <- 1..1_000, do: assert_received({:mine, ^i})
  end

  test "a timed-out guest that computes leaves no message and no instance" do
    name = deploy!("wat", "loop", limits: [cpu_time: 600_000])
    for _ <- 1..20, do: assert({:error, %Error{reason: :timeout}} = Tidepool.call(name, "spin", "", timeout: 20))
    assert_no_stray_messages()
    eventually(fn -> busy_instances() == 0 end)
  end

  test "a call that waits has all of its time, wherever in a millisecond it begins" do
    for {name, payload} <- [{deploy!("rust", "sleepy"), "600000"}, {deploy!("rust", "hello_world"), never_answered()}],
        phase_us <- 0..950//50 do
      spin_until(div(now_us(), 1_000) * 1_000 + 1_000 + phase_us)
      began = now_us()
      assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, "host", payload, timeout: 3)
      # The VM's clock may go by 1 % slower or faster than the operating system's, which the runtime's deadlines are of.
      assert now_us() - began >= 2_970
    end
  end

  # A payload for which the guest asks a process that does not answer.
  defp never_answered do
    namespace = unique_name("silent")
    handle!({"host", namespace, :_}, spawn_link(fn -> Process.sleep(:infinity) end))
    "host/#{namespace}/x\n"
  end

  defp now_us, do: System.monotonic_time(:microsecond)
  defp spin_until(time_us), do: if(now_us() < time_us, do: spin_until(time_us))

  test "a timed-out program that sleeps leaves no message and no instance, even if it wakes at that very moment" do
    name = deploy!("rust", "sleepy")

    # Sleeps that end about when the timeout does: either outcome is right, a wake message left behind is not.
    outcomes =
      for _ <- 1..100 do
        case Tidepool.call(name, "run", "3", timeout: 4) do
          {:ok, "slept 3"} -> :slept
          {:error, %Error{reason: :timeout}} -> :timeout
        end
      end

    assert length(outcomes) == 100
    eventually(fn -> busy_instances() == 0 end)
    # A message that was under way would have come by now: this one is sent after the guest's end.
    assert Tidepool.call(name, "run", "1") == {:ok, "slept 1"}
    assert_no_stray_messages()
  end

  test "a timed-out guest that waits for a GenServer leaves no message, even when the answer comes late" do
    latch = start_supervised!(Latch)
    namespace = unique_name("park")
    handle!({"host", namespace, :_}, latch)
    name = deploy!("rust", "hello_world")

    for _round <- 1..5 do
      assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, "host", "host/#{namespace}/park", timeout: 100)
    end

    # The replies were sent before this answer.
    assert Latch.release(latch) > 0
    assert_no_stray_messages()
    eventually(fn -> busy_instances() == 0 end)
  end

  test "calls in a handler, in a GenServer that handles, and in a Task of a handler all work" do
    hello = deploy!("rust", "hello_world")
    namespace = unique_name("within")
    handle!({"host", namespace, "direct"}, fn call -> greet(hello, call.payload) end)
    task = fn call -> Task.await(Task.async(fn -> greet(hello, call.payload) end), 60_000) end
    handle!({"host", namespace, "task"}, task)
    handle!({"host", namespace, "server"}, spawn_link(fn -> greet_forever(hello) end))

    for operation <- ["direct", "task", "server"], _ <- 1..50 do
      assert Tidepool.call(hello, "host", "host/#{namespace}/#{operation}\nAda") == {:ok, "Hello, Ada!"}
    end

    assert_no_stray_messages()
  end

  test "the warm instances of functions that were replaced or removed are given back" do
    wasm = guest("rust", "counter")
    for _ <- 1..10, do: Tidepool.call(deploy!("rust", "counter", instances: {:warm, 5}), "next")
    name = deploy_bytes!(wasm, instances: {:warm, 5})
    assert Tidepool.call(name, "next") == {:ok, "1"}
    {:ok, _function} = Tidepool.deploy(wasm, name: name, instances: :fresh)
    for function <- Tidepool.list(), function.instances != :fresh, do: Tidepool.remove(function.name)

    eventually(fn -> %{live: 0, idle: 0} = Tidepool.Engine.instances() end)
  end

  test "a call of another process's is driven by nobody else" do
    name = deploy!("wat", "loop")
    start = fn -> Tidepool.Native.call(Tidepool.Engine.runtime(), name, "spin", "", 1, 600_000) end
    {:yield, task} = Task.await(Task.async(start), 60_000)
    assert {:error, :not_owner, _message, _details} = Tidepool.Native.resume(task)
    assert {{:error, :not_owner, _message, _details}, false} = Tidepool.Native.cancel(task, :timeout)
    eventually(fn -> busy_instances() == 0 end)
  end

  defp greet(name, payload),
    do: with({:error, error} <- Tidepool.call(name, "hello", payload), do: {:error, error.message})

  defp answer_forever do
    receive do
      {:invoke_callback, _binding, _namespace, _operation, payload, ref} -> Tidepool.Host.reply(ref, {:ok, payload})
    end

    answer_forever()
  end

  defp greet_forever(name) do
    receive do
      {:invoke_callback, _binding, _namespace, _operation, payload, ref} ->
        Tidepool.Host.reply(ref, greet(name, payload))
    end

    greet_forever(name)
  end
end
