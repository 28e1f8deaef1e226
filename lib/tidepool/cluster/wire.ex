defmodule Tidepool.Cluster.Wire do
  @moduledoc """
  Messages between nodes as bytes, and back.

  The first byte is the protocol's version, the second the kind of message; then its fields, numbers big-endian, strings and
  lists after their length. `decode/1` answers for any bytes: a message in which every field is of its type and within its
  range, or an error. It makes no atoms of what it reads, and no more terms than there are bytes.

  ## Versions

  - Version 1 is that of nodes that don't say in their greetings which version they have. It has a place for each option that
    functions had then.
  - Version 2 tells what admitted a change, and which reports are forgotten.
  - From version 3 on entries have the options by name, as text, that were added since (`Tidepool.Function.Spec`) and are not
    their default.
  - From version 4 on digests are of entries and reports with all that is told of them, beside those of version 1.

  Whoever sends a message says which version the other side has. The message has all of that which can be said in it, and is
  of the first version that can say this.
  """

  alias Tidepool.{Config, Limits, Options}
  alias Tidepool.Catalog.{Digest, Entry, Origin}
  alias Tidepool.Cluster.{Gossip, Report}
  alias Tidepool.Function.{Fields, Spec}

  @oldest 1
  # The first one of nodes that tell theirs.
  @placed 2
  @levels Spec.levels()
  @max_bytes 8 * 1024 * 1024
  @max_path 16
  @max_sample 64
  @max_ttl 16
  @max_fields 64
  @max_version 0xFFFF_FFFF_FFFF

  @tables [entries: 0, reports: 1]
  @limits Keyword.keys(Limits.schema())
  @admitted Enum.with_index(Origin.kinds())

  # The kinds of messages by number; a number is never used again for something else.
  @push 1
  @reports 2
  @digest 3
  @groups 4
  @leaves 5
  @keys 6
  @want 7
  @gone 8
  @seen 9
  @join 16
  @forward_join 17
  @neighbor 18
  @neighbor_reply 19
  @disconnect 20
  @shuffle 21
  @shuffle_reply 22

  @doc "The latest version of the protocol that this node reads and writes."
  @spec version :: byte
  def version, do: Spec.latest()

  @doc "A message as bytes, for nodes of this version."
  @spec encode(Gossip.message()) :: binary
  def encode(message), do: encode_as(message, version(message))

  @doc """
  A message for a node of any version: without what that can't be told, and in several, if it can be told a part alone. The
  others are of a later version, so that the node says that it misses something.
  """
  @spec encode(Gossip.message(), version :: pos_integer) :: [binary, ...]
  def encode(message, version) do
    for message <- message |> told(version) |> split(version) do
      first = version(message)
      encode_as(message, if(version == 1 and first == @placed, do: 1, else: first))
    end
  end

  defp encode_as(message, version), do: IO.iodata_to_binary([version | write(message, version)])

  defp told({:push, changes}, version),
    do: {:push, for({entry, before} <- changes, do: {Entry.told(entry, version), before})}

  defp told({:reports, reports}, 1), do: {:reports, for(report <- reports, do: %{report | forgotten: false})}

  defp told({:digest, wall_ms, entries, seen, reports, levels}, version),
    do: {:digest, wall_ms, entries, seen, reports, Enum.filter(levels, &(elem(&1, 0) <= version))}

  defp told(message, _version), do: message

  defp split({:push, [_one, _another | _more] = changes}, version) do
    for {_version, changes} <- Enum.group_by(changes, &max(version(&1), version)), do: {:push, changes}
  end

  defp split(message, _version), do: [message]

  # The first one that can say it.
  defp version({:push, changes}), do: changes |> Enum.map(&version/1) |> Enum.max(fn -> @placed end)
  defp version({%Entry{} = entry, _before}), do: Spec.version(entry)

  defp version({:digest, _wall_ms, _entries, _seen, _reports, [_one | _more] = levels}),
    do: levels |> Enum.map(&elem(&1, 0)) |> Enum.max()

  defp version({_step, {_kind, level}, _rows}), do: level
  defp version(_message), do: @placed

  @doc """
  The message in some bytes.

      iex> alias Tidepool.Cluster.Wire
      iex> Wire.decode(Wire.encode({:neighbor, :high}))
      {:ok, {:neighbor, :high}}
      iex> Wire.decode(<<99, 1, 2, 3>>)
      {:error, {:version, 99}}
      iex> Wire.decode(<<2, 63>>)
      {:error, :malformed}
  """
  @spec decode(term) :: {:ok, Gossip.message()} | {:error, {:version, byte} | :malformed}
  def decode(<<version, message::binary>>) do
    cond do
      version not in @oldest..Spec.latest() -> {:error, {:version, version}}
      byte_size(message) > @max_bytes -> {:error, :malformed}
      true -> decode(message, version)
    end
  end

  def decode(_other), do: {:error, :malformed}

  defp decode(message, version) do
    read =
      case message do
        <<kind, body::binary>> -> read(kind, body, version)
        <<>> -> throw(:malformed)
      end

    with {message, <<>>} <- read, do: {:ok, message}, else: (_more -> throw(:malformed))
  catch
    :malformed -> {:error, :malformed}
  end

  defp write({:push, changes}, version), do: [@push, list(changes, &write_change(&1, version))]
  defp write({:reports, reports}, version), do: [@reports, list(reports, &write_report(&1, version))]

  defp write({:digest, wall_ms, entries, seen, reports, levels}, _version) do
    write_level = fn {level, entries, reports} -> <<level, entries::56, reports::56>> end
    levels = if levels == [], do: [], else: list(levels, write_level)
    [@digest, <<wall_ms::48, entries::56, seen::56, reports::56>>, levels]
  end

  defp write(message, _version), do: write(message)

  defp write({:groups, table, sums}), do: [@groups, write_table(table), list(sums, &<<&1::56>>)]

  defp write({:leaves, table, groups}),
    do: [@leaves, write_table(table), list(groups, fn {group, sums} -> [group, list(sums, &<<&1::56>>)] end)]

  defp write({:keys, table, leaves}) do
    write_key = fn {key, version} -> [short(key), write_version(kind(table), version)] end
    [@keys, write_table(table), list(leaves, fn {leaf, keys} -> [<<leaf::16>>, list(keys, write_key)] end)]
  end

  defp write({:want, table, keys}), do: [@want, write_table(table), list(keys, &short/1)]
  defp write({:gone, stamps}), do: [@gone, list(stamps, fn {name, stamp} -> [short(name), write_stamp(stamp)] end)]

  defp write({:seen, root, context}) do
    write_seen = fn {replica, moment} -> [short(replica), write_moment(moment)] end
    write_beyond = fn {replica, moments} -> [short(replica), list(Map.keys(moments), &write_moment/1)] end

    [
      @seen,
      <<root::56>>,
      list(Map.to_list(context.seen), write_seen),
      list(Map.to_list(context.beyond), write_beyond),
      optional(context.horizon, &write_stamp/1)
    ]
  end

  defp write(:join), do: [@join]
  defp write({:forward_join, node, ttl}), do: [@forward_join, short(node), ttl]
  defp write({:neighbor, priority}), do: [@neighbor, if(priority == :high, do: 1, else: 0)]
  defp write({:neighbor_reply, accepted?}), do: [@neighbor_reply, if(accepted?, do: 1, else: 0)]
  defp write(:disconnect), do: [@disconnect]

  defp write({:shuffle, path, ttl, sample}),
    do: [@shuffle, list(path, &short/1), ttl, list(sample, &short/1)]

  defp write({:shuffle_reply, path, sample}), do: [@shuffle_reply, list(path, &short/1), list(sample, &short/1)]

  defp write_change({entry, before}, version) do
    named = if version > @placed, do: entry |> Spec.told() |> Fields.write(entry) |> list(&write_field/1), else: []
    [write_entry(entry), named, optional(before, &write_moment/1)]
  end

  defp write_field({name, text}), do: [short(name), <<byte_size(text)::16>>, text]

  defp write_entry(entry) do
    warm = if(entry.instances == :fresh, do: 0, else: elem(entry.instances, 1))

    [
      short(entry.name),
      write_stamp(entry.stamp),
      <<entry.version::48, flags(entry), entry.size::64>>,
      Base.decode16!(entry.sha256, case: :mixed),
      <<byte_size(entry.operation)::16>>,
      entry.operation,
      <<if(entry.engine == :dense, do: 1, else: 0), warm::32, entry.deployed_at::signed-64>>,
      for(key <- @limits, do: <<Map.fetch!(entry.limits, key)::64>>)
    ]
  end

  defp flags(entry) do
    if(entry.removed, do: 1, else: 0) + if(entry.snapshot, do: 0, else: 2) + 4 * @admitted[entry.admitted]
  end

  defp write_report(report, version) do
    [
      short(report.node),
      <<report.at::48>>,
      if(version == 1, do: [], else: if(report.forgotten, do: 1, else: 0)),
      <<report.root::56>>,
      list(report.links, &short/1),
      list(report.ready, &<<&1::56>>),
      list(report.pending, &<<&1::56>>)
    ]
  end

  defp write_table({kind, level}), do: [@tables[kind], level]
  defp write_table(kind), do: @tables[kind]

  defp write_version(:entries, stamp), do: write_stamp(stamp)
  defp write_version(:reports, at), do: <<at::48>>

  defp write_stamp({wall_ms, counter, replica}), do: [write_moment({wall_ms, counter}), short(replica)]
  defp write_moment({wall_ms, counter}), do: <<wall_ms::48, counter::32>>

  defp short(string), do: [byte_size(string), string]
  defp list(items, write), do: [<<length(items)::32>> | Enum.map(items, write)]
  defp optional(nil, _write), do: [0]
  defp optional(value, write), do: [1 | write.(value)]

  defp read(@push, body, version), do: body |> read_list(&read_change(&1, version)) |> tag(:push)
  defp read(@reports, body, version), do: body |> read_list(&read_report(&1, version)) |> tag(:reports)

  defp read(@digest, <<wall_ms::48, entries::56, seen::56, reports::56, rest::binary>>, version) do
    {levels, rest} = if version in @levels, do: read_list(rest, &read_level/1, length(@levels)), else: {[], rest}
    {{:digest, wall_ms, entries, seen, reports, levels}, rest}
  end

  defp read(@groups, body, version) do
    {table, rest} = read_table(body, version)
    {sums, rest} = read_sums(rest)
    {{:groups, table, sums}, rest}
  end

  defp read(@leaves, body, version) do
    {table, rest} = read_table(body, version)
    {groups, rest} = read_list(rest, &read_group/1, elem(Digest.sizes(), 0))
    {{:leaves, table, groups}, rest}
  end

  defp read(@keys, body, version) do
    {table, rest} = read_table(body, version)
    {leaves, rest} = read_list(rest, &read_leaf(kind(table), &1), elem(Digest.sizes(), 1))
    {{:keys, table, leaves}, rest}
  end

  defp read(@want, body, version) do
    {table, rest} = read_table(body, version)
    {keys, rest} = read_list(rest, &read_key(kind(table), &1))
    {{:want, table, keys}, rest}
  end

  defp read(kind, body, _version), do: read(kind, body)

  defp read(@gone, body), do: body |> read_list(&read_version(:entries, &1)) |> tag(:gone)

  defp read(@seen, <<root::56, body::binary>>) do
    {seen, rest} = read_list(body, &read_seen/1)
    {beyond, rest} = read_list(rest, &read_beyond/1)
    {horizon, rest} = read_optional(rest, &read_stamp/1)
    {{:seen, root, %{seen: Map.new(seen), beyond: Map.new(beyond), horizon: horizon}}, rest}
  end

  defp read(@join, rest), do: {:join, rest}

  defp read(@forward_join, body) do
    {node, rest} = read_node(body)
    {ttl, rest} = read_ttl(rest)
    {{:forward_join, node, ttl}, rest}
  end

  defp read(@neighbor, <<1, rest::binary>>), do: {{:neighbor, :high}, rest}
  defp read(@neighbor, <<0, rest::binary>>), do: {{:neighbor, :low}, rest}
  defp read(@neighbor_reply, <<1, rest::binary>>), do: {{:neighbor_reply, true}, rest}
  defp read(@neighbor_reply, <<0, rest::binary>>), do: {{:neighbor_reply, false}, rest}
  defp read(@disconnect, rest), do: {:disconnect, rest}

  defp read(@shuffle, body) do
    {path, rest} = read_nodes(body, @max_path)
    if path == [], do: throw(:malformed)
    {ttl, rest} = read_ttl(rest)
    {sample, rest} = read_nodes(rest, @max_sample)
    {{:shuffle, path, ttl, sample}, rest}
  end

  defp read(@shuffle_reply, body) do
    {path, rest} = read_nodes(body, @max_path)
    {sample, rest} = read_nodes(rest, @max_sample)
    {{:shuffle_reply, path, sample}, rest}
  end

  defp read(_unknown, _body), do: throw(:malformed)

  defp read_change(body, version) do
    {entry, rest} = read_entry(body)
    if version == 1 and entry.admitted != :unknown, do: throw(:malformed)
    {named, rest} = if version > @placed, do: read_named(rest, Spec.named(version)), else: {%{}, rest}
    {before, rest} = read_optional(rest, &read_moment/1)
    {{Map.merge(entry, named), before}, rest}
  end

  defp read_named(body, options) do
    {fields, rest} = read_list(body, &read_field/1, @max_fields)

    with {:ok, named} <- Fields.read(fields, options),
         {:ok, named} <- Options.check(named, options, &Fields.subject/1) do
      {named, rest}
    else
      {:error, _error} -> throw(:malformed)
    end
  end

  defp read_field(body) do
    case read_short(body) do
      {name, <<length::16, text::binary-size(length), rest::binary>>} -> {{name, :binary.copy(text)}, rest}
      _malformed -> throw(:malformed)
    end
  end

  defp read_entry(body) do
    {name, rest} = read_name(body)
    {stamp, rest} = read_stamp(rest)

    with <<version::48, flags, size::64, sha256::binary-size(32), rest::binary>> <- rest,
         <<length::16, operation::binary-size(length), rest::binary>> <- rest,
         <<dense, warm::32, deployed_at::signed-64, rest::binary>> <- rest,
         true <- version in 1..@max_version and flags in 0..15 and dense in 0..1,
         instances = if(warm == 0, do: :fresh, else: {:warm, warm}),
         true <- Spec.instances?(instances, :dense) and Spec.operation?(operation),
         {limits, rest} <- read_limits(@limits, rest, []) do
      entry = %Entry{
        name: name,
        version: version,
        removed: rem(flags, 2) == 1,
        snapshot: rem(div(flags, 2), 2) == 0,
        admitted: Enum.at(Origin.kinds(), div(flags, 4)),
        sha256: Base.encode16(sha256, case: :lower),
        size: size,
        operation: :binary.copy(operation),
        instances: instances,
        engine: if(dense == 1, do: :dense, else: :fast),
        limits: limits,
        deployed_at: deployed_at,
        stamp: stamp
      }

      {entry, rest}
    else
      _malformed -> throw(:malformed)
    end
  end

  defp read_limits([], rest, limits) do
    case Options.check(limits, Limits.schema(), "the limit") do
      {:ok, limits} -> {limits, rest}
      {:error, _error} -> throw(:malformed)
    end
  end

  defp read_limits([key | keys], <<value::64, rest::binary>>, limits),
    do: read_limits(keys, rest, [{key, value} | limits])

  defp read_limits(_keys, _rest, _limits), do: throw(:malformed)

  defp read_report(body, version) do
    sizes = Report.sizes()
    {node, rest} = read_node(body)
    {at, rest} = read_at(rest)
    {forgotten, rest} = if version == 1, do: {false, rest}, else: read_mark(rest)
    {root, rest} = read_sum(rest)
    {links, rest} = read_nodes(rest, sizes.links)
    {ready, rest} = read_sums(rest, sizes.ready)
    {pending, rest} = read_sums(rest, sizes.pending)
    report = %Report{node: node, at: at, root: root, links: links, ready: ready, pending: pending, forgotten: forgotten}
    {report, rest}
  end

  defp read_mark(<<mark, rest::binary>>) when mark in 0..1, do: {mark == 1, rest}
  defp read_mark(_body), do: throw(:malformed)

  defp read_level(<<level, entries::56, reports::56, rest::binary>>) when level in @levels,
    do: {{level, entries, reports}, rest}

  defp read_level(_body), do: throw(:malformed)

  defp read_group(<<group, body::binary>>) do
    {groups, _leaves} = Digest.sizes()
    if group >= groups, do: throw(:malformed)
    {sums, rest} = read_sums(body)
    {{group, sums}, rest}
  end

  defp read_group(_body), do: throw(:malformed)

  defp read_leaf(table, <<leaf::16, body::binary>>) do
    {_groups, leaves} = Digest.sizes()
    if leaf >= leaves, do: throw(:malformed)
    {keys, rest} = read_list(body, &read_version(table, &1))
    {{leaf, keys}, rest}
  end

  defp read_leaf(_table, _body), do: throw(:malformed)

  defp read_version(table, body) do
    {key, rest} = read_key(table, body)
    {version, rest} = if table == :entries, do: read_stamp(rest), else: read_at(rest)
    {{key, version}, rest}
  end

  defp read_at(<<at::48, rest::binary>>), do: {at, rest}
  defp read_at(_body), do: throw(:malformed)

  defp read_key(:entries, body), do: read_name(body)
  defp read_key(:reports, body), do: read_node(body)

  defp read_seen(body) do
    {replica, rest} = read_short(body)
    {moment, rest} = read_moment(rest)
    {{replica, moment}, rest}
  end

  defp read_beyond(body) do
    {replica, rest} = read_short(body)
    {moments, rest} = read_list(rest, &read_moment/1)
    {{replica, Map.new(moments, &{&1, true})}, rest}
  end

  defp read_stamp(body) do
    {{wall_ms, counter}, rest} = read_moment(body)
    {replica, rest} = read_short(rest)
    {{wall_ms, counter, replica}, rest}
  end

  defp read_moment(<<wall_ms::48, counter::32, rest::binary>>), do: {{wall_ms, counter}, rest}
  defp read_moment(_body), do: throw(:malformed)

  defp read_ttl(<<ttl, rest::binary>>) when ttl <= @max_ttl, do: {ttl, rest}
  defp read_ttl(_body), do: throw(:malformed)

  defp read_name(body) do
    {name, _rest} = read = read_short(body)
    if Spec.name?(name), do: read, else: throw(:malformed)
  end

  defp read_node(body) do
    {node, _rest} = read = read_short(body)
    if Config.node_name?(node), do: read, else: throw(:malformed)
  end

  defp read_nodes(body, max), do: read_list(body, &read_node/1, max)

  defp read_short(<<length, string::binary-size(length), rest::binary>>) when length > 0 do
    # Copied, since what is kept of a message must not keep all of it.
    if String.valid?(string), do: {:binary.copy(string), rest}, else: throw(:malformed)
  end

  defp read_short(_body), do: throw(:malformed)

  defp read_sums(body, max \\ elem(Digest.sizes(), 0))
  defp read_sums(body, max), do: read_list(body, &read_sum/1, max)

  defp read_sum(<<sum::56, rest::binary>>), do: {sum, rest}
  defp read_sum(_body), do: throw(:malformed)

  defp read_optional(<<0, rest::binary>>, _read), do: {nil, rest}
  defp read_optional(<<1, rest::binary>>, read), do: read.(rest)
  defp read_optional(_body, _read), do: throw(:malformed)

  # A list of more items than there are bytes ends with the bytes.
  defp read_list(body, read, max \\ @max_bytes)
  defp read_list(<<length::32, body::binary>>, read, max) when length <= max, do: read_items(length, body, read, [])
  defp read_list(_body, _read, _max), do: throw(:malformed)

  defp read_items(0, rest, _read, items), do: {Enum.reverse(items), rest}

  defp read_items(left, body, read, items) do
    {item, rest} = read.(body)
    read_items(left - 1, rest, read, [item | items])
  end

  defp read_table(<<table, version, rest::binary>>, version) when version in @levels,
    do: {{table(table), version}, rest}

  defp read_table(<<table, rest::binary>>, version) when version not in @levels, do: {table(table), rest}
  defp read_table(_body, _version), do: throw(:malformed)

  defp table(0), do: :entries
  defp table(1), do: :reports
  defp table(_other), do: throw(:malformed)

  defp kind({kind, _level}), do: kind
  defp kind(kind), do: kind

  defp tag({items, rest}, kind), do: {{kind, items}, rest}
end
