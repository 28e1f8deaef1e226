defmodule Tidepool.Cluster.Wire.Rows do
  @moduledoc """
  Changes of the catalog and reports of nodes as bytes, as the versions of `Tidepool.Cluster.Wire` have them. What can't be
  read is thrown as `:malformed`.
  """

  import Tidepool.Cluster.Wire.Terms

  alias Tidepool.Catalog.{Entry, Origin, Previous}
  alias Tidepool.Cluster.Gossip.Outbox
  alias Tidepool.Cluster.Report
  alias Tidepool.{Limits, Options}
  alias Tidepool.Function.{Actors, Fields, Spec}

  # The last version in which all options have places of their own.
  @placed 2
  # The limits that have places of their own, in versions that have not all of them by name.
  @limits Limits.first()
  # The first one that tells of the versions before.
  @history Spec.history()
  # More than the options that are lists may have together.
  @max_fields 512
  @max_version 0xFFFF_FFFF_FFFF
  @admitted Enum.with_index(Origin.kinds())

  @doc "A change as bytes."
  @spec write_change(Outbox.change(), version :: pos_integer) :: iodata
  def write_change({entry, before}, version) do
    named =
      if version > @placed,
        do: list(Fields.write(Spec.always(version) ++ Spec.told(entry), entry), &write_field/1),
        else: []

    previous = if version >= @history, do: [<<byte_size(entry.previous)::16>>, entry.previous], else: []
    [write_entry(entry, version), named, previous, optional(before, &write_moment/1)]
  end

  defp write_field({name, text}), do: [short(name), <<byte_size(text)::16>>, text]

  defp write_entry(entry, version) do
    warm = if(entry.instances == :fresh, do: 0, else: elem(entry.instances, 1))
    limits = if Spec.always(version) == [], do: @limits, else: []

    [
      short(entry.name),
      write_stamp(entry.stamp),
      <<entry.version::48, flags(entry), entry.size::64>>,
      Base.decode16!(entry.sha256, case: :mixed),
      <<byte_size(entry.operation)::16>>,
      entry.operation,
      <<if(entry.engine == :dense, do: 1, else: 0), warm::32, entry.deployed_at::signed-64>>,
      for(key <- limits, do: <<Map.fetch!(entry.limits, key)::64>>)
    ]
  end

  defp flags(entry) do
    if(entry.removed, do: 1, else: 0) + if(entry.snapshot, do: 0, else: 2) + 4 * @admitted[entry.admitted]
  end

  @doc "A report as bytes."
  @spec write_report(Report.t(), version :: pos_integer) :: iodata
  def write_report(report, version) do
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

  @doc "The change that some bytes begin with, and the bytes behind it."
  @spec read_change(binary, version :: pos_integer) :: {Outbox.change(), binary}
  def read_change(body, version) do
    {entry, rest} = read_entry(body, version)
    if version == 1 and entry.admitted != :unknown, do: throw(:malformed)

    {named, rest} =
      if version > @placed, do: read_named(rest, Spec.always(version) ++ Spec.named(version)), else: {%{}, rest}

    {previous, rest} = if version >= @history, do: read_previous(rest), else: {"", rest}
    {before, rest} = read_optional(rest, &read_moment/1)
    {{entry |> Map.merge(named) |> Map.put(:previous, previous), before}, rest}
  end

  defp read_previous(<<length::16, previous::binary-size(length), rest::binary>>) do
    if Previous.valid?(previous), do: {:binary.copy(previous), rest}, else: throw(:malformed)
  end

  defp read_previous(_body), do: throw(:malformed)

  defp read_named(body, options) do
    {fields, rest} = read_list(body, &read_field/1, @max_fields)

    with {:ok, named} <- Fields.read(fields, options),
         named = Actors.without_former(named),
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

  defp read_entry(body, protocol) do
    {name, rest} = read_name(body)
    {stamp, rest} = read_stamp(rest)

    with <<version::48, flags, size::64, sha256::binary-size(32), rest::binary>> <- rest,
         <<length::16, operation::binary-size(length), rest::binary>> <- rest,
         <<dense, warm::32, deployed_at::signed-64, rest::binary>> <- rest,
         true <- version in 1..@max_version and flags in 0..15 and dense in 0..1,
         instances = if(warm == 0, do: :fresh, else: {:warm, warm}),
         true <- Spec.instances?(instances, :dense) and Spec.operation?(operation),
         {limits, rest} <- read_limits(rest, Spec.always(protocol)) do
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

  defp read_limits(rest, []) do
    {limits, rest} = Enum.map_reduce(@limits, rest, &read_limit/2)

    case Options.check(limits, Limits.schema(), "the limit") do
      {:ok, limits} -> {limits, rest}
      {:error, _error} -> throw(:malformed)
    end
  end

  # They come by name.
  defp read_limits(rest, _options), do: {%{}, rest}

  defp read_limit(key, <<value::64, rest::binary>>), do: {{key, value}, rest}
  defp read_limit(_key, _rest), do: throw(:malformed)

  @doc "The report that some bytes begin with, and the bytes behind it."
  @spec read_report(binary, version :: pos_integer) :: {Report.t(), binary}
  def read_report(body, version) do
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
end
