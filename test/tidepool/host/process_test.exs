defmodule Tidepool.HostProcessTest do
  # Handlers that are processes: they get a message, and anybody answers.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Host}

  defmodule Server do
    use GenServer

    def start_link({options, handle}), do: GenServer.start_link(__MODULE__, handle, options)

    @impl true
    def init(handle), do: {:ok, handle}

    @impl true
    def handle_info({:invoke_callback, binding, namespace, operation, payload, ref}, handle) do
      handle.({binding, namespace, operation, payload}, ref)
      {:noreply, handle}
    end
  end

  defp double({_binding, _namespace, _operation, payload}, ref), do: Host.reply(ref, {:ok, payload <> payload})

  setup do
    namespace = unique_name("host")
    %{name: deploy!("rust", "hello_world"), namespace: namespace, target: {"host", namespace, "op"}}
  end

  defp host(context, payload \\ "", options \\ []) do
    result = Tidepool.call(context.name, "host", "host/#{context.namespace}/op\n" <> payload, options)
    assert_no_stray_messages()
    result
  end

  defp serve(handle, options \\ []) do
    start_supervised!(Supervisor.child_spec({Server, {options, handle}}, id: make_ref(), restart: :temporary))
  end

  test "a GenServer is reached by pid, name, global name and via tuple", context do
    local = :"#{context.namespace}_local"
    global = {:global, context.namespace}
    start_supervised!({Registry, keys: :unique, name: :"#{context.namespace}_registry"})
    via = {:via, Registry, {:"#{context.namespace}_registry", "key"}}

    serve(&double/2, name: local)
    serve(&double/2, name: global)
    serve(&double/2, name: via)

    for handler <- [serve(&double/2), local, global, via] do
      handle!(context.target, handler)
      assert host(context, "ab") == {:ok, "abab"}
    end
  end

  test "a registered name is looked up at each call: a restarted GenServer answers again", context do
    name = :"#{context.namespace}_restarted"
    handle!(context.target, name)
    assert {:error, %Error{reason: :guest_error}} = host(context, "ab")
    first = serve(&double/2, name: name)
    assert host(context, "ab") == {:ok, "abab"}
    stop(first, :kill)
    assert {:error, %Error{reason: :guest_error}} = host(context, "ab")
    serve(&double/2, name: name)
    assert host(context, "ab") == {:ok, "abab"}
  end

  test "the message has the call's three names, its payload and a reference", context do
    handle!(context.target, self())
    namespace = context.namespace
    call = Task.async(fn -> host(context, "payload") end)
    assert_receive {:invoke_callback, "host", ^namespace, "op", "payload", ref} when is_reference(ref)
    assert :ok = Host.reply(ref, {:ok, "answer"})
    assert Task.await(call, 60_000) == {:ok, "answer"}
  end

  test "an error is the guest's", context do
    handle!(context.target, serve(fn _call, ref -> Host.reply(ref, {:error, "closed on Sundays"}) end))
    assert {:error, %Error{reason: :guest_error, message: "closed on Sundays"}} = host(context)
  end

  test "any process may answer, not only the one that was asked", context do
    handle!(context.target, serve(fn _call, ref -> spawn(fn -> Host.reply(ref, {:ok, "by another"}) end) end))
    assert host(context) == {:ok, "by another"}
  end

  test "many callers wait for one GenServer, and each gets the answer to its own call", context do
    handle!(context.target, serve(&double/2))

    1..500
    |> Task.async_stream(fn i -> {i, host(context, "#{i}.")} end, max_concurrency: 100, timeout: 30_000)
    |> Enum.each(fn {:ok, {i, reply}} -> assert reply == {:ok, "#{i}.#{i}."} end)
  end

  test "a GenServer that crashes over a call is an error in the guest", context do
    handle!(context.target, serve(fn _call, _ref -> raise "lost the plot" end))
    assert {:error, %Error{reason: :guest_error, message: message}} = host(context)
    assert message =~ "the host's handler failed"
  end

  test "a GenServer that dies before it answers is an error in the guest", context do
    handle!(context.target, serve(fn _call, _ref -> Process.exit(self(), :kill) end))
    assert {:error, %Error{reason: :guest_error, message: message}} = host(context)
    assert message =~ "the host's handler failed"
  end

  test "a GenServer that is not there is an error in the guest", context do
    dead = serve(&double/2)
    stop(dead, :normal)

    for handler <- [dead, :nobody_has_this_name, {:global, "nobody"}] do
      handle!(context.target, handler)
      assert {:error, %Error{reason: :guest_error}} = host(context)
    end
  end

  test "a GenServer that never answers ends the call with its time, not before", context do
    handle!(context.target, serve(fn _call, _ref -> :silent end))
    assert {:error, %Error{reason: :timeout}} = host(context, "", timeout: 100)
  end

  test "a second answer is dropped", context do
    handle!(
      context.target,
      serve(fn _call, ref ->
        Host.reply(ref, {:ok, "first"})
        Host.reply(ref, {:error, "second"})
        Host.reply(ref, {:ok, "third"})
      end)
    )

    for _ <- 1..200, do: assert(host(context) == {:ok, "first"})
  end

  test "an answer that comes after the time is over is dropped", context do
    test = self()
    handle!(context.target, serve(fn _call, ref -> send(test, {:kept, ref}) end))
    call = Task.async(fn -> {host(context, "", timeout: 1_000), self() |> Process.info(:messages)} end)
    assert_receive {:kept, ref}
    assert {{:error, %Error{reason: :timeout}}, {:messages, []}} = Task.await(call, 60_000)
    assert :ok = Host.reply(ref, {:ok, "too late"})
  end

  test "answers that come at the very end of the time are taken or dropped, never left in the mailbox", context do
    handle!(
      context.target,
      serve(fn {_binding, _namespace, _operation, _payload}, ref ->
        # Around the time at which the caller gives up, on some scheduler.
        spawn(fn -> answer_at(System.monotonic_time(:microsecond) + Enum.random(18_000..22_000), ref) end)
      end)
    )

    outcomes =
      1..100
      |> Task.async_stream(
        fn _ ->
          case host(context, "", timeout: 20) do
            {:ok, "just in time"} -> :answered
            {:error, %Error{reason: :timeout}} -> :timeout
          end
        end,
        max_concurrency: 20,
        timeout: 30_000
      )
      |> Enum.map(fn {:ok, outcome} -> outcome end)

    assert Enum.all?(outcomes, &(&1 in [:answered, :timeout]))
  end

  test "messages that look like answers but aren't are left alone", context do
    handle!(context.target, serve(&double/2))
    send(self(), {make_ref(), {:ok, "forged"}})
    assert Tidepool.call(context.name, "host", "host/#{context.namespace}/op\nab") == {:ok, "abab"}
    assert_received {_ref, {:ok, "forged"}}
    assert_no_stray_messages()
  end

  test "unregister ends the routing to a GenServer", context do
    handle!(context.target, serve(&double/2))
    assert host(context, "ab") == {:ok, "abab"}
    Host.unregister(context.target)
    assert {:error, %Error{reason: :guest_error}} = host(context, "ab")
  end

  defp answer_at(time, ref) do
    if System.monotonic_time(:microsecond) >= time do
      Host.reply(ref, {:ok, "just in time"})
    else
      :erlang.yield()
      answer_at(time, ref)
    end
  end

  defp stop(pid, reason) do
    monitor = Process.monitor(pid)
    if reason == :kill, do: Process.exit(pid, :kill), else: GenServer.stop(pid, reason)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}
  end
end
