defmodule Tidepool.Catalog.EntryTest do
  use ExUnit.Case, async: true

  alias Tidepool.Catalog.Entry

  @entry %Entry{
    name: "a",
    version: 4,
    sha256: "00",
    size: 9,
    operation: "a",
    instances: :fresh,
    limits: %{time: 5},
    deployed_at: 1
  }

  test "a deploy is the same whatever its version and time" do
    assert Entry.same_deploy?(@entry, @entry)
    assert Entry.same_deploy?(@entry, %{@entry | version: 1, deployed_at: 99})
  end

  test "a deploy that differs in anything else is another" do
    for {key, value} <- [
          sha256: "01",
          size: 10,
          operation: "b",
          instances: {:warm, 1},
          engine: :dense,
          limits: %{time: 6}
        ] do
      refute Entry.same_deploy?(@entry, Map.put(@entry, key, value))
    end
  end

  test "a name that was never deployed, or was removed, has no deploy that is the same" do
    refute Entry.same_deploy?(nil, @entry)
    refute Entry.same_deploy?(%{@entry | removed: true}, @entry)
  end

  test "entries that differ in name, stamp, version, bytes or removal have other hashes" do
    entry = %{@entry | stamp: {5, 1, "n@host#1"}}

    others =
      for {key, value} <- [
            removed: true,
            version: 5,
            sha256: "01",
            name: "b",
            stamp: {6, 1, "n@host#1"},
            stamp: {5, 2, "n@host#1"},
            stamp: {5, 1, "m@host#1"}
          ],
          do: Entry.hash(Map.put(entry, key, value))

    assert length(Enum.uniq([Entry.hash(entry) | others])) == 8
  end
end
