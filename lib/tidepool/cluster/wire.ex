defmodule Tidepool.Cluster.Wire do
  @moduledoc """
  Messages between nodes as bytes, and back.

  The first byte is the protocol's version, the second the kind of message; then its fields, numbers big-endian, strings and
  lists after their length. `decode/1` answers for any bytes: a message in which every field is of its type and within its
  range, or an error. It makes no atoms of what it reads, and no more terms than there are bytes.

  ## Versions

  - Version 1 is that of nodes that don't say in their hellos which version they have. It has a place for each option that
    functions had then.
  - Version 2 tells what admitted a change, and which reports are forgotten.
  - From version 3 on entries have the options by name, as text, that were added since (`Tidepool.Function.Spec`) and are not
    their default.
  - From version 4 on digests are of entries and reports with all that is told of them, beside those of version 1.
  - From version 8 on entries have the versions that the newest one has replaced (`Tidepool.Catalog.Previous`),
    and names may have a namespace: nodes of versions before are told of no such name, which they would take for damage.
  - From version 9 on entries have an ABI that nodes of versions before don't know: those ignore such functions.
  - From version 10 on entries have their limits by name, too, so that one more needs no place.
  - From version 11 on there is the limit `client_idle`: nodes of versions before ignore functions that have another than the
    default.

  Whoever sends a message says which version the other side has. The message has all of that which can be said in it, and is
  of the first version that can say this.
  """

  import Tidepool.Cluster.Wire.Rows
  import Tidepool.Cluster.Wire.Terms

  alias Tidepool.Catalog.{Digest, Entry}
  alias Tidepool.Cluster.Gossip
  alias Tidepool.Function.Spec

  @oldest 1
  # The first one of nodes that tell theirs.
  @placed 2
  @levels Spec.levels()
  @max_path 16
  @max_sample 64
  @max_ttl 16

  @tables [entries: 0, reports: 1]

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

  defp told({:keys, {:entries, _level} = table, leaves}, version), do: {:keys, table, tellable(leaves, version)}
  defp told({:keys, :entries, leaves}, version), do: {:keys, :entries, tellable(leaves, version)}

  defp told({:gone, stamps}, version),
    do: {:gone, Enum.filter(stamps, fn {name, _stamp} -> Spec.tellable?(name, version) end)}

  defp told(message, _version), do: message

  defp tellable(leaves, version) do
    for {leaf, keys} <- leaves, do: {leaf, Enum.filter(keys, fn {name, _stamp} -> Spec.tellable?(name, version) end)}
  end

  defp split({:push, [_one, _another | _more] = changes}, version) do
    for {_version, changes} <- Enum.group_by(changes, &max(version(&1), version)), do: {:push, changes}
  end

  defp split(message, _version), do: [message]

  # The first one that can say it.
  defp version({:push, changes}), do: changes |> Enum.map(&version/1) |> Enum.max(fn -> @placed end)
  defp version({%Entry{} = entry, _before}), do: Entry.version(entry)

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
      byte_size(message) > max_bytes() -> {:error, :malformed}
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

  defp write_table({kind, level}), do: [@tables[kind], level]
  defp write_table(kind), do: @tables[kind]

  defp write_version(:entries, stamp), do: write_stamp(stamp)
  defp write_version(:reports, at), do: <<at::48>>

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

  defp read_ttl(<<ttl, rest::binary>>) when ttl <= @max_ttl, do: {ttl, rest}
  defp read_ttl(_body), do: throw(:malformed)

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
