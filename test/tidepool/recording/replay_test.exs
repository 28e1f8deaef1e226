defmodule Tidepool.Recording.ReplayTest do
  # Calls that were recorded come to the same when they are run again, and others do not.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, CallTrace, Engine, Error, FaultNative, Native, Peer, Recording}
  alias Tidepool.Function.Fields

  # The newest recording of a function, as a file.
  defp recorded!(name) do
    {:ok, [%{id: id} | _older]} = Recording.list(name)
    {:ok, recording} = Recording.fetch(id)
    recording
  end

  defp verdict(recording, wasm \\ nil, options \\ []) do
    {:ok, report} = Recording.replay(recording, wasm, options)
    report["verdict"]
  end

  # Answers a guest's question for the time of one call: nobody answers when that is replayed.
  defp answering(name, answer, ask) do
    target = {"host", name, "ask"}
    :ok = Tidepool.Host.register(target, answer)
    outcome = ask.("host/#{name}/ask\nquestion")
    Tidepool.Host.unregister(target)
    outcome
  end

  test "a call that drew random bytes draws the same when it is replayed" do
    name = deploy!("rust", "random", record: :all)
    {:ok, first} = Tidepool.call(name, "any")
    recording = recorded!(name)
    {:ok, second} = Tidepool.call(name, "any")
    assert first != second
    assert {:ok, %{"verdict" => "same", "replayed" => %{"begins" => ^first}}} = Recording.replay(recording)
  end

  test "a recording that has two names for its function is refused, and neither has a replay" do
    wasm = guest("wat", "returns_2")
    name = deploy!("wat", "returns_2", record: :all)
    _outcome = Tidepool.call(name, "returns_2")
    own = recorded!(name)
    {:ok, {^name, _version, about, _made, _start}, _call} = Native.read_recording(own)
    assert verdict(own, wasm) == "same"

    # Of another function, with what is said of that one.
    other = FaultNative.recording(FaultNative.runtime(), about)

    for refused <- [
          Recording.replay(other, wasm),
          Recording.replay(other, wasm, against: true),
          Recording.debug(other, wasm)
        ] do
      assert {:error, %Error{reason: :invalid_recording, message: message}} = refused
      assert message =~ ~s(it is of "returns_2", and that this was deployed as "#{name}")
    end
  end

  test "what is said of a function is in a list of its recordings once, however many there are" do
    name = deploy!("rust", "random", record: :all, description: String.duplicate("d", 200))
    for _call <- 1..50, do: {:ok, _bytes} = Tidepool.call(name, "any")
    eventually(fn -> match?({:ok, listed} when length(listed) == 50, Recording.list(name)) end)
    :erlang.garbage_collect()
    {:ok, listed} = Native.recordings(Engine.runtime(), name, 100)
    {:binary, held} = Process.info(self(), :binary)
    said = for {_id, _bytes, {^name, 1, about, _made, _start}, _call} <- listed, do: about
    assert length(said) == 50 and byte_size(hd(said)) > 200 and length(Enum.uniq(said)) == 1
    assert held |> Enum.uniq_by(&elem(&1, 0)) |> Enum.count(&(elem(&1, 1) >= byte_size(hd(said)))) < 10
  end

  test "what is said of functions that are called in turns is read once for each in a list of their recordings" do
    node = Peer.start!()
    names = ["low", "high"]
    for name <- names, do: Peer.deploy!(node, "rust", "random", name: name, record: :all)
    for _turn <- 1..5, name <- names, do: {:ok, _bytes} = Peer.call(node, Tidepool, :call, [name, "any"])
    list = fn -> Peer.call(node, Recording, :list, []) end
    eventually(fn -> match?({:ok, listed} when length(listed) == 10, list.()) end)

    :ok = Peer.call(node, CallTrace, :start, [{Fields, :read, 2}])
    {:ok, listed} = list.()
    assert length(listed) == 10
    assert length(Peer.call(node, CallTrace, :stop, [])) == 2
  end

  for language <- ["rust", "assemblyscript", "zig", "go", "c"] do
    @language language

    test "what the host answered a guest in #{language} comes from the recording, and nobody is asked" do
      name = deploy!(@language, "hello_world", record: :all)
      assert {:ok, "answer"} = answering(name, fn _call -> {:ok, "answer"} end, &Tidepool.call(name, "host", &1))
      recording = recorded!(name)

      assert {:ok, %{"verdict" => "same", "log" => log}} = Recording.replay(recording)
      assert %{"asked" => asked, "begins" => "answer"} = List.last(log)
      assert asked =~ "host/#{name}/ask"
    end
  end

  test "a call that trapped traps at the same instruction" do
    name = deploy!("rust", "faulty", record: :failures)
    {:ok, "20"} = Tidepool.call(name, "index", "1")
    {:error, %Error{reason: {:trap, _kind}, details: details}} = Tidepool.call(name, "index", "3")
    recording = recorded!(name)
    assert {:ok, %{"verdict" => "same", "exact" => true, "replayed" => replayed}} = Recording.replay(recording)
    offsets = &for(frame <- &1, do: frame[&2])
    assert offsets.(details.backtrace, :offset) == offsets.(replayed["backtrace"], "offset")
    assert {:ok, [%{reason: "trap"}]} = Recording.list(name)
  end

  test "a call of a warm instance is replayed with those that were before it" do
    name = deploy!("rust", "counter", record: :all, instances: {:warm, 1})
    counted = for _turn <- 1..20, do: Tidepool.call(name, "next")
    assert {:ok, last} = List.last(counted)

    assert {:ok, %{"verdict" => "same", "calls" => 20, "replayed" => %{"begins" => ^last}}} =
             Recording.replay(recorded!(name))
  end

  test "a call of an actor is replayed with the state that the actor had" do
    class = deploy!("rust", "ledger", actor: true, record: :failures)
    for number <- 1..70, do: {:ok, _sum} = Actor.call(class, "Ada", "add", "#{number}")
    assert {:error, %Error{reason: {:trap, _kind}}} = Actor.call(class, "Ada", "add_and_trap", "5")
    assert {:ok, %{"verdict" => "same", "calls" => calls}} = Recording.replay(recorded!(class))
    assert calls < 70
  end

  test "another version is told by what its callers would notice" do
    name = deploy!("rust", "hello_world", record: :all)
    {:ok, "Hello, Ada!"} = Tidepool.call(name, "hello", "Ada")
    recording = recorded!(name)
    # The same, in other words.
    assert verdict(recording, guest("zig", "hello_world"), against: true) == "same"
    assert verdict(recording, guest("rust", "faulty"), against: true) == "trapped"
    assert {:error, %Error{reason: :invalid_recording}} = Recording.replay(recording, guest("zig", "hello_world"))
  end

  test "another version that asks for what nobody recorded, or asks less, is told" do
    name = deploy!("rust", "hello_world", record: :all)
    {:ok, "answer"} = answering(name, fn _call -> {:ok, "answer"} end, &Tidepool.call(name, "host", &1))
    asked = recorded!(name)
    # It answers an operation that it does not know without a question.
    assert verdict(asked, guest("rust", "faulty"), against: true) == "trapped"
    {:error, _no_handler} = Tidepool.call(name, "host", "host/#{name}/nobody\nx")
    assert verdict(recorded!(name)) == "same"
  end

  test "a recording that is damaged is an error, and never another call" do
    name = deploy!("rust", "hello_world", record: :all)
    {:ok, _reply} = Tidepool.call(name, "hello", "Ada")
    recording = recorded!(name)

    for at <- Enum.take_every(0..(byte_size(recording) - 1), 7) do
      <<before::binary-size(at), byte, rest::binary>> = recording
      damaged = <<before::binary, Bitwise.bxor(byte, 1), rest::binary>>
      assert {:error, %Error{reason: :invalid_recording}} = Recording.replay(damaged)
    end

    assert {:error, %Error{reason: :invalid_recording}} = Recording.read("no recording")
  end

  test "one that is redacted says what happened, and nothing of what was sent" do
    name = deploy!("rust", "hello_world", record: :all, redact: true)
    {:error, _failed} = Tidepool.call(name, "fail", "a secret of Ada's")
    recording = recorded!(name)
    refute recording =~ "secret"
    assert {:ok, %{redacted: true, payload_bytes: 17, reason: "guest_error"}} = Recording.read(recording)
    assert {:error, %Error{reason: :invalid_recording}} = Recording.replay(recording)
  end

  test "what can't be replayed is not deployed with `record`, and what is off is not recorded" do
    assert {:error, %Error{reason: :invalid_config, message: message}} =
             Tidepool.deploy(guest("lunatic", "sum"), name: unique_name("sum"), record: :all, net: ["*"])

    assert message =~ "record"

    assert {:error, %Error{reason: :invalid_config}} =
             Tidepool.deploy(guest("rust", "hello_world"), name: unique_name("net"), record: :all, net: ["*"])

    name = deploy!("rust", "hello_world")
    {:error, _failed} = Tidepool.call(name, "fail", "")
    assert {:ok, []} = Recording.list(name)
  end

  test "a call that its time cut off comes to where it was cut" do
    name = deploy!("wat", "loop", record: :failures, limits: [time: 100])
    assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, "late")
    assert verdict(recorded!(name)) == "cut"
  end

  test "a deploy that is to be verified is refused when a recorded call would come to something else, and changes nothing" do
    name = deploy!("rust", "hello_world", record: :all)
    for who <- ["Ada", "Grace"], do: {:ok, _greeting} = Tidepool.call(name, "hello", who)
    verify = &Tidepool.deploy(guest(&1, &2), name: name, verify: &3)

    assert {:error, %Error{reason: :differs, details: %{step: :verify, recording: id, verdict: "trapped"}}} =
             verify.("rust", "faulty", allow: 0)

    assert {:ok, [%{id: ^id}, _older]} = Recording.list(name)
    assert {:error, %Error{reason: :differs}} = verify.("rust", "faulty", last: 2, allow: 1)
    assert {:ok, %{version: 1}} = Tidepool.fetch(name)
    assert {:ok, %{version: 2}} = verify.("zig", "hello_world", last: 1_000, allow: 0)
    # Two are allowed.
    assert {:ok, %{version: 3}} = verify.("rust", "faulty", allow: 2)
  end

  test "a version that never comes to its end is at its limit, and a call that was cut before is no excuse for one that traps" do
    name = deploy!("rust", "hello_world", record: :all, limits: [cpu_time: 200])
    {:ok, _greeting} = Tidepool.call(name, "hello", "Ada")
    assert verdict(recorded!(name), guest("wat", "loop"), against: true) == "limit"

    late = deploy!("wat", "loop", record: :failures, limits: [time: 100])
    {:error, %Error{reason: :timeout}} = Tidepool.call(late, "late")
    assert verdict(recorded!(late), guest("wat", "loop"), against: true) == "cut"
    assert verdict(recorded!(late), guest("wat", "trap_unreachable"), against: true) == "trapped"
  end

  test "what takes no such calls fails all that were recorded" do
    name = deploy!("rust", "calc", record: :all)
    {:ok, 42} = Tidepool.call(name, :add, [19, 23])
    recording = recorded!(name)
    assert verdict(recording) == "same"
    deploy = &Tidepool.deploy(&1, name: name, verify: [last: 10])
    assert {:error, %Error{reason: :differs, details: %{verdict: "failed"}}} = deploy.(guest("rust", "hello_world"))
    assert {:error, %Error{reason: :differs, details: %{verdict: "failed"}}} = deploy.(guest("lunatic", "sum"))
    # It is of a module that exports functions, and no component is one.
    assert {:error, %Error{}} = Recording.replay(recording, guest("component", "calc"), against: true)
  end

  test "what a file says of its function opens nothing to the guest that is replayed" do
    name = deploy!("rust", "hello_world", record: :all)
    {:ok, _greeting} = Tidepool.call(name, "hello", "Ada")
    # Of a larger module than may be deployed there is no replay either.
    large = :binary.copy(<<0>>, Tidepool.Config.get(:max_module) + 1)
    assert {:error, %Error{reason: :too_large}} = Recording.replay(recorded!(name), large, against: true)
  end
end
