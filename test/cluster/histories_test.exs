defmodule Tidepool.ActorsHistoriesTest do
  # What clients see of actors on five nodes, while nodes are killed, stand still and are cut off, clocks are set, and the database ends:
  # it has to be what actors would answer that are there once, and never fail. TIDEPOOL_CHAOS_S=600 goes on for ten minutes, with a
  # thousand actors.
  use Tidepool.Case, async: false

  alias Tidepool.{Actor, FalseClock, HeldLink, Histories, Peer, Postgres, SlowLink, TestCluster}

  @chaos_s String.to_integer(System.get_env("TIDEPOOL_CHAOS_S", "0"))
  @moduletag timeout: 900_000 + 2_000 * @chaos_s

  @nodes 5
  @clients 10
  # Actors of each kind in a round, of which half of the calls are, and all that there are.
  @busy 4
  @actors if @chaos_s > 0, do: 334, else: 20
  # By how much a clock is wrong.
  @jumps_s [-3_600, -60, -5, 0, 5, 60, 3_600]
  # Longer than a lease lasts.
  @lapse_ms 6_500
  @patience 60_000

  # Notes under which name the database's user writes a shard, by which epoch.
  @audit """
  CREATE TABLE public.audit (shard smallint, epoch bigint, who text, PRIMARY KEY (shard, epoch, who));
  CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.shard < 4096 THEN
      INSERT INTO public.audit VALUES (NEW.shard, NEW.epoch, current_setting('application_name')) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER audit AFTER INSERT OR UPDATE ON tidepool.record FOR EACH ROW EXECUTE FUNCTION public.audit();
  """

  test "what clients see of actors is linearizable, and one node commits in an epoch, whatever fails" do
    {postgres, url} = Postgres.start!(clock: true)
    cookie = Peer.cookie()
    names = for number <- 1..@nodes, do: Peer.name("n#{number}")
    cable = start_supervised!({SlowLink, nodes: names, delay_ms: 0, bytes_per_s: 1_000_000_000})

    nodes =
      for name <- names do
        {link, own} = HeldLink.start!(Postgres.folder(postgres))
        clock = FalseClock.new!()
        node = %{name: name, link: link, folder: own, clock: clock, cable: cable, cookie: cookie, starts: 0, data: nil}
        start(Map.put(node, :seeds, names -- [name]))
      end

    Peer.deploy!(hd(nodes).peer, "rust", "ledger", name: "ledger", actor: true)
    # The first node that knows the others makes the tables.
    eventually(fn -> match?({_output, 0}, sql(url, @audit)) end, @patience)
    until = System.monotonic_time(:second) + @chaos_s
    nodes = round(1, nodes, postgres, until)
    assert Enum.all?(nodes, & &1.peer)
    twice = "SELECT shard, epoch, string_agg(who, ' ') FROM public.audit GROUP BY shard, epoch HAVING count(*) > 1"
    assert {"", 0} = sql(url, twice)
    {commits, 0} = sql(url, "SELECT count(DISTINCT (epoch, who)) FROM public.audit")
    # Which nodes have the few shards of these actors is chance; that the notes are made is not.
    assert commits |> String.trim() |> String.to_integer() > 1
  end

  defp sql(url, sql),
    do: System.cmd("psql", ["-qXAt", "-v", "ON_ERROR_STOP=1", url, "-1", "-c", sql], stderr_to_stdout: true)

  # A node, started again with its data when it has some; the database knows each start of it by a name of its own.
  defp start(node) do
    starts = node.starts + 1
    who = "#{node.name}-#{starts}"
    url = "postgres:///postgres?host=#{node.folder}&user=tidepool&application_name=#{URI.encode_www_form(who)}"
    data = if node.data, do: [data: node.data], else: []
    options = [args: SlowLink.arguments(node.cable), env: FalseClock.environment(node.clock)]
    peer = TestCluster.start_node!(node.name, node.cookie, node.seeds, [actors: {:postgres, url}] ++ data, options)
    os_pid = Peer.call(peer, System, :pid, [])
    Map.merge(node, %{starts: starts, peer: peer, data: peer.data, os_pid: os_pid})
  end

  defp round(number, nodes, postgres, until) do
    actors = for kind <- ~w(counter register list), actor <- 1..@actors, do: "#{kind} #{number}.#{actor}"
    busy = for kind <- ~w(counter register list), actor <- 1..@busy, do: "#{kind} #{number}.#{actor}"
    {:ok, there} = Agent.start_link(fn -> Enum.map(nodes, & &1.peer) end)
    choose = fn -> Enum.random(Enum.random([busy, actors])) end
    clients = Histories.start(@clients, "ledger", choose, fn -> Agent.get(there, & &1) end)
    nodes = faults(Enum.shuffle(nodes), postgres, there)
    answered(nodes, actors)
    {seen, unexpected} = Histories.stop(clients)
    assert unexpected == []
    {linearizable?, said} = Histories.check(seen)
    assert linearizable?, said
    asked = seen |> Enum.map(& &1.actor) |> Enum.uniq() |> length()
    if @chaos_s > 0, do: IO.puts("round #{number}: #{String.trim(said)}, of #{asked} actors")
    assert Enum.count(seen, & &1.answered) > 50

    if System.monotonic_time(:second) < until,
      do: round(number + 1, nodes, postgres, until),
      else: nodes
  end

  # Each is over at another time: a node stands still for longer than its lease, one is killed and comes back, two are cut off from the
  # database in one direction each, two from each other, and one is not heard by another; clocks are set, the database's twice; then the
  # database ends as well.
  defp faults([still, killed, deaf, mute, other], postgres, there) do
    set_clock(postgres, Enum.random(@jumps_s))
    signal(still, "STOP")
    HeldLink.hold(deaf.link, :from)
    pause(500)
    Agent.update(there, &List.delete(&1, killed.peer))
    Peer.halt(killed.peer)
    HeldLink.hold(mute.link, :to)
    killed = start(killed)
    Agent.update(there, &[killed.peer | &1])
    Peer.cut(killed.peer, other.peer)
    for node <- [killed, deaf, mute, other], do: set_clock(node, Enum.random(@jumps_s))
    pause(@lapse_ms)
    signal(still, "CONT")
    HeldLink.release(deaf.link)
    HeldLink.release(mute.link)
    SlowLink.hold(other.cable, deaf.name, other.name)
    set_clock(postgres, Enum.random(@jumps_s))
    pause(1_500)
    Peer.heal(killed.peer, other.peer)
    SlowLink.release(other.cable)
    :ok = Postgres.tell(postgres, :stop)
    pause(1_000)
    :ok = Postgres.tell(postgres, :start)
    [still, killed, deaf, mute, other]
  end

  # It is over once they say so.
  defp set_clock(%{peer: peer, clock: clock}, seconds) do
    FalseClock.set(clock, seconds)
    eventually(fn -> ahead?(Peer.call(peer, :os, :system_time, [:second]), seconds) end, @patience)
  end

  defp set_clock(postgres, seconds) do
    Postgres.set_clock(postgres, seconds)
    url = "postgres:///postgres?host=#{Postgres.folder(postgres)}&user=tidepool"

    eventually(
      fn ->
        {said, 0} = sql(url, "SELECT floor(extract(epoch FROM clock_timestamp()))")
        said |> String.trim() |> String.to_integer() |> ahead?(seconds)
      end,
      @patience
    )
  end

  defp ahead?(said, seconds), do: abs(said - seconds - System.os_time(:second)) <= 2

  # All nodes answer for all actors again.
  defp answered(nodes, actors) do
    for node <- nodes do
      Task.async(fn ->
        for actor <- actors do
          eventually(
            fn ->
              {:ok, _sum} = Peer.call(node.peer, Actor, :call, ["ledger", actor, "sum", "", [timeout: 5_000]])
            end,
            @patience
          )
        end
      end)
    end
    |> Task.await_many(:infinity)
  end

  defp signal(node, signal), do: {_output, 0} = System.cmd("kill", ["-#{signal}", node.os_pid])

  # How long a fault lasts.
  defp pause(ms) do
    receive do
    after
      ms -> :ok
    end
  end
end
