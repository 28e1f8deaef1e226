defmodule Tidepool.ActorsHistoriesTest do
  # What clients see of actors on five nodes that share a database, while nodes are killed, stand still and are cut off, clocks are set,
  # and the database ends: `Tidepool.Rounds`.
  use Tidepool.Case, async: false

  alias Tidepool.{HeldLink, Peer, Postgres, Rounds, SlowLink}

  @moduletag timeout: Rounds.timeout_ms()

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

    nodes =
      Rounds.nodes!(fn _names ->
        {link, folder} = HeldLink.start!(Postgres.folder(postgres))
        url = "postgres:///postgres?host=#{folder}&user=tidepool&application_name="
        # The database knows each start of a node by a name of its own.
        %{link: link, actors: &{:postgres, url <> URI.encode_www_form(&1)}}
      end)

    # The first node that knows the others makes the tables.
    eventually(fn -> match?({_output, 0}, sql(url, @audit)) end, Rounds.patience_ms())
    Rounds.run(nodes, &faults(&1, postgres, &2))
    twice = "SELECT shard, epoch, string_agg(who, ' ') FROM public.audit GROUP BY shard, epoch HAVING count(*) > 1"
    assert {"", 0} = sql(url, twice)
    {commits, 0} = sql(url, "SELECT count(DISTINCT (epoch, who)) FROM public.audit")
    # Which nodes have the few shards of these actors is chance; that the notes are made is not.
    assert commits |> String.trim() |> String.to_integer() > 1
  end

  defp sql(url, sql),
    do: System.cmd("psql", ["-qXAt", "-v", "ON_ERROR_STOP=1", url, "-1", "-c", sql], stderr_to_stdout: true)

  # Each is over at another time: a node stands still for longer than its lease, one is killed and comes back, two are cut off from the
  # database in one direction each, two from each other, and one is not heard by another; clocks are set, the database's twice; then the
  # database ends as well.
  defp faults([still, killed, deaf, mute, other], postgres, there) do
    set_clock(postgres)
    Rounds.signal(still, "STOP")
    HeldLink.hold(deaf.link, :from)
    Rounds.pause(500)
    HeldLink.hold(mute.link, :to)
    killed = Rounds.restart(killed, there)
    Peer.cut(killed.peer, other.peer)
    Rounds.set_clocks([killed, deaf, mute, other])
    Rounds.pause(Rounds.lapse_ms())
    Rounds.signal(still, "CONT")
    HeldLink.release(deaf.link)
    HeldLink.release(mute.link)
    SlowLink.hold(other.cable, deaf.name, other.name)
    set_clock(postgres)
    Rounds.pause(1_500)
    Peer.heal(killed.peer, other.peer)
    SlowLink.release(other.cable)
    :ok = Postgres.tell(postgres, :stop)
    Rounds.pause(1_000)
    :ok = Postgres.tell(postgres, :start)
    [still, killed, deaf, mute, other]
  end

  # It is over once it says so.
  defp set_clock(postgres) do
    seconds = Rounds.jump_s()
    Postgres.set_clock(postgres, seconds)
    url = "postgres:///postgres?host=#{Postgres.folder(postgres)}&user=tidepool"

    eventually(
      fn ->
        {said, 0} = sql(url, "SELECT floor(extract(epoch FROM clock_timestamp()))")
        said |> String.trim() |> String.to_integer() |> Rounds.ahead?(seconds)
      end,
      Rounds.patience_ms()
    )
  end
end
