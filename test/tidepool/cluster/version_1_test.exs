defmodule Tidepool.Cluster.Version1Test do
  # What nodes of the protocol's first version write and how they count, as recorded in `version_1`.
  use ExUnit.Case, async: true

  alias Tidepool.Catalog.{Entry, Log, Record}
  alias Tidepool.Cluster.{Report, Wire}

  @folder Path.join(__DIR__, "version_1")

  setup_all do
    {table, _bindings} = Code.eval_file(Path.join(@folder, "table.exs"))
    messages = for line <- lines("messages"), [name, bytes] = String.split(line), do: {name, Base.decode64!(bytes)}
    %{table: table, messages: Map.new(messages)}
  end

  defp lines(file), do: @folder |> Path.join(file) |> File.read!() |> String.split("\n", trim: true)

  # It told no levels.
  defp today({:digest, wall_ms, entries, seen, reports}), do: {:digest, wall_ms, entries, seen, reports, []}
  defp today(message), do: message

  test "every message of version 1 is read, and written to its last byte", %{table: table, messages: messages} do
    for {name, message} <- table.messages, bytes = messages[to_string(name)] do
      assert Wire.decode(bytes) == {:ok, today(message)}, "#{name}"
      assert Wire.encode(today(message), 1) == [bytes], "#{name}"
    end

    # Of each kind that there is.
    assert length(table.messages) == map_size(messages)
    kinds = for {_name, <<1, kind, _rest::binary>>} <- messages, uniq: true, do: kind
    assert Enum.sort(kinds) == Enum.concat(1..9, 16..22)
  end

  test "what version 1 lacks is left out of a message for it, and malformed in one of it", %{table: table} do
    {:push, changes} = table.messages[:push]

    full =
      for {entry, before} <- changes, do: {%{entry | admitted: :token, description: "x", labels: %{"a" => "b"}}, before}

    assert Wire.encode({:push, full}, 1) == Wire.encode({:push, changes}, 1)
    {:reports, reports} = table.messages[:reports]
    forgotten = for report <- reports, do: %{report | forgotten: true}
    assert Wire.encode({:reports, forgotten}, 1) == Wire.encode({:reports, reports}, 1)
    digest = {:digest, 1, 2, 3, 4, []}
    assert Wire.encode({:digest, 1, 2, 3, 4, [{4, 5, 6}]}, 1) == Wire.encode(digest, 1)

    for message <- [
          {:push, full},
          {:reports, forgotten},
          {:digest, 1, 2, 3, 4, [{4, 5, 6}]},
          {:groups, {:entries, 4}, []}
        ] do
      <<_version, rest::binary>> = Wire.encode(message)
      assert Wire.decode(<<1, rest::binary>>) == {:error, :malformed}
    end
  end

  test "digests are of the same hashes as of version 1, whatever it does not know", %{table: table} do
    told = fn kind ->
      for line <- lines("hashes"), [^kind, hash] <- [String.split(line)], do: String.to_integer(hash)
    end

    entries = for entry <- table.entries, do: %{entry | admitted: :token, description: "x", labels: %{"a" => "b"}}
    assert Enum.map(table.entries, &Entry.hash/1) == told.("entry")
    assert Enum.map(entries, &Entry.hash/1) == told.("entry")
    assert Enum.map(table.reports, &Report.hash/1) == told.("report")
    assert Enum.map(table.reports, &Report.hash(%{&1 | forgotten: true})) == told.("report")
  end

  test "of entries with one stamp the same one wins as in version 1", %{table: %{ties: ties}} do
    ["order " <> order] = Enum.filter(lines("hashes"), &String.starts_with?(&1, "order"))
    ordered = for index <- String.split(order), do: Enum.at(ties, String.to_integer(index))

    # With details on the one or the other, too.
    for {earlier, index} <- Enum.with_index(ordered),
        later <- Enum.drop(ordered, index + 1),
        details <- [%{}, %{admitted: :token}] do
      assert Entry.compare(Map.merge(earlier, details), later) == :lt
      assert Entry.compare(later, Map.merge(earlier, details)) == :gt
    end
  end

  test "a data folder's log of version 1 is read whole", %{table: table} do
    assert {records, []} = Record.decode(File.read!(Path.join(@folder, "catalog.log")))
    assert records == table.records
    assert {:ok, %{entries: entries, context: context}, :unsealed} = Log.read(Path.join(@folder, "catalog.log"))
    assert context == hd(table.records)

    assert Map.new(entries, fn {name, entry} -> {name, {entry.version, entry.removed}} end) == %{
             "f" => {4, false},
             "g" => {3, true},
             "h" => {3, false}
           }
  end

  test "the first version can read a log of today: its own fields, and beside them nothing but text", %{table: table} do
    log = File.read!(Path.join(@folder, "catalog.log"))
    terms = for <<size::32, _crc::32, payload::binary-size(size) <- log>>, do: term(payload)
    [known] = for %Entry{} = entry <- terms, uniq: true, do: Map.keys(entry)

    for entry <- table.entries do
      full = %{entry | admitted: :token, description: "Says hello.", labels: %{"team" => "shop"}}
      <<_size::32, _crc::32, payload::binary>> = Record.encode(full)
      {details, fields} = payload |> term() |> Map.pop!("details")
      assert Map.keys(fields) == known
      first = Map.take(entry.limits, Tidepool.Limits.first())
      assert struct(Entry, fields |> Map.from_struct()) == %{entry | limits: first}
      assert Enum.all?(details, fn {name, text} -> is_binary(name) and is_binary(text) end)
      assert Record.decode(Record.encode(full)) == {[full], []}
    end
  end

  defp term(<<1, term::binary>>), do: :erlang.binary_to_term(term)
end
