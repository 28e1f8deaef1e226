defmodule Tidepool.Actor.ExportTest do
  # Exports and imports by command, of nodes that keep actors together. Not async: the setting is this VM's.
  use Tidepool.Case

  import ExUnit.CaptureIO

  alias Tidepool.{Data, Native, Release}
  alias Tidepool.Actor.Voter
  alias Tidepool.Actor.Voter.Company
  alias Tidepool.Catalog.Store

  setup do
    before = Application.fetch_env(:tidepool, :actors)
    Application.put_env(:tidepool, :actors, {:replicated, ["a@x"]})

    on_exit(fn ->
      case before do
        {:ok, actors} -> Application.put_env(:tidepool, :actors, actors)
        :error -> Application.delete_env(:tidepool, :actors)
      end
    end)

    data = tmp_folder!()
    {:ok, data: data, archive: Path.join(data, "archive")}
  end

  # The data folder of a node that keeps actors.
  defp member!(data, node) do
    folder = Store.folder(data, node)
    File.mkdir_p!(Voter.folder(folder))
    {:ok, voter} = Native.open_voter(Voter.folder(folder), node, [node])
    eventually(fn -> Native.voter_standing(voter) == :member end)
    folder
  end

  defp said(how), do: capture_io(:stderr, fn -> assert catch_exit(how.()) == {:shutdown, 1} end)

  test "a member exports whether the setting names it or not, and a group begins with one that is named",
       %{data: data, archive: file} do
    member!(data, "d@x")

    assert capture_io(fn -> Release.export_actors(file, data: data, node: "d@x") end) ==
             "#{file} has 0 actors, and 0 modules that they run\n"

    # A folder that is not there may be that of a slip.
    assert said(fn -> Release.export_actors(file, data: data, node: "e@x") end) =~ "name one of a@x"
    assert said(fn -> Release.import_actors(file, data: data, node: "e@x") end) =~ "name one of a@x"
    assert capture_io(fn -> Release.import_actors(file, data: data, node: "a@x") end) =~ "imported 0 actors"
  end

  test "of a member that does not run an export may lack what others have by now, and that is said", %{
    data: data,
    archive: file
  } do
    folder = member!(data, "a@x")
    export = fn -> capture_io(fn -> Release.export_actors(file, data: data, node: "a@x", overwrite: true) end) end
    refute export.() =~ "does not run"
    :ok = Company.note(Voter.folder(folder), "a@x", ["a@x", "b@x"])
    text = export.()
    assert text =~ "has 0 actors" and text =~ "a@x does not run" and text =~ "b@x kept the same actors"
    # A node that runs has the lock.
    {:ok, lock} = Data.lock(folder, "a@x is running")
    assert {false, ^lock} = {export.() =~ "does not run", lock}
  end
end
