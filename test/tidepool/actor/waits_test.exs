defmodule Tidepool.ActorWaitsTest do
  # Who waits for an actor: for what, and what becomes of those who come while it ends.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error}
  alias Tidepool.Actor.Activation.{OutputGate, Server, State}
  alias Tidepool.Actor.Journal

  defp class!(options \\ []), do: deploy!("rust", "ledger", Keyword.put_new(options, :actor, true))

  # Lets an actor find all that `send` has sent it when it goes on.
  defp at_once(class, name, send) do
    pid = Actor.where(class, name)
    :sys.suspend(pid)

    sent =
      send.(fn count -> eventually(fn -> Process.info(pid, :message_queue_len) == {:message_queue_len, count} end) end)

    :sys.resume(pid)
    sent
  end

  test "an answer leaves when its write is on disk, however long the call after it takes" do
    class = class!(limits: [cpu_time: 20_000])
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")

    answered =
      at_once(class, "alice", fn queued ->
        answered = Task.async(fn -> Actor.call(class, "alice", "add", "1", timeout: 5_000) end)
        queued.(1)
        :ok = Actor.cast(class, "alice", "add_and_spin", "1")
        queued.(2)
        answered
      end)

    assert {:ok, "2"} = Task.await(answered, 60_000)
    Process.exit(Actor.where(class, "alice"), :kill)
  end

  test "what was cast while an actor was about to sleep, or be deleted, is done" do
    class = class!()

    for {ending, sum} <- [stop: "31", delete: "30"] do
      {:ok, "1"} = Actor.call(class, "#{ending}", "add", "1")

      ended =
        at_once(class, "#{ending}", fn queued ->
          ended = Task.async(fn -> apply(Actor, ending, [class, "#{ending}"]) end)
          queued.(1)
          for _cast <- 1..3, do: :ok = Actor.cast(class, "#{ending}", "add", "10")
          ended
        end)

      assert :ok = Task.await(ended, 60_000)
      assert {:ok, ^sum} = Actor.call(class, "#{ending}", "sum")
    end
  end

  test "a write that finds no room, which is known at once, is not the end of those before it" do
    [one, two] = [make_ref(), make_ref()]

    gate =
      for {id, ref} <- [{1, one}, {2, two}], reduce: OutputGate.new() do
        gate ->
          {[], gate} = gate |> OutputGate.began(id) |> OutputGate.put(:gated, {:answer, {self(), ref}, {:ok, "#{id}"}})
          gate
      end

    state = %State{class: "class", name: "alice", options: %{idle: 1_000}, gate: gate}
    state = State.heard(state, {:tidepool_committed, 2, {:error, :overloaded, "too many"}})
    refute_received {^one, _answer}
    State.heard(state, {:tidepool_committed, 1, :ok})
    assert_received {^one, {:ok, "1"}}
    assert_received {^two, {:error, %Error{reason: :overloaded}}}
  end

  test "a change of more than 256 MiB is refused with what to do about it, and nobody's records stop" do
    class = class!()
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    {:ok, records} = Journal.records()
    put = {:put, 1, 1, nil, "", :binary.copy(<<0>>, 268_435_457), []}
    assert {:error, :too_large, message} = Journal.commit(records, class, "large", put)
    assert message =~ "268435457 bytes" and message =~ "keep less in its memory"
    assert %Error{reason: {:limit, :memory}, function: ^class} = Journal.error(:too_large, message, class)
    refute Journal.stopped?()
    assert {:ok, nil} = Journal.read(records, class, "large", class)
    assert {:ok, "2"} = Actor.call(class, "alice", "add", "1")
  end

  test "an actor runs no further call while a thousand answers wait for a write, and goes on when that is on disk" do
    class = class!(actor: [queue: 2_000])
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    # From the second one on it writes nothing.
    for _call <- 1..2, do: {:ok, "1"} = Actor.call(class, "alice", "sum")
    pid = Actor.where(class, "alice")
    # Of a write that takes as long as it likes nothing is heard.
    late = 1_000_000_000_000
    :sys.replace_state(pid, fn state -> %{state | gate: OutputGate.began(state.gate, late)} end)
    callers = for _call <- 1..1_100, do: Task.async(fn -> Actor.call(class, "alice", "sum", "", timeout: 60_000) end)

    # One is in its hands, and waits with those behind it. On a busy machine that may be an earlier one, which has taken long.
    waiting = fn -> Process.info(pid, [:current_function, :message_queue_len]) end

    eventually(
      fn ->
        assert [current_function: {State, :await_writes, 1}, message_queue_len: behind] = waiting.()
        assert behind >= 99
      end,
      20_000
    )

    for caller <- callers, do: assert(Task.yield(caller, 0) == nil)
    send(pid, {:tidepool_committed, late, :ok})
    assert callers |> Task.await_many(60_000) |> Enum.uniq() == [{:ok, "1"}]
    assert {:ok, "2"} = Actor.call(class, "alice", "add", "1")
  end

  test "an actor keeps no answer of a request that is on disk, though another write is always under way" do
    fresh = for write <- 1..3, into: %{}, do: {"request #{write}", {"the answer", write}}
    gate = for write <- 1..3, reduce: OutputGate.new(), do: (gate -> OutputGate.began(gate, write))
    state = %State{class: "class", name: "alice", options: %{idle: 1_000}, gate: gate, fresh: fresh}
    state = State.heard(state, {:tidepool_committed, 2, :ok})
    refute OutputGate.idle?(state.gate)
    assert state.fresh == %{"request 3" => {"the answer", 3}}
  end

  test "a request is answered again while its answer is about to be written, and when it is" do
    class = class!()
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    add = fn -> Actor.call(class, "alice", "add", "1", request_id: "a") end

    [first, again] =
      at_once(class, "alice", fn queued ->
        for count <- 1..2 do
          caller = Task.async(add)
          queued.(count)
          caller
        end
      end)

    assert Task.await_many([first, again], 60_000) == [{:ok, "2"}, {:ok, "2"}]
    assert :sys.get_state(Actor.where(class, "alice")).fresh == %{}
    assert add.() == {:ok, "2"}
  end

  test "an actor that is awake has the limits and the options of the newest deploy, and what it has not written yet" do
    class = class!(actor: [durability: :idle, flush: 60_000])
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    options = [name: class, actor: [queue: 1], limits: [payload: 4]]
    {:ok, _function} = Tidepool.deploy(guest("rust", "ledger"), options)
    assert {:error, %Error{reason: {:limit, :payload}}} = Actor.call(class, "alice", "add", "1000000")
    assert {:ok, "2"} = Actor.call(class, "alice", "add", "1")

    at_once(class, "alice", fn queued ->
      :ok = Actor.cast(class, "alice", "add", "1")
      queued.(1)
      assert {:error, %Error{reason: :overloaded}} = Actor.cast(class, "alice", "add", "1")
    end)
  end

  test "a caller may wait longer than the VM's timers can" do
    assert {:ok, "1"} = Actor.call(class!(), "alice", "add", "1", timeout: 5_000_000_000)
  end

  test "an actor that crashes waits for nothing that it may have heard of before" do
    state = %State{class: "class", name: "alice", options: %{idle: 1_000}, gate: OutputGate.began(OutputGate.new(), 1)}
    ended = Task.async(fn -> Server.terminate({%ArgumentError{}, []}, state) end)
    assert Task.await(ended, 60_000) == :ok
  end

  test "an actor that waits holds nothing of the payloads, replies and images that went through it" do
    class = class!()
    large = String.duplicate("a", 1_000_000)
    {:ok, "1"} = Actor.call(class, "alice", "write", large)
    {:ok, ^large} = Actor.call(class, "alice", "read", large)
    # Its answer comes before it waits.
    {:ok, _info} = Actor.info(class, "alice")
    {:binary, held} = Process.info(Actor.where(class, "alice"), :binary)
    assert Enum.all?(held, fn {_address, bytes, _count} -> bytes < 100_000 end)
  end

  test "an actor that answers a request again holds nothing of what that has brought" do
    class = class!()
    add = &Actor.call(class, "alice", "add", &1, request_id: "a")
    {:ok, "1"} = add.("1")
    {:ok, "1"} = add.(String.duplicate("1", 1_000_000))
    # Its answer comes before it waits.
    {:ok, _info} = Actor.info(class, "alice")
    {:binary, held} = Process.info(Actor.where(class, "alice"), :binary)
    assert Enum.all?(held, fn {_address, bytes, _count} -> bytes < 100_000 end)
  end

  # It would wait for its class's time, a day.
  test "a call of an actor that there is not leaves no process, and one that is without an instance ends soon" do
    class = class!(actor: [idle: 86_400_000])
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")

    for number <- 1..20 do
      assert {:error, %Error{reason: :unknown_actor}} = Actor.call(class, "#{number}", "sum", "", create: false)
      assert {:error, %Error{reason: {:trap, :unreachable}}} = Actor.call(class, "#{number}", "add_and_trap", "1")
      assert :ok = Actor.cast(class, "cast #{number}", "sum", "", create: false)
      assert {:error, %Error{reason: :unknown_actor}} = Actor.info(class, "#{number}")
    end

    awake = fn -> Registry.select(Tidepool.Actor.Registry, [{{{class, :"$1"}, :_, :_}, [], [:"$1"]}]) end
    eventually(fn -> awake.() == ["alice"] end)
    assert {:error, %Error{reason: {:trap, :unreachable}}} = Actor.call(class, "alice", "add_and_trap", "1")
    eventually(fn -> awake.() == [] end)
    assert {:ok, "2"} = Actor.call(class, "alice", "add", "1")
  end

  test "no call is lost of those that come while a process without an actor ends" do
    class = class!()
    missing = fn -> Actor.call(class, "alice", "sum", "", create: false) end

    callers = for _caller <- 1..8, do: Task.async(fn -> for _call <- 1..100, do: missing.() end)
    answers = callers |> Task.await_many(60_000) |> Enum.concat()
    assert Enum.all?(answers, &match?({:error, %Error{reason: :unknown_actor}}, &1))
    cast = fn -> :ok = Actor.cast(class, "bob", "add", "1") end
    casts = for _caller <- 1..8, do: Task.async(fn -> for _call <- 1..10, do: cast.() end)
    for _call <- 1..100, do: Actor.call(class, "bob", "sum", "", create: false)
    Task.await_many(casts, 60_000)
    # What others have sent before it may come behind it.
    eventually(fn -> Actor.call(class, "bob", "sum") == {:ok, "80"} end)
  end

  test "a handler that an actor waits for is refused whatever it asks of it" do
    class = class!()
    asked = &{:ok, inspect(apply(Actor, String.to_existing_atom(&1.payload), [class, "alice"]))}
    handle!({"tidepool", "actor", class}, asked)

    for word <- [:info, :stop, :delete] do
      assert {:ok, answer} = Actor.call(class, "alice", "ask", "#{class}\n#{word}")
      assert answer =~ "reason: :deadlock"
    end
  end

  test "an actor may be sent what it does later by a handler that it waits for" do
    class = class!()
    handle!({"tidepool", "actor", class}, fn _call -> {:ok, inspect(Actor.cast(class, "alice", "add", "1"))} end)
    assert {:ok, ":ok"} = Actor.call(class, "alice", "ask", class)
    assert {:ok, "1"} = Actor.call(class, "alice", "sum")
  end
end
