defmodule Tidepool.Processes.ChaosTest do
  # Thousands of processes that link, send, kill and die at random, beside auditors, which are told of every death.
  use Tidepool.Case, async: false

  alias Tidepool.Process, as: Guest

  @moduletag :lunatic
  @workers 10_000
  @auditors 50
  # Links and monitors of each worker with auditors, commands for each worker, and those who command.
  @audits 2
  @orders 6
  @masters 4
  @patience 60_000
  # What a puppet answers that was asked for it.
  @barrier 987_654_321

  test "every link and monitor of 10,000 processes fires once, as they die at random, and nothing is left" do
    function = deploy!("lunatic", "puppet")
    :rand.seed(:exsss, 14)
    processes = :erlang.system_info(:process_count)
    # Thousands panic, and nobody wants to read it.
    silence = start_supervised!({Task, fn -> silence() end})
    {:ok, main} = Guest.start(function, [], output: silence)
    {:ok, id} = Guest.introduce(main, self())
    send(main, {:tidepool, 0, <<id::little-64>>})
    {main_id, ^main} = here!()

    auditors = puppets!(main, @auditors)
    for {_id, auditor} <- auditors, do: tell(auditor, ?D, 0, 0)
    workers = puppets!(main, @workers)
    references = for {id, pid} <- workers, into: %{}, do: {Process.monitor(pid), id}

    # Who audits whom, known to all before anybody dies.
    audits = for {id, _pid} <- workers, _ <- 1..@audits, do: {Enum.random(auditors), id}
    audits = Enum.uniq(audits)
    for {{_id, auditor}, id} <- audits, do: tell(auditor, ?L, id, tag(id))
    for {{_id, auditor}, id} <- audits, do: tell(auditor, ?M, id, 0)
    flushed!(auditors)

    1..@masters
    |> Enum.map(fn seed -> Task.async(fn -> chaos(seed, main_id, workers) end) end)
    |> Task.await_many(@patience)

    # Whoever is left ends now, one well, the next badly.
    for {id, pid} <- workers, do: tell(pid, if(rem(id, 2) == 0, do: ?R, else: ?C), 0, 0)
    {reasons, notices} = deaths(references, Map.new(auditors, fn {id, pid} -> {pid, id} end), %{}, [])
    assert map_size(reasons) == @workers
    assert Enum.count(reasons, fn {_id, reason} -> reason == :normal end) in 1..(@workers - 1)

    notices = Enum.frequencies(notices ++ flushed!(auditors))

    for {{auditor, _pid}, id} <- audits do
      links = Map.get(notices, {auditor, 3, tag(id)}, 0)
      expected = if reasons[id] == :normal, do: 0, else: 1
      assert {id, reasons[id], links} == {id, reasons[id], expected}
      assert {id, Map.get(notices, {auditor, 4, id}, 0)} == {id, 1}
    end

    # None of what nobody waits for.
    assert Enum.sum(Map.values(notices)) ==
             Enum.sum(for({{_, _}, id} <- audits, do: if(reasons[id] == :normal, do: 1, else: 2)))

    Process.exit(main, :kill)
    eventually(fn -> :erlang.system_info(:process_count) <= processes + 5 end, @patience)
    assert Enum.filter(Guest.list(), &(&1.function == function)) == []
  end

  defp silence, do: receive(do: (_line -> silence()))

  # Not the number itself, so that none is taken for the other.
  defp tag(id), do: id + 1_000_000

  # So many puppets, which none is linked to: `{id, pid}`.
  defp puppets!(main, count) do
    for _ <- 1..count, do: tell(main, ?S, 0, 0)
    for _ <- 1..count, do: here!()
  end

  defp chaos(seed, main_id, workers) do
    :rand.seed(:exsss, seed)
    workers = List.to_tuple(workers)
    one = fn -> elem(workers, :rand.uniform(tuple_size(workers)) - 1) end

    for _ <- 1..div(tuple_size(workers) * @orders, @masters) do
      {_id, pid} = one.()
      {other, other_pid} = one.()

      # Links of who dies of them are few, or one death would be all of theirs.
      case :rand.uniform(20) do
        n when n <= 3 and pid != other_pid -> tell(pid, ?L, other, 7)
        n when n <= 6 -> tell(pid, ?U, other, 0)
        n when n <= 8 -> tell(pid, ?D, Enum.random([0, 1]), 0)
        n when n <= 11 -> tell(pid, ?M, other, 0)
        n when n <= 16 -> tell(pid, ?E, main_id, 0)
        n when n <= 18 -> tell(pid, ?K, other, 0)
        19 -> tell(pid, ?R, 0, 0)
        20 -> tell(pid, ?C, 0, 0)
      end
    end
  end

  defp tell(pid, command, id, tag), do: send(pid, {:tidepool, 0, <<command, id::little-64, tag::little-64>>})

  # Who is there: all else that is said meanwhile is an answer.
  defp here! do
    receive do
      {:tidepool, pid, _tag, <<1, id::little-64>>} -> {id, pid}
      {:tidepool, _pid, _tag, <<2, _result::little-64>>} -> here!()
    after
      @patience -> flunk("a puppet does not come")
    end
  end

  # All that auditors have said once they have done everything they were told.
  defp flushed!(auditors) do
    for {_id, pid} <- auditors, do: tell(pid, ?P, @barrier, 0)
    auditors |> Map.new(fn {id, pid} -> {pid, id} end) |> heard(length(auditors), [])
  end

  defp heard(_auditors, 0, notices), do: notices

  defp heard(auditors, waiting, notices) do
    receive do
      {:tidepool, pid, _tag, <<what, number::little-64>>} ->
        case auditors do
          %{^pid => id} when what in [3, 4] -> heard(auditors, waiting, [{id, what, number} | notices])
          %{^pid => _id} when {what, number} == {2, @barrier} -> heard(auditors, waiting - 1, notices)
          _done -> heard(auditors, waiting, notices)
        end
    after
      @patience -> flunk("#{waiting} auditors have not answered")
    end
  end

  # Why each worker has died, and what auditors have said meanwhile. All messages are taken as they come: there are many.
  defp deaths(references, _auditors, reasons, notices) when map_size(references) == 0, do: {reasons, notices}

  defp deaths(references, auditors, reasons, notices) do
    receive do
      {:DOWN, reference, :process, _pid, reason} ->
        {id, references} = Map.pop(references, reference)
        deaths(references, auditors, Map.put(reasons, id, reason), notices)

      {:tidepool, pid, _tag, <<what, number::little-64>>} when what in [3, 4] and is_map_key(auditors, pid) ->
        deaths(references, auditors, reasons, [{auditors[pid], what, number} | notices])

      {:tidepool, _pid, _tag, _bytes} ->
        deaths(references, auditors, reasons, notices)
    after
      @patience -> flunk("#{map_size(references)} workers don't die")
    end
  end
end
