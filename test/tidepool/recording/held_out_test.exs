defmodule Tidepool.Recording.HeldOutTest do
  # Guests that nobody had in mind when recordings were made: each call of them has another end, by the clock, by random bytes, by what
  # the host says and by what their instance was told before. They are recorded on a node that is killed, and replayed on another.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Peer, Recording}

  @languages ["rust", "go", "zig", "assemblyscript", "c"]
  @kinds [:answered, :trapped]
  @weigh ~S[Tidepool.Host.register({"fickle", "test", "weigh"}, fn _call -> {:ok, "#{:rand.uniform(1_000_000)}"} end)]
  # Each ends in one way in at least a quarter of all calls: by chance none does once in 10^12 runs.
  @turns 100
  @years 10 * 365 * 24 * 3_600

  setup_all do
    peer = Peer.start!()
    {:ok, []} = Peer.call(peer, Code, :eval_string, [@weigh])
    for language <- @languages, do: Peer.deploy!(peer, language, "fickle", name: language, record: :all)
    Peer.deploy!(peer, "zig", "fickle", name: "warm", record: :all, instances: {:warm, 1})
    Peer.deploy!(peer, "rust", "fickle", name: "actor", record: :failures, actor: true)

    asked = for name <- ["warm" | @languages], kind <- @kinds, do: {name, "mix", kind}

    calls =
      for {name, operation, kind} = asked <- [{"go", "first", :trapped} | asked],
          into: %{{"actor", "mix", :trapped} => after_thousand!(peer)},
          do: {asked, until!(peer, name, operation, kind)}

    # The list is what it has told last.
    {:ok, listed} = Peer.call(peer, Recording, :list, [nil, 1_000])
    Peer.halt(peer)
    again = Peer.start!(data: peer.data)
    # It never had the functions, and nobody answers guests there.
    clock = Tidepool.FalseClock.new!() |> Tidepool.FalseClock.set(-@years)
    elsewhere = Peer.start!([], env: Tidepool.FalseClock.environment(clock))
    %{calls: calls, listed: listed, again: again, elsewhere: elsewhere}
  end

  # Calls until one ends so; that one's recording, and what the caller was told.
  defp until!(peer, name, operation, kind) do
    Enum.find_value(1..@turns, fn _turn ->
      outcome = Peer.call(peer, Tidepool, :call, [name, operation, ""])
      if kind(outcome) == kind, do: {newest!(peer, name), outcome}
    end) || raise "no call of #{name} was #{kind}"
  end

  # The first that traps after 1,000 others, of which some have trapped.
  defp after_thousand!(peer) do
    Enum.find_value(1..(1_000 + @turns), fn turn ->
      outcome = Peer.call(peer, Tidepool.Actor, :call, ["actor", "Ada", "mix", ""])
      if turn > 1_000 and kind(outcome) == :trapped, do: {newest!(peer, "actor"), outcome}
    end) || raise "no call of the actor has trapped"
  end

  defp kind({:ok, _reply}), do: :answered
  defp kind({:error, %Error{reason: {:trap, _kind}}}), do: :trapped

  defp newest!(peer, name) do
    {:ok, [%{id: id}]} = Peer.call(peer, Recording, :list, [name, 1])
    id
  end

  # What another node makes of it, which has the module and the file alone.
  defp replayed!(%{calls: calls, again: again, elsewhere: elsewhere}, call, language) do
    {id, outcome} = Map.fetch!(calls, call)
    {:ok, recording} = Peer.call(again, Recording, :fetch, [id])
    module = Tidepool.Case.guest(language, "fickle")
    {:ok, report} = Peer.call(elsewhere, Recording, :replay, [recording, module])

    # Not `exact` where it was recorded of optimised code, and what replays it has compiled in a hurry: Go's modules are large.
    assert report["verdict"] == "same"
    told(report["replayed"], outcome)
    report
  end

  defp told(%{"reason" => "ok"} = replayed, {:ok, reply}), do: assert(replayed["begins"] == reply)

  defp told(%{"reason" => "trap"} = replayed, {:error, %Error{reason: {:trap, kind}, details: details}}) do
    assert replayed["kind"] == to_string(kind)
    assert [_ | _] = offsets = for(frame <- replayed["backtrace"], do: frame["offset"])
    assert offsets == for(frame <- details.backtrace, do: frame.offset)
  end

  for language <- @languages, kind <- @kinds do
    @language language
    @kind kind

    test "a call in #{language} that #{kind} comes to the same on another node, after its own was killed", context do
      assert %{"log" => log} = replayed!(context, {@language, "mix", @kind}, @language)
      # The clock, random bytes and the host: none of them is the same in two calls.
      assert Enum.any?(log, & &1["ns"])
      assert Enum.any?(log, &(&1["asked"] =~ "fickle/test/weigh"))
    end
  end

  test "a call in Go that trapped by the order of a map traps at the same instruction", context do
    replayed!(context, {"go", "first", :trapped}, "go")
  end

  for kind <- @kinds do
    @kind kind

    test "a call that #{kind} by what its warm instance was told before comes to the same", context do
      replayed!(context, {"warm", "mix", @kind}, "zig")
    end
  end

  test "a call of an actor that trapped after 1,000 others traps at the same instruction", context do
    assert %{"calls" => calls} = replayed!(context, {"actor", "mix", :trapped}, "rust")
    assert calls <= 64
  end

  test "what was listed before a node was killed is listed after it, all of it", %{listed: listed, again: again} do
    assert {:ok, ^listed} = Peer.call(again, Recording, :list, [nil, 1_000])
    assert length(listed) > 2 * length(@languages)
  end
end
