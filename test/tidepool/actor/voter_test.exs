defmodule Tidepool.Actor.VoterTest do
  # What a node notes of its voter's folder. Not async: the table of what is true of the voter has a name.
  use Tidepool.Case

  import ExUnit.CaptureLog

  alias Tidepool.Actor.Voter
  alias Tidepool.Actor.Voter.Company
  alias Tidepool.Catalog.Store
  alias Tidepool.Native

  test "what a folder was refused for is noted until a voter that leads has told the node that it is a member" do
    folder = Path.join(tmp_folder!(), "replicated")
    File.mkdir_p!(folder)
    own = to_string(node())
    refused = Voter.refused(folder)
    File.write!(refused, "it was removed")
    {:ok, voter} = Native.open_voter(folder, own, [own])
    eventually(fn -> Native.voter_standing(voter) == :member end)

    :ets.new(Voter, [:named_table, :protected])
    state = %{voter: voter, folder: folder, said: nil, refusal: Voter.refusal(folder)}
    {:noreply, state} = Voter.handle_info(:look, state)
    assert Voter.refusal(folder) == "it was removed"
    # What others are says nothing of this one.
    others = {:tidepool_members, 1, {:ok, [{"b@host", true, true, true, 0, nil}]}}
    {:noreply, state} = Voter.handle_info(others, state)
    assert Voter.refusal(folder) == "it was removed"
    # It was asked for at once.
    assert_receive {:tidepool_members, _id, {:ok, [{^own, true, true, true, _lacks, nil}]}} = told
    {:noreply, state} = Voter.handle_info(told, state)
    refute File.exists?(refused)
    assert state.refusal == nil
  end

  test "what a folder was refused for before stays noted while there is no room for another reason" do
    folder = tmp_folder!()
    refused = Voter.refused(folder)
    assert Company.replace(refused, "it was removed") == :ok
    # What is written first is no file that could be written.
    File.mkdir!(refused <> ".new")
    assert Company.replace(refused, "it has a gap") == {:error, :eisdir}
    assert Voter.refusal(folder) == "it was removed"
  end

  test "what an import has left that was ended on its way is gone when the node starts, and that is said" do
    data = tmp_folder!()
    folder = data |> Store.folder() |> Voter.folder()
    left = folder <> ".import"
    File.mkdir_p!(left)
    File.write!(Path.join(left, "log.db"), "half of it")
    {{:ok, %{folder: ^folder}}, log} = with_log(fn -> Voter.init({[to_string(node())], data}) end)
    refute File.exists?(left)
    assert log =~ left
  end
end
