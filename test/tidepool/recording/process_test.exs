defmodule Tidepool.Recording.ProcessTest do
  # Processes that were recorded come to the same when each is run again alone, and others do not.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Peer, Puppets, PuppetShow, Recording}

  @moduletag :lunatic

  # A task is gone with its process, and its term some time later.
  defp kept!(name, count) do
    {:ok, listed} = Recording.list(name)
    if length(listed) == count, do: listed, else: kept!(name, count)
  end

  defp fetch!(%{id: id}) do
    {:ok, recording} = Recording.fetch(id)
    recording
  end

  test "one of fifty processes that panics is replayed to the same instruction on another node, after its own was killed" do
    peer = Peer.start!()
    Peer.deploy!(peer, "lunatic", "puppet", record: :failures)
    :ok = Peer.call(peer, PuppetShow, :run, ["puppet"])
    {:ok, listed} = Peer.call(peer, Recording, :list, ["puppet", 100])
    # The one, and its friend before it.
    assert [%{reason: "trap", operation: "puppet"}, %{reason: "trap"}] = listed
    Peer.halt(peer)
    again = Peer.start!(data: peer.data)
    assert {:ok, ^listed} = Peer.call(again, Recording, :list, ["puppet", 100])

    for %{id: id} <- listed do
      {:ok, recording} = Peer.call(again, Recording, :fetch, [id])
      assert {:ok, report} = Recording.replay(recording, guest("lunatic", "puppet"))
      assert %{"verdict" => "same", "exact" => true, "recorded" => recorded, "replayed" => replayed} = report
      places = &for(frame <- &1["backtrace"], do: {frame["index"], frame["offset"]})
      assert places.(recorded) == places.(replayed)
      assert [_first, _second | _more] = places.(replayed)

      assert Enum.any?(
               report["log"],
               &(&1["asked"] =~ "lunatic::message.receive" and &1["begins"] =~ "a message of 17 bytes")
             )
    end
  end

  test "each process of a program is kept where all are, those that were killed up to there" do
    name = deploy!("lunatic", "puppet", record: :all)
    puppet = Puppets.start(name)
    {id, child} = Puppets.spawn(puppet)
    Puppets.tell(puppet, ?Y, id, 11)
    assert {^child, {:done, 11}} = hear_of(child)
    Tidepool.Process.kill(puppet)
    listed = kept!(name, 2)
    assert listed |> Enum.map(& &1.operation) |> Enum.sort() == ["_start", "puppet"]

    for one <- listed do
      assert {:ok, %{"verdict" => "cut", "calls" => 1}} = Recording.replay(fetch!(one))
    end
  end

  # What a puppet that another has asked tells.
  defp hear_of(puppet) do
    case Puppets.hear() do
      {^puppet, _told} = told -> told
      _other -> hear_of(puppet)
    end
  end

  test "a process is compared with another version by what it asks and is told" do
    name = deploy!("lunatic", "puppet", record: :failures)
    puppet = Puppets.start(name)
    Puppets.tell(puppet, ?W, 1)
    monitor = Process.monitor(puppet)
    Puppets.ask(puppet, ?C)
    assert_receive {:DOWN, ^monitor, :process, ^puppet, {%Error{}, []}}
    recording = name |> kept!(1) |> hd() |> fetch!()

    verdict = fn wasm ->
      with {:ok, report} <- Recording.replay(recording, wasm, against: true), do: report["verdict"]
    end

    assert verdict.(guest("lunatic", "puppet")) == "same"
    # It waits for other messages, and has no such entry.
    assert verdict.(guest("lunatic", "sum")) in ["asked_more", "asked_less"]
    assert verdict.(guest("rust", "hello_world")) in ["trapped", "failed", "asked_less"]
  end

  test "a process that is redacted says how it ended, and what it was told is not kept" do
    name = deploy!("lunatic", "puppet", record: :failures, redact: true)
    puppet = Puppets.start(name, env: %{"SECRET" => "a secret of Ada's"})
    monitor = Process.monitor(puppet)
    Puppets.ask(puppet, ?C)
    assert_receive {:DOWN, ^monitor, :process, ^puppet, {%Error{}, []}}
    recording = name |> kept!(1) |> hd() |> fetch!()
    refute recording =~ "secret"
    assert {:ok, %{redacted: true, reason: "trap"}} = Recording.read(recording)
    assert {:error, %Error{reason: :invalid_recording}} = Recording.replay(recording)
  end

  test "what no tape has a place for is not deployed with `record`" do
    for options <- [[net: ["*"]], [files: ["/data=memory"]]] do
      options = options ++ [name: unique_name("puppet"), record: :all]

      assert {:error, %Error{reason: :invalid_config, message: message}} =
               Tidepool.deploy(guest("lunatic", "puppet"), options)

      assert message =~ "record"
    end
  end
end
