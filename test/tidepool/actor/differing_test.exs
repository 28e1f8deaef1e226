defmodule Tidepool.Actor.DifferingTest do
  # Exports of several nodes that a release before had keep copies of each other's actors, put into one store.
  use Tidepool.Case, async: true

  import ExUnit.CaptureIO

  alias Mix.Tasks.Tidepool.Actors, as: Tasks
  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.Journal.{Archive, Record, VersionVector}

  doctest VersionVector

  @sha256 String.duplicate("0a", 32)

  # As such a release has written it.
  defp head(vector), do: :erlang.term_to_binary({2, @sha256, 1, 1_000, [], %{mark: vector}})

  # The export of a node that has these actors, each with a vector and an image.
  defp export!(folder, name, actors) do
    place = store!(Path.join(folder, name), actors)
    file = Path.join(folder, name <> ".tidepool")
    assert {:ok, %{actors: count}} = Archive.export(place, file, nil, false)
    assert count == map_size(actors)
    file
  end

  defp store!(folder, actors) do
    File.mkdir_p!(Path.join(folder, "actors"))
    {:ok, records} = Native.open_records(Archive.records(folder))

    for {actor, {vector, image}} <- actors do
      put = {:put, 1, 1, nil, head(vector), image, [{"value/key", "of " <> image}]}
      id = Native.commit_record(records, "room", actor, put)
      assert_receive {:tidepool_committed, ^id, :ok}
    end

    {:folder, folder}
  end

  defp images({:folder, folder}) do
    {:ok, records} = Native.open_records(Archive.records(folder))
    {:ok, rows, nil} = Native.list_records(records, "room", nil, 100)

    for {name, _writes, _alarm_at, _bytes} <- rows, into: %{} do
      {:ok, {_epoch, _seq, _due, _head, image}} = Native.read_record(records, "room", name)
      {:ok, "of " <> ^image} = Native.record_value(records, "room", name, "value/key")
      {name, image}
    end
  end

  defp nodes!(folder) do
    first =
      export!(folder, "a", %{
        "followed" => {%{"a@h#1" => 5}, "before"},
        "apart" => {%{"a@h#1" => 9}, "later"},
        "same" => {%{"a@h#1" => 3}, "the same"},
        "heard" => {%{"a@h#1" => 3}, "heard of"},
        "of the first" => {%{"a@h#1" => 1}, "of the first"}
      })

    second =
      export!(folder, "b", %{
        "followed" => {%{"a@h#1" => 5, "b@h#1" => 6}, "after"},
        "apart" => {%{"b@h#1" => 7}, "earlier"},
        "same" => {%{"a@h#1" => 3}, "the same"},
        # Put together with another that was the same: nothing of it differs.
        "heard" => {%{"a@h#1" => 3, "c@h#1" => 2}, "heard of"},
        "without" => {%{"b@h#1" => 1}, "with a vector"}
      })

    third = export!(folder, "c", %{"without" => {%{}, "without one"}, "of the third" => {%{}, "of the third"}})
    [first, second, third]
  end

  @imported %{
    "followed" => "after",
    "apart" => "later",
    "same" => "the same",
    "heard" => "heard of",
    "without" => "with a vector",
    "of the first" => "of the first",
    "of the third" => "of the third"
  }

  test "of an actor that several exports have the latest state is imported, and all others are in exports beside" do
    folder = tmp_folder!()
    [first, second, third] = files = nodes!(folder)
    place = {:folder, tmp_folder!()}
    assert {:ok, %{actors: 7, modules: 0, differing: differing}} = Archive.import(place, files, false)
    assert images(place) == @imported

    assert MapSet.new(differing, &{&1.name, &1.kept, &1.of, &1.differing}) ==
             MapSet.new([
               {"followed", second, first, first <> ".differing"},
               {"apart", first, second, second <> ".differing"},
               {"without", second, third, third <> ".differing"}
             ])

    for {file, images} <- [
          {first, %{"followed" => "before"}},
          {second, %{"apart" => "earlier"}},
          {third, %{"without" => "without one"}}
        ] do
      place = {:folder, tmp_folder!()}
      assert {:ok, %{actors: 1, differing: []}} = Archive.import(place, file <> ".differing", false)
      assert images(place) == images
    end

    # In whichever order they are named.
    place = {:folder, tmp_folder!()}
    for file <- files, do: File.rm!(file <> ".differing")
    assert {:ok, %{actors: 7}} = Archive.import(place, Enum.reverse(files), false)
    assert images(place) == @imported
  end

  test "an import of several exports that comes to nothing leaves nothing beside them, and replaces nothing there" do
    folder = tmp_folder!()
    [first, second, third] = files = nodes!(folder)
    place = {:folder, tmp_folder!()}
    there = export!(folder, "there", %{"same" => {%{}, "there already"}})
    assert {:ok, %{actors: 1}} = Archive.import(place, there, false)
    assert {:error, %Error{reason: :no_store}} = Archive.import(place, files, false)
    for file <- files, do: refute(File.exists?(file <> ".differing"))
    assert images(place) == %{"same" => "there already"}

    File.write!(third <> ".differing", "of before")
    empty = {:folder, tmp_folder!()}
    assert {:error, %Error{message: message}} = Archive.import(empty, files, false)
    assert message =~ third <> ".differing"
    assert File.read!(third <> ".differing") == "of before"
    for file <- [first, second], do: refute(File.exists?(file <> ".differing"))
    refute File.exists?(Archive.records(elem(empty, 1)))
  end

  test "the command names each actor whose states differ, and the files that have them" do
    folder = tmp_folder!()
    [first, second, _third] = files = nodes!(folder)
    said = capture_io(fn -> Tasks.Import.run(files ++ ["--data", folder, "--node", "d@h"]) end)
    assert said =~ "room/followed: the state of #{second} is imported, and that of #{first} is in #{first}.differing\n"
    assert said =~ "imported 7 actors, and 0 modules that they run\n"
    assert length(String.split(said, "\n", trim: true)) == 4
  end

  test "a head of a release before is read as it is, and what is written from then on has no vector" do
    assert {:ok, %Record{vector: %{"a@h#1" => 5}} = record} = Record.read(head(%{"a@h#1" => 5}), "room", "it")
    assert {:ok, %Record{vector: none}} = Record.read(Record.write(record), "room", "it")
    assert none == VersionVector.none()
    assert {:ok, %Record{vector: ^none}} = Record.read(head("no vector"), "room", "it")
  end
end
