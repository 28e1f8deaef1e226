# Writes what the code of this checkout makes of `table.exs`; see README.md.
alias Tidepool.Catalog.{Entry, Log}
alias Tidepool.Cluster.{Report, Wire}

folder = __DIR__
{table, _bindings} = Code.eval_file(Path.join(folder, "table.exs"))

messages = for {name, message} <- table.messages, do: ["#{name} ", Base.encode64(Wire.encode(message)), "\n"]
File.write!(Path.join(folder, "messages"), messages)

hashes =
  for {kind, items, hash} <- [{"entry", table.entries, &Entry.hash/1}, {"report", table.reports, &Report.hash/1}],
      item <- items,
      do: "#{kind} #{hash.(item)}\n"

# From the earliest to the latest.
order =
  table.ties
  |> Enum.with_index()
  |> Enum.sort(fn {a, _}, {b, _} -> Entry.compare(a, b) != :gt end)
  |> Enum.map_join(" ", &to_string(elem(&1, 1)))

File.write!(Path.join(folder, "hashes"), [hashes, "order #{order}\n"])
File.write!(Path.join(folder, "catalog.log"), Enum.map(table.records, &Log.encode/1))
