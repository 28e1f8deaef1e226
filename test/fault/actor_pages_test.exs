defmodule Tidepool.Fault.ActorPagesTest do
  # A page of PostgreSQL's can't be read any more, which one actor needs and others don't.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, ActorScript, Error, Peer, Postgres, TestCluster}

  @writers 20
  @adds 100

  defp call(peer, name, operation, payload), do: Peer.call(peer, Actor, :call, ["ledger", name, operation, payload])

  defp sql!(postgres, sql) do
    arguments = ["-h", Postgres.folder(postgres), "-U", "tidepool", "-v", "ON_ERROR_STOP=1", "-c", sql, "postgres"]
    assert {_text, 0} = System.cmd("psql", arguments, stderr_to_stdout: true)
  end

  test "a change that was written is told as that, whatever could not be read of another's beside it" do
    {postgres, url} = Postgres.start!()
    [peer] = TestCluster.start!(1, actors: {:postgres, url}, builtins: [:actor])
    Peer.deploy!(peer, "rust", "ledger", actor: true)
    eventually(fn -> match?({:ok, _sum}, call(peer, "victim", "add", "1")) end, 60_000)
    assert {:ok, _done} = call(peer, "victim", "host", ActorScript.put("key", "value"))
    :ok = Peer.call(peer, Actor, :stop, ["ledger", "victim"])

    # Its record is damaged, so it can't be called, and the page of its values is, so it can't be erased either.
    sql!(postgres, "update tidepool.record set head = head || 'x' where name = convert_to('victim', 'UTF8')")

    sql!(postgres, """
    create function unreadable() returns trigger language plpgsql as
    $$ begin raise exception 'invalid page' using errcode = 'data_corrupted'; end $$;
    create trigger unreadable before delete on tidepool.value for each row execute function unreadable();
    """)

    writers = for number <- 1..@writers, do: Task.async(fn -> add(peer, "writer-#{number}", @adds) end)
    erased = erase(peer, writers, 0)
    assert erased > 10
    assert Task.await_many(writers, 200_000) == List.duplicate(:ok, @writers)
    for number <- 1..@writers, do: assert({:ok, "#{@adds}"} == call(peer, "writer-#{number}", "sum", ""))
  end

  defp add(_peer, _name, 0), do: :ok
  defp add(peer, name, left), do: with({:ok, _sum} <- call(peer, name, "add", "1"), do: add(peer, name, left - 1))

  # As long as others write; how often.
  defp erase(peer, writers, count) do
    if Enum.any?(writers, &Process.alive?(&1.pid)) do
      assert {:error, %Error{reason: :no_store}} = Peer.call(peer, Actor, :delete, ["ledger", "victim"])
      erase(peer, writers, count + 1)
    else
      count
    end
  end
end
