defmodule Tidepool.ActorAlarmsTest do
  # Alarms of actors: when they are called, how often, and what becomes of those that fail.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Native, Peer}
  alias Tidepool.Actor.Activation.Alarms
  alias Tidepool.Actor.{Alarm, Journal}

  import Tidepool.ActorScript

  doctest Tidepool.Actor.Alarm
  doctest Tidepool.Actor.Activation.Alarms

  setup do
    {:ok, class: deploy!("rust", "ledger", actor: true)}
  end

  defp host(class, name, script), do: Actor.call(class, name, "host", IO.iodata_to_binary(script))
  defp set(text), do: ask("alarm", "set", text)

  # What actors of the class do that are told to obey; the test is asked each time.
  defp obey(class) do
    test = self()

    handle!({"tidepool", "obey", :_}, fn
      %{function: ^class} = call ->
        send(test, {:asked, self(), call.payload})

        receive do
          {:do, script} -> {:ok, IO.iodata_to_binary(script)}
        end
    end)
  end

  # `look` is at an actor that waits for its answer.
  defp asked(answer, look \\ fn -> :ok end) do
    assert_receive {:asked, pid, payload}
    look.()
    send(pid, answer)
    payload
  end

  defp record(class, name) do
    {:ok, records} = Journal.records()
    {:ok, {_epoch, _seq, due, head, _image}} = Journal.read(records, class, name, class)
    {:ok, record} = Actor.Journal.Record.read(head, class, name)
    {due, record}
  end

  defp alarm(class, name) do
    {:ok, %{alarm: alarm}} = Actor.info(class, name)
    alarm
  end

  test "an alarm is called once when it is due, with the time that it was set for, awake or asleep", %{class: class} do
    for sleep? <- [false, true] do
      name = "#{sleep?}"
      assert {:ok, at} = host(class, name, [set("+100000\nadd")])
      assert {:ok, shown} = host(class, name, [ask("alarm", "get", "")])
      assert shown == at <> "\nadd"
      assert %{operation: "add", failed: false, tries: 0} = alarm(class, name)
      assert {:ok, at} = host(class, name, [set("+100\nadd")])
      if sleep?, do: :ok = Actor.stop(class, name)
      eventually(fn -> alarm(class, name) == nil end)
      assert Alarm.now() >= String.to_integer(at)
      assert {:ok, ^at} = Actor.call(class, name, "sum")
      assert {:ok, ""} = host(class, name, [ask("alarm", "get", "")])
    end
  end

  test "one that is due already is called at once", %{class: class} do
    assert {:ok, "5"} = host(class, "alice", [set("5\nadd")])
    eventually(fn -> {:ok, "5"} == Actor.call(class, "alice", "sum") end)
    assert alarm(class, "alice") == nil
  end

  test "there is one, the last that was set; one that is cleared is not called", %{class: class} do
    {:ok, _at} = host(class, "alice", [set("+100\nadd"), set("253402300799999\nadd")])
    {:ok, _at} = host(class, "bob", [set("+100000\nadd")])
    {:ok, ""} = host(class, "bob", [ask("alarm", "clear", "")])
    assert {nil, %{alarm: nil}} = record(class, "bob")
    {:ok, _at} = host(class, "carol", [set("+200\nadd")])
    eventually(fn -> alarm(class, "carol") == nil end)
    assert %{at: 253_402_300_799_999} = alarm(class, "alice")
    assert {:ok, "0"} = Actor.call(class, "alice", "sum")
  end

  test "what is no time, or no operation, is refused, and leaves the one before", %{class: class} do
    {:ok, _at} = host(class, "alice", [set("+100000\nadd")])

    for text <- [
          "",
          "NaN\nadd",
          "-1\nadd",
          "1.5\nadd",
          "+\nadd",
          "5",
          "5\n",
          "253402300800000\nadd",
          "+253402300799999\nadd",
          "5\n\xFF",
          "9999999999999999999999\nadd"
        ] do
      assert {:ok, "! alarm set: " <> _why} = host(class, "alice", [set(text)])
    end

    assert {:ok, "! alarm get: " <> _why} = host(class, "alice", [ask("alarm", "get", "x")])
    assert {:ok, "! alarm ring: " <> _why} = host(class, "alice", [ask("alarm", "ring", "")])
    assert %{operation: "add"} = alarm(class, "alice")
  end

  test "one that is set in a call that traps is not there, and one that the call cleared is", %{class: class} do
    {:error, %Error{}} = host(class, "alice", [set("5\nadd"), then_do("add_and_trap", "1")])
    {:ok, _at} = host(class, "bob", [set("+100000\nadd")])
    {:error, %Error{}} = host(class, "bob", [ask("alarm", "clear", ""), then_do("add_and_trap", "1")])
    assert {:ok, "0"} = Actor.call(class, "alice", "sum")
    assert alarm(class, "alice") == nil
    assert %{operation: "add"} = alarm(class, "bob")
  end

  test "what an alarm calls may set the next one, which is not due before a moment has passed", %{class: class} do
    obey(class)
    {:ok, "5"} = host(class, "alice", [set("5\nobey")])
    began = System.monotonic_time(:millisecond)
    for _time <- 1..3, do: assert(asked({:do, [put("a", "1"), ask("alarm", "get", ""), set("5\nobey")]}) == "5")
    assert asked({:do, [then_do("add", "1")]}) == "5"
    assert System.monotonic_time(:millisecond) - began >= 300
    eventually(fn -> alarm(class, "alice") == nil end)
    assert {:ok, "1"} = Actor.call(class, "alice", "sum")
  end

  test "one that fails is called again, with nothing of what it did before", %{class: class} do
    obey(class)
    {:ok, "5"} = host(class, "alice", [set("5\nobey")])
    asked({:do, [put("a", "1"), then_do("add_and_trap", "1")]})

    tried = fn ->
      assert {_due, %{last_error: {"trap", _message, _at}, alarm: %{at: 5, tries: 1}}} = record(class, "alice")
    end

    assert asked({:do, [get("a"), then_do("add", "1")]}, tried) == "5"
    eventually(fn -> alarm(class, "alice") == nil end)
    assert {:ok, "1"} = Actor.call(class, "alice", "sum")
    assert {:ok, ""} = host(class, "alice", [get("a")])
    :ok = Actor.stop(class, "alice")
    assert {:ok, %{awake: false, last_error: %{reason: "trap"}}} = Actor.info(class, "alice")
  end

  test "one that the guest says has failed keeps what it did, and is called again", %{class: class} do
    obey(class)
    {:ok, "5"} = host(class, "alice", [set("5\nobey")])
    asked({:do, [put("a", "1"), then_do("add_and_fail", "1")]})
    tried = fn -> assert {_due, %{value_bytes: 2, alarm: %{tries: 1}}} = record(class, "alice") end
    # What it sets itself is not that one any more.
    asked({:do, [set("+100000\nadd"), then_do("add_and_fail", "1")]}, tried)
    eventually(fn -> match?(%{tries: 0, operation: "add"}, alarm(class, "alice")) end)
    assert {:ok, "2"} = Actor.call(class, "alice", "sum")
  end

  test "one that has failed for the last time is shown, and not called again", %{class: class} do
    {:ok, _at} = host(class, "alice", [set("+100000\nadd_and_trap")])
    :ok = Actor.stop(class, "alice")
    # As it is after six retries.
    last = %Alarm{at: 5, operation: "add_and_trap", due: 5, tries: 6}
    write(class, "alice", last)
    log = ExUnit.CaptureLog.capture_log(fn -> assert {:ok, ""} = Actor.ring(class, "alice", 5) end)
    assert log =~ "failed in its alarm, which is not tried again"
    assert %{failed: true, tries: 7, due: nil} = alarm(class, "alice")
    assert {:ok, ""} = host(class, "alice", [ask("alarm", "get", "")])
    # Another is as any.
    {:ok, "7"} = host(class, "alice", [set("7\nadd")])
    eventually(fn -> {:ok, "7"} == Actor.call(class, "alice", "sum") end)
  end

  defp write(class, name, alarm) do
    {:ok, records} = Journal.records()
    {:ok, {epoch, seq, _due, head, _image}} = Journal.read(records, class, name, class)
    {:ok, record} = Actor.Journal.Record.read(head, class, name)
    head = Actor.Journal.Record.write(%{record | alarm: alarm})
    # Without the index, so that it is the test that rings.
    :ok = Journal.commit(records, class, name, {:put, epoch, seq + 1, nil, head, nil, []})
  end

  test "an alarm is gone with its actor, and not that of who has the name next", %{class: class} do
    for sleep? <- [false, true] do
      {:ok, _at} = host(class, "alice", [set("+100\nadd")])
      if sleep?, do: :ok = Actor.stop(class, "alice")
      :ok = Actor.delete(class, "alice")
      assert {:ok, "0"} = Actor.call(class, "alice", "sum")
      {:ok, _at} = host(class, "after", [set("+200\nadd")])
      eventually(fn -> alarm(class, "after") == nil end)
      assert {:ok, "0"} = Actor.call(class, "alice", "sum")
      :ok = Actor.delete(class, "after")
    end
  end

  test "what rings late finds another alarm, and leaves it", %{class: class} do
    {:ok, at} = host(class, "alice", [set("+100000\nadd")])
    assert {:ok, ""} = Actor.ring(class, "alice", 5)
    assert %{tries: 0} = alarm(class, "alice")
    assert {:ok, ""} = Actor.ring(class, "alice", String.to_integer(at))
    assert {:ok, ^at} = Actor.call(class, "alice", "sum")
    assert {:error, %Error{reason: :unknown_actor}} = Actor.ring(class, "nobody", 5)
  end

  test "an alarm of a class that is removed waits until there is the class again, and out of the way", %{class: class} do
    {:ok, _at} = host(class, "alice", [set("+100\nadd")])
    :ok = Actor.stop(class, "alice")
    :ok = Tidepool.remove(class)
    {:ok, records} = Journal.records()

    due = fn ->
      {:ok, {_epoch, _seq, due, _head, _image}} = Native.read_record(records, class, "alice")
      due
    end

    eventually(fn -> due.() > Alarm.now() + 500 end)
    {:ok, _function} = Tidepool.deploy(guest("rust", "ledger"), name: class, actor: true)
    eventually(fn -> alarm(class, "alice") == nil end, 20_000)
  end

  test "many that are due at once are called, a few at a time", %{class: class} do
    names = for number <- 1..200, do: "#{number}"
    at = Alarm.now() + 400
    set = fn name -> {:ok, _at} = host(class, name, [set("#{at}\nadd")]) end
    names |> Task.async_stream(set, max_concurrency: 20, timeout: 60_000) |> Stream.run()
    eventually(fn -> Enum.all?(names, &(alarm(class, &1) == nil)) end, 20_000)
    for name <- names, do: assert({:ok, "#{at}"} == Actor.call(class, name, "sum"))
  end

  test "alarms of a namespace that take long, and are many, hold up none of another namespace" do
    [slow, other] = for stem <- ["slow", "other"], do: "#{unique_name(stem)}/ledger"
    for class <- [slow, other], do: on_exit(fn -> remove!(class) end)
    long = [time: 600_000, cpu_time: 600_000]

    for class <- [slow, other],
        do: {:ok, _} = Tidepool.deploy(guest("rust", "ledger"), name: class, actor: true, limits: long)

    obey(slow)
    names = for number <- 1..100, do: "#{number}"
    at = Alarm.now() + 300

    # One of the other's that is due with them, and one that is due later than all of them; and one that is set meanwhile.
    {:ok, _at} = host(other, "with", [set("#{at}\nadd")])
    {:ok, _at} = host(other, "later", [set("#{at + 500}\nadd")])
    set = fn name -> {:ok, _at} = host(slow, name, [set("#{at}\nobey")]) end
    names |> Task.async_stream(set, max_concurrency: 20, timeout: 60_000) |> Stream.run()
    asked = for _place <- 1..16, do: assert_receive({:asked, pid, _at} when is_pid(pid), 20_000) |> elem(1)
    {:ok, _at} = host(other, "meanwhile", [set("5\nadd")])
    for name <- ["with", "later", "meanwhile"], do: eventually(fn -> alarm(other, name) == nil end)
    refute_received {:asked, _pid, _at}

    for pid <- asked, do: send(pid, {:do, [then_do("add", "1")]})
    for _next <- 17..100, do: asked({:do, [then_do("add", "1")]})
    eventually(fn -> Enum.all?(names, &(alarm(slow, &1) == nil)) end, 20_000)
    for name <- names, do: assert({:ok, "1"} == Actor.call(slow, name, "sum"))
  end

  test "records that can't be read are looked at again soon, and then less and less often" do
    # Nobody has opened them there.
    peer = Peer.boot!(cluster: false)
    {:ok, state} = Peer.call(peer, Alarms, :init, [nil])

    {waits, _state} =
      Enum.map_reduce(1..12, state, fn _look, state ->
        {:noreply, state} = Peer.call(peer, Alarms, :handle_info, [:look, state])
        {state.look_at - Peer.call(peer, System, :monotonic_time, [:millisecond]), state}
      end)

    assert hd(waits) <= 250
    assert Enum.at(waits, 4) in 1..4_000
    assert List.last(waits) in 30_000..60_000
  end
end
