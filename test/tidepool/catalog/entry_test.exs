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
end
