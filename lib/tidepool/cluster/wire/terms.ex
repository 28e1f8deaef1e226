defmodule Tidepool.Cluster.Wire.Terms do
  @moduledoc """
  What the messages of `Tidepool.Cluster.Wire` are made of, as bytes: numbers big-endian, strings and lists after their
  length. Functions that read answer with the term that some bytes begin with, and the bytes behind it; what can't be read is
  thrown as `:malformed`.
  """

  alias Tidepool.Catalog.{Clock, Digest, State}
  alias Tidepool.Config
  alias Tidepool.Function.Spec

  @max_bytes 8 * 1024 * 1024

  @doc "How many bytes a message may have."
  @spec max_bytes :: pos_integer
  def max_bytes, do: @max_bytes

  @doc "A stamp."
  @spec write_stamp(Clock.stamp()) :: iodata
  def write_stamp({wall_ms, counter, replica}), do: [write_moment({wall_ms, counter}), short(replica)]

  @doc "A stamp without its replica."
  @spec write_moment(State.moment()) :: iodata
  def write_moment({wall_ms, counter}), do: <<wall_ms::48, counter::32>>

  @doc "A string of at most 255 bytes, after its length."
  @spec short(String.t()) :: iodata
  def short(string), do: [byte_size(string), string]

  @doc "A list, after its length."
  @spec list([item], (item -> iodata)) :: iodata when item: term
  def list(items, write), do: [<<length(items)::32>> | Enum.map(items, write)]

  @doc "A value that there may be."
  @spec optional(value | nil, (value -> iodata)) :: iodata when value: term
  def optional(nil, _write), do: [0]
  def optional(value, write), do: [1 | write.(value)]

  @doc "A time in ms."
  @spec read_at(binary) :: {non_neg_integer, binary}
  def read_at(<<at::48, rest::binary>>), do: {at, rest}
  def read_at(_body), do: throw(:malformed)

  @doc "A stamp."
  @spec read_stamp(binary) :: {Clock.stamp(), binary}
  def read_stamp(body) do
    {{wall_ms, counter}, rest} = read_moment(body)
    {replica, rest} = read_short(rest)
    {{wall_ms, counter, replica}, rest}
  end

  @doc "A stamp without its replica."
  @spec read_moment(binary) :: {State.moment(), binary}
  def read_moment(<<wall_ms::48, counter::32, rest::binary>>), do: {{wall_ms, counter}, rest}
  def read_moment(_body), do: throw(:malformed)

  @doc "A function's name."
  @spec read_name(binary) :: {String.t(), binary}
  def read_name(body) do
    {name, _rest} = read = read_short(body)
    if Spec.name?(name), do: read, else: throw(:malformed)
  end

  @doc "A node's name."
  @spec read_node(binary) :: {String.t(), binary}
  def read_node(body) do
    {node, _rest} = read = read_short(body)
    if Config.node_name?(node), do: read, else: throw(:malformed)
  end

  @doc "So many names of nodes at most."
  @spec read_nodes(binary, max :: pos_integer) :: {[String.t()], binary}
  def read_nodes(body, max), do: read_list(body, &read_node/1, max)

  @doc "A string, after its length."
  @spec read_short(binary) :: {String.t(), binary}
  def read_short(<<length, string::binary-size(length), rest::binary>>) when length > 0 do
    # Copied, since what is kept of a message must not keep all of it.
    if String.valid?(string), do: {:binary.copy(string), rest}, else: throw(:malformed)
  end

  def read_short(_body), do: throw(:malformed)

  @doc "So many sums at most."
  @spec read_sums(binary, max :: pos_integer) :: {[Digest.hash()], binary}
  def read_sums(body, max \\ elem(Digest.sizes(), 0))
  def read_sums(body, max), do: read_list(body, &read_sum/1, max)

  @doc "A sum."
  @spec read_sum(binary) :: {Digest.hash(), binary}
  def read_sum(<<sum::56, rest::binary>>), do: {sum, rest}
  def read_sum(_body), do: throw(:malformed)

  @doc "A value that there may be."
  @spec read_optional(binary, (binary -> {value, binary})) :: {value | nil, binary} when value: term
  def read_optional(<<0, rest::binary>>, _read), do: {nil, rest}
  def read_optional(<<1, rest::binary>>, read), do: read.(rest)
  def read_optional(_body, _read), do: throw(:malformed)

  @doc "So many items at most. A list of more than there are bytes ends with the bytes."
  @spec read_list(binary, (binary -> {item, binary}), max :: pos_integer) :: {[item], binary} when item: term
  def read_list(body, read, max \\ @max_bytes)
  def read_list(<<length::32, body::binary>>, read, max) when length <= max, do: read_items(length, body, read, [])
  def read_list(_body, _read, _max), do: throw(:malformed)

  defp read_items(0, rest, _read, items), do: {Enum.reverse(items), rest}

  defp read_items(left, body, read, items) do
    {item, rest} = read.(body)
    read_items(left - 1, rest, read, [item | items])
  end
end
