defmodule Tidepool.Catalog.Previous do
  @moduledoc """
  The versions that the newest one of a name has replaced: what a rollback goes back to.

  They are a part of the newest version's entry (`Tidepool.Catalog.Entry`), made by the node that takes a deploy, and travel with it.
  So nodes that have the same entry have the same versions, whatever each of them has seen; of two deploys on two sides of a
  partition the later one keeps those that it knew. What was removed has none.

  They are bytes: a name that was deployed once has none of them, and nobody reads the others but for a rollback and to see which
  modules are needed. Each is its version, size, time, what admitted it and the SHA-256 of its module, and its options as text
  with their names, newest first:

      <<version::48, size::64, deployed_at::signed-64, admitted, sha256::binary-32, bytes::16, options::binary-size(bytes)>>

  Options of a later version of Tidepool are passed on as they are, and are an error for a rollback to them.
  """

  alias Tidepool.{Error, Limits}
  alias Tidepool.Catalog.Origin
  alias Tidepool.Function.{Actors, Fields, Spec}

  # With the newest one ten are kept of a name.
  @most 9
  # A message between nodes has 256 entries, and 8 MiB at most.
  @max_bytes 8_192
  @max_version 0xFFFF_FFFF_FFFF
  # Nodes tell each other the index; what a later version of Tidepool has is not known.
  @kinds Origin.kinds()

  @typedoc "Those of a name."
  @type t :: binary

  @typedoc "One of them; its options are as `options/1` reads them."
  @type version :: %{
          version: pos_integer,
          size: non_neg_integer,
          deployed_at: integer,
          admitted: Origin.admitted(),
          sha256: String.t(),
          options: binary
        }

  @doc "How many versions of a name are kept, the newest one included."
  @spec kept :: pos_integer
  def kept, do: @most + 1

  @doc "How many bytes they may have."
  @spec max_bytes :: pos_integer
  def max_bytes, do: @max_bytes

  @doc "Those of a name that there are when the newest version, `entry`, is replaced; none of one that is not there, or removed."
  @spec push(Tidepool.Catalog.Entry.t() | nil) :: t
  def push(nil), do: ""
  def push(%{removed: true}), do: ""

  def push(entry) do
    options = entry |> options_of() |> IO.iodata_to_binary()
    # What takes more than all may have goes, and those before it; its length may be more than 16 bits say.
    if byte_size(options) > @max_bytes, do: "", else: cut(pack(entry, options) <> entry.previous)
  end

  defp pack(entry, options) do
    <<entry.version::48, entry.size::64, entry.deployed_at::signed-64,
      Enum.find_index(@kinds, &(&1 == entry.admitted))::8, Base.decode16!(entry.sha256, case: :mixed)::binary,
      byte_size(options)::16, options::binary>>
  end

  # Limits always, whole: the defaults of another version of Tidepool may be others.
  defp options_of(entry) do
    entry = %{entry | limits: Limits.complete(entry.limits)}
    told = for {key, spec} = option <- Spec.kept(), Map.fetch!(entry, key) != spec[:default], do: option
    for {name, text} <- Fields.write(told, entry), do: [byte_size(name), name, <<byte_size(text)::16>>, text]
  end

  defp cut(packed) do
    {_left, _bytes, kept} =
      Enum.reduce_while(raw(packed, []), {@most, 0, []}, fn one, {left, bytes, kept} ->
        if left == 0 or bytes + byte_size(one) > @max_bytes,
          do: {:halt, {0, bytes, kept}},
          else: {:cont, {left - 1, bytes + byte_size(one), [one | kept]}}
      end)

    kept |> Enum.reverse() |> IO.iodata_to_binary()
  end

  defp raw(<<head::binary-size(55), bytes::16, options::binary-size(bytes), rest::binary>>, read),
    do: raw(rest, [<<head::binary, bytes::16, options::binary>> | read])

  defp raw(_end, read), do: Enum.reverse(read)

  @doc "All of them, newest first."
  @spec list(t) :: [version]
  def list(packed), do: for(one <- raw(packed, []), do: read(one))

  defp read(<<version::48, size::64, at::signed-64, admitted, sha256::binary-size(32), _bytes::16, options::binary>>) do
    %{
      version: version,
      size: size,
      deployed_at: at,
      admitted: Enum.at(@kinds, admitted, :unknown),
      sha256: Base.encode16(sha256, case: :lower),
      options: options
    }
  end

  @doc "How many bytes their modules have together."
  @spec bytes(t) :: non_neg_integer
  def bytes(packed), do: Enum.sum(for(<<_version::48, size::64, _facts::binary>> <- raw(packed, []), do: size))

  @doc "The newest of them, as many as have so many bytes of modules together at most."
  @spec within(t, bytes :: integer) :: t
  def within(packed, bytes) do
    packed
    |> raw([])
    |> Enum.scan({"", 0}, fn <<_version::48, size::64, _facts::binary>> = one, {_before, sum} -> {one, sum + size} end)
    |> Enum.take_while(fn {_one, sum} -> sum <= bytes end)
    |> Enum.map_join(fn {one, _sum} -> one end)
  end

  @doc "Their modules."
  @spec modules(t) :: [Tidepool.Catalog.BlobStore.sha256()]
  def modules(""), do: []
  def modules(packed), do: for(%{sha256: sha256} <- list(packed), do: sha256)

  @doc "Can these bytes be some? What comes from elsewhere is asked this before it is kept."
  @spec valid?(term) :: boolean
  def valid?(packed), do: is_binary(packed) and byte_size(packed) <= @max_bytes and valid?(packed, @most)

  defp valid?("", _left), do: true

  defp valid?(<<version::48, _facts::binary-size(49), bytes::16, options::binary-size(bytes), rest::binary>>, left),
    do: left > 0 and version in 1..@max_version and fields(options, []) != :error and valid?(rest, left - 1)

  defp valid?(_other, _left), do: false

  @doc "The options that a version was deployed with, as `Tidepool.deploy/2` takes them; an error if this node can't read them."
  @spec options(version) :: {:ok, keyword} | {:error, Error.t()}
  def options(%{options: options, version: version}) do
    with {:ok, fields} <- fields(options, []),
         {:ok, options} <- Fields.read(fields, Spec.kept()) do
      # One that is left out is as it was then, whatever this node has for those that name none.
      options = Actors.without_former(options)
      {:ok, Keyword.replace_lazy(options, :limits, &Limits.complete(Map.new(&1)))}
    else
      _later ->
        message = "version #{version} has options that this node does not know: a later version of Tidepool has made it"
        {:error, Error.new(:unavailable, message)}
    end
  end

  defp fields("", read), do: {:ok, Enum.reverse(read)}

  defp fields(<<length, name::binary-size(length), size::16, text::binary-size(size), rest::binary>>, read) do
    if String.valid?(name) and String.valid?(text), do: fields(rest, [{name, text} | read]), else: :error
  end

  defp fields(_other, _read), do: :error
end
