defmodule Tidepool.RecordsTest do
  use Tidepool.Case, async: true

  alias Tidepool.{FaultNative, Native}

  setup do
    {:ok, records: FaultNative.records()}
  end

  defp commit(records, name, change) do
    id = Native.commit_record(records, "class", name, change)
    assert_receive {:tidepool_committed, ^id, outcome}
    outcome
  end

  test "a record is what was committed last, with its image and its values", %{records: records} do
    large = :binary.copy("image", 100_000)
    values = [{"a1", "one"}, {"a2", ""}, {"b", large}]
    assert Native.read_record(records, "class", "it") == {:ok, nil}
    assert commit(records, "it", {:put, 1, 1, nil, "head", large, values}) == :ok
    assert Native.read_record(records, "class", "it") == {:ok, {1, 1, nil, "head", large}}
    assert commit(records, "it", {:put, 2, 2, -5, "", nil, [{"a1", nil}]}) == :ok
    assert Native.read_record(records, "class", "it") == {:ok, {2, 2, -5, "", large}}
    head = {2, -5, byte_size(large), ""}
    assert Native.record_head(records, "class", "it") == {:ok, head}
    assert Native.read_record_up_to(records, "class", "it", byte_size(large) - 1) == {:larger, head}
    assert Native.read_record_up_to(records, "class", "it", byte_size(large)) == {:ok, {2, 2, -5, "", large}}
    assert Native.read_record_up_to(records, "class", "none", 0) == {:ok, nil}
    assert Native.record_value(records, "class", "it", "a1") == {:ok, nil}
    assert Native.record_value(records, "class", "it", "a2") == {:ok, ""}
    assert Native.record_values(records, "class", "it", "", nil, {1, nil}) == {:ok, [{"a2", ""}]}
    assert Native.record_values(records, "class", "it", "", "a2", {10, nil}) == {:ok, [{"b", large}]}
    assert Native.record_values(records, "class", "it", "a", "a2", {10, nil}) == {:ok, []}
    assert commit(records, "it", {:delete, 2, 2}) == :ok
    assert Native.read_record(records, "class", "it") == {:ok, nil}
    assert Native.record_values(records, "class", "it", "", nil, {10, nil}) == {:ok, []}
  end

  test "a list of values ends with the one with which it comes to its bytes", %{records: records} do
    # Of 100 bytes each, with its key.
    values = for key <- ~w(a b c d e), do: {key, String.duplicate("v", 99)}
    assert commit(records, "it", {:put, 1, 1, nil, "", nil, values}) == :ok

    for {most, there} <- [
          {{9, 1}, 1},
          {{9, 100}, 1},
          {{9, 101}, 2},
          {{9, 500}, 5},
          {{2, 500}, 2},
          {{0, 500}, 0},
          {{9, nil}, 5}
        ],
        do: assert(Native.record_values(records, "class", "it", "", nil, most) == {:ok, Enum.take(values, there)})
  end

  test "a change of an earlier epoch, or that does not follow what there is, is refused by name", %{records: records} do
    assert commit(records, "it", {:put, 2, 1, nil, "", nil, []}) == :ok
    assert {:error, :fenced, _message} = commit(records, "it", {:put, 1, 2, nil, "", nil, []})
    assert {:error, :out_of_order, _message} = commit(records, "it", {:put, 2, 3, nil, "", nil, []})
    assert {:error, :out_of_order, _message} = commit(records, "it", {:delete, 2, 0})
  end

  test "lists and alarms have all records, piece by piece", %{records: records} do
    names = for number <- 1..25, do: "name #{number}"

    for {name, at} <- Enum.with_index(names),
        do: assert(commit(records, name, {:put, 1, 1, at, "head", "image", []}) == :ok)

    assert Enum.sort(list(records, nil)) == Enum.sort(for {name, at} <- Enum.with_index(names), do: {name, 1, at, 9})
    assert Native.list_records(records, "other", nil, 10) == {:ok, [], nil}
    assert Native.record_alarms(records, 1, 10, []) == {:ok, [{0, "class", "name 1"}, {1, "class", "name 2"}]}
    assert {:ok, [{0, "class", "name 1"}]} = Native.record_alarms(records, 100, 1, [])
  end

  test "heads are listed piece by piece, and of a record that is damaged there is none" do
    path = Path.join(tmp_folder!(), "records")
    {:ok, records} = Native.open_records(path)
    names = for number <- 1..25, do: "name #{number}"
    for name <- names, do: assert(commit(records, name, {:put, 1, 1, nil, "head of " <> name, "image", []}) == :ok)
    assert Enum.sort(heads(records, nil)) == Enum.sort(for name <- names, do: {name, "head of " <> name})
    assert Native.record_heads(records, "other", nil, 10) == {:ok, [], nil}
    assert Native.record_head(records, "class", "name 3") == {:ok, {1, nil, 19, "head of name 3"}}
    assert Native.record_head(records, "class", "name 26") == {:ok, nil}
    damage = "UPDATE record SET head = 'head of another' WHERE name = 'name 7'"
    {_output, 0} = System.cmd("sqlite3", [path, damage])
    {damaged, whole} = Enum.split_with(heads(records, nil), &match?({_name, nil}, &1))
    assert damaged == [{"name 7", nil}]
    assert length(whole) == 24
    assert {:error, :damaged, _message} = Native.record_head(records, "class", "name 7")
  end

  defp heads(records, from) do
    case Native.record_heads(records, "class", from, 10) do
      {:ok, found, nil} -> found
      {:ok, found, next} -> found ++ heads(records, next)
    end
  end

  test "what the classes of a namespace have together is counted, with values and their keys", %{records: records} do
    write = fn class, name, put ->
      id = Native.commit_record(records, class, name, put)
      assert_receive {:tidepool_committed, ^id, :ok}
    end

    for class <- ["shop", "shop/a", "shop/b", "shop0", "blog/a"],
        do: write.(class, "it", {:put, 1, 1, nil, "head", "image", [{"key", "value"}]})

    assert Native.records_usage(records, "shop", true) == {:ok, 2, 2 * (17 + 64)}
    write.("shop/b", "it", {:put, 1, 2, nil, "", nil, [{"key", nil}]})
    assert Native.records_usage(records, "shop", true) == {:ok, 2, 17 + 64 + 5}
    write.("shop/a", "it", {:delete, 1, 1})
    assert Native.records_usage(records, "shop", true) == {:ok, 1, 5}
    assert Native.records_usage(records, "shop", false) == {:ok, 1, 0}
    assert Native.records_usage(records, "none", true) == {:ok, 0, 0}
    assert Native.records_waiting(records) == {0, 16_384, 0, 536_870_912}
  end

  defp list(records, from) do
    case Native.list_records(records, "class", from, 10) do
      {:ok, found, nil} -> found
      {:ok, found, next} -> found ++ list(records, next)
    end
  end

  test "what was committed is there when the file is opened again, by whoever holds it" do
    path = Path.join(tmp_folder!(), "records")

    written =
      Task.async(fn ->
        {:ok, records} = Native.open_records(path)
        for number <- 1..200, do: Native.commit_record(records, "class", "#{number}", {:put, 1, 1, nil, "", nil, []})
      end)

    # Its terms are gone with the process, and nobody has waited for the changes.
    assert length(Task.await(written, 60_000)) == 200

    eventually(fn ->
      {:ok, records} = Native.open_records(path)
      {:ok, found, nil} = Native.list_records(records, "class", nil, 1_000)
      length(found) == 200
    end)
  end

  test "a file that is none is refused" do
    path = Path.join(tmp_folder!(), "records")
    File.write!(path, :binary.copy("no file of records ", 1_000))
    assert {:error, :damaged, _message} = Native.open_records(path)
    assert {:error, :failed, _message} = Native.open_records(Path.join([tmp_folder!(), "no", "folder"]))
  end
end
