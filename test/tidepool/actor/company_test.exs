defmodule Tidepool.Actor.CompanyTest do
  # With which nodes one kept actors, where its folder is lost.
  use Tidepool.Case, async: true

  import ExUnit.CaptureLog

  alias Tidepool.Actor.Voter.Company

  setup do: {:ok, folder: Path.join(tmp_folder!(), "replicated")}

  test "a node whose setting names itself alone asks those that it kept actors with, and says so", %{folder: folder} do
    assert Company.named(folder, "a@host", ["a@host"]) == ["a@host"]
    assert Company.note(folder, "a@host", ["c@host", "a@host", "b@host", "b@host"]) == :ok

    log =
      capture_log(fn ->
        assert Company.named(folder, "a@host", ["a@host"]) == ["a@host", "b@host", "c@host"]
      end)

    assert log =~ "b@host, c@host" and log =~ Company.file(folder)
    # Those that its setting names it asks anyway.
    assert Company.named(folder, "a@host", ["a@host", "d@host", "e@host"]) == ["a@host", "d@host", "e@host"]
  end

  test "one that is alone again, or begins anew, asks no others, and what others say of their members counts for nothing",
       %{folder: folder} do
    Company.note(folder, "a@host", ["a@host", "b@host"])
    Company.note(folder, "a@host", ["b@host", "c@host"])
    assert File.read!(Company.file(folder)) == "a@host\nb@host"
    Company.note(folder, "a@host", ["a@host"])
    assert Company.named(folder, "a@host", ["a@host"]) == ["a@host"]
    Company.note(folder, "a@host", ["a@host", "b@host"])
    Company.forget(folder)
    assert Company.named(folder, "a@host", ["a@host"]) == ["a@host"]
  end

  test "a file that is damaged names no nodes that there can't be", %{folder: folder} do
    File.write!(Company.file(folder), "a@host\n\0\nb@host\nnonsense\n")
    capture_log(fn -> assert Company.named(folder, "a@host", ["a@host"]) == ["a@host", "b@host"] end)
  end
end
