defmodule Tidepool.Catalog.Record do
  @moduledoc """
  The catalog's records as bytes: one after another, each readable whatever became of the others.

  A record is its payload's length (32 bits), its CRC-32 (32 bits) and the payload, a map in the external term format with a
  leading format version: an entry, or a context (`Tidepool.Catalog.State`).

  An entry's fields are those of the first version of the cluster's protocol, which nodes of that time read as well; limits that
  came later are among them where they are not their default. Its
  details (`Tidepool.Catalog.Entry`) are text beside them, which those pass over; so are the versions before, if there are any.

  What is damaged costs what was damaged. A single bit that flipped is flipped back, for the checksum tells which one it was; a
  wrong length is put right, for a term tells its own end. Past any other damage reading goes on with the next
  whole record: the one that the length leads to, so that nothing *inside* a payload is taken for a record, or else the first
  one that is found.
  """

  alias Tidepool.{Limits, Options}
  alias Tidepool.Catalog.{Entry, Origin, Previous, State}
  alias Tidepool.Function.{Actors, Fields, Spec}

  # Limits that older records don't have, as they are by default.
  @later Map.drop(Limits.complete(%{}), Limits.first())

  @format 1
  @details "details"
  @previous "previous"
  @max_bytes 1_048_576
  # How payloads begin: the format, the version of Erlang's own, a map.
  @head <<@format, 131, 116>>
  # The atom `name` before a binary, as releases of Erlang write it; not a label of that name.
  @name_heads [<<?d, 4::16, "name", ?m, 0::24>>, <<?w, 4, "name", ?m, 0::24>>]
  # Entries are shorter. Damage in longer payloads is not put right.
  @mendable_bytes 8_192
  # A file could be made up so that looking through it takes hours: so many bytes are hashed in the search for whole records.
  @search_bytes 268_435_456

  @type t :: Entry.t() | State.context()

  @typedoc """
  What is not as it was written, from byte `at` on:

  - `:mended`: one record, and what it said is known all the same
  - `:lost`: a record, or several; `functions` are those that can be told, with the version if that can be
  - `:unknown`: a whole record of which this version of Tidepool can make nothing
  """
  @type damage :: %{
          at: non_neg_integer,
          bytes: non_neg_integer,
          what: :mended | :lost | :unknown,
          functions: [{String.t(), pos_integer | nil}]
        }

  @doc """
  One entry or context as a record.

      iex> alias Tidepool.Catalog.{Record, State}
      iex> record = Record.encode(State.new_context("a@host#1"))
      iex> {[%{replica: "a@host#1"}], [%{what: :lost, at: at}]} = Record.decode(record <> binary_part(record, 0, 5))
      iex> at == byte_size(record)
      true
  """
  @spec encode(t) :: binary
  def encode(term) do
    payload = <<@format, :erlang.term_to_binary(with_text(term))::binary>>
    <<byte_size(payload)::32, :erlang.crc32(payload)::32, payload::binary>>
  end

  defp with_text(%Entry{} = entry) do
    entry = struct(Entry, Map.from_struct(entry))
    text = [{"admitted", to_string(entry.admitted)} | Fields.write(Spec.told(entry), entry)]
    entry = %{entry | limits: Spec.first_known(entry.limits, Spec.kept()[:limits])}
    record = entry |> Map.drop(Map.keys(Entry.details(entry))) |> Map.put(@details, text)
    if entry.previous == "", do: record, else: Map.put(record, @previous, entry.previous)
  end

  defp with_text(context), do: context

  @doc "The most bytes that one has."
  @spec most_bytes :: pos_integer
  def most_bytes, do: 8 + @max_bytes

  @doc """
  The whole records that bytes begin with, and what is left behind them: what the last one has so far where there are to be more bytes, or what is
  damaged, which is for `decode/2`. More than `most_bytes/0` are damaged.
  """
  @spec leading(binary) :: {[t], left :: binary}
  def leading(bytes) do
    load()
    leading(bytes, 0, [])
  end

  defp leading(bytes, at, records) do
    with <<_before::binary-size(at), size::32, crc::32, payload::binary-size(size), _rest::binary>>
         when size <= @max_bytes <- bytes,
         {:ok, record} <- whole(payload, crc) do
      leading(bytes, at + 8 + size, [record | records])
    else
      _cut_or_damaged -> {Enum.reverse(records), binary_part(bytes, at, byte_size(bytes) - at)}
    end
  end

  @doc "The records of a file's bytes from byte `at` on, and what is damaged there, both in the file's order."
  @spec decode(binary, at :: non_neg_integer) :: {[t], [damage]}
  def decode(bytes, at \\ 0) do
    load()
    {records, damage} = decode(bytes, 0, {[], [], @search_bytes})
    {records, for(one <- damage, do: %{one | at: at + one.at})}
  end

  # Records may have atoms only that the VM knows, which are those of modules that are loaded.
  defp load, do: Enum.each([Entry, State, Limits, Origin, Spec], &Code.ensure_loaded!/1)

  defp decode(bytes, at, {records, damage, _left}) when at == byte_size(bytes),
    do: {Enum.reverse(records), Enum.reverse(damage)}

  defp decode(bytes, at, {records, damage, left}) do
    case one(bytes, at) do
      {:whole, record, next} ->
        decode(bytes, next, {[record | records], damage, left})

      {:mended, record, next} ->
        mended = %{at: at, bytes: next - at, what: :mended, functions: functions(record)}
        decode(bytes, next, {[record | records], [mended | damage], left})

      {:unknown, next} ->
        decode(bytes, next, {records, [lost(bytes, at, next, :unknown) | damage], left})

      {:damaged, behind} ->
        {next, left} = if behind, do: {behind, left}, else: search(bytes, at + 1, left)
        decode(bytes, next, {records, [lost(bytes, at, next, :lost) | damage], left})
    end
  end

  # What stands at an offset. Of damage: where the next record is, if the length still leads to one.
  defp one(bytes, at) do
    case bytes do
      <<_before::binary-size(at), size::32, crc::32, payload::binary-size(size), _rest::binary>>
      when size <= @max_bytes ->
        next = at + 8 + size

        case whole(payload, crc) do
          {:ok, record} -> {:whole, record, next}
          :unknown -> {:unknown, next}
          :damaged -> mend(bytes, at, payload, next)
        end

      _no_such_length ->
        with :error <- self_contained(bytes, at), do: {:damaged, nil}
    end
  end

  defp whole(payload, crc) do
    if :erlang.crc32(payload) == crc do
      with :error <- term(payload), do: :unknown
    else
      :damaged
    end
  end

  defp mend(bytes, at, payload, next) do
    <<_before::binary-size(at), _size::32, crc::32, _rest::binary>> = bytes
    behind = if next == byte_size(bytes) or readable?(bytes, next), do: next

    with :error <- self_contained(bytes, at),
         :error <- flip_back(payload, crc) do
      {:damaged, behind}
    else
      # Without a record behind it a byte is missing here, and its end is the beginning of the next.
      {:ok, record} -> {:mended, record, behind || next - 1}
      mended -> mended
    end
  end

  # Whether a record starts here, whole or not: its length and its payload's beginning are as they should be.
  defp readable?(bytes, at) do
    case bytes do
      <<_before::binary-size(at), size::32, _crc::32, @head, _rest::binary>> -> size <= @max_bytes
      _other -> false
    end
  end

  # The length is wrong: the payload ends where its term does.
  defp self_contained(bytes, at) do
    with <<_before::binary-size(at), _size::32, crc::32, @head, _rest::binary>> <- bytes,
         rest = binary_part(bytes, at + 9, min(byte_size(bytes) - at - 9, @mendable_bytes)),
         {:ok, used} <- used(rest),
         payload = binary_part(bytes, at + 8, 1 + used),
         {:ok, record} <- whole(payload, crc) do
      {:mended, record, at + 9 + used}
    else
      _other -> :error
    end
  end

  # A flipped bit changes the checksum in a way that depends on nothing but how far it is from the end.
  defp flip_back(payload, crc) when byte_size(payload) in 1..@mendable_bytes do
    case Bitwise.bxor(:erlang.crc32(payload), crc) do
      changed when Bitwise.band(changed, changed - 1) == 0 ->
        # The checksum's own bit.
        term(payload)

      changed ->
        with {:ok, bit} <- flipped(changed, 8 * byte_size(payload) - 1, 0xEDB88320) do
          {before, <<byte, rest::binary>>} = :erlang.split_binary(payload, div(bit, 8))
          term(<<before::binary, Bitwise.bxor(byte, Bitwise.bsl(1, rem(bit, 8))), rest::binary>>)
        end
    end
  end

  defp flip_back(_payload, _crc), do: :error

  # `effect` is what a flip of this bit does to the checksum; that of the bit before it is one step of the CRC further on.
  defp flipped(effect, bit, effect), do: {:ok, bit}
  defp flipped(_changed, 0, _effect), do: :error

  defp flipped(changed, bit, effect) do
    further = Bitwise.bsr(effect, 1)
    flipped(changed, bit - 1, if(Bitwise.band(effect, 1) == 1, do: Bitwise.bxor(further, 0xEDB88320), else: further))
  end

  # The first whole record from an offset on, or the end.
  defp search(bytes, at, left) do
    scope = {at + 8, max(byte_size(bytes) - at - 8, 0)}

    with true <- left > 0 and at + 8 < byte_size(bytes),
         {found, _length} <- :binary.match(bytes, @head, scope: scope) do
      case bytes do
        <<_before::binary-size(found - 8), size::32, crc::32, payload::binary-size(size), _rest::binary>>
        when size <= @max_bytes ->
          if :erlang.crc32(payload) == crc,
            do: {found - 8, left},
            else: search(bytes, found - 7, left - size)

        _no_record ->
          search(bytes, found - 7, left)
      end
    else
      _nothing -> {byte_size(bytes), left}
    end
  end

  defp term(<<@format, term::binary>>) do
    case :erlang.binary_to_term(term, [:safe]) do
      # Fields that came later have their defaults in older records.
      %Entry{name: name, version: version, limits: %{} = limits} = entry when is_binary(name) and is_integer(version) ->
        with {:ok, details} <- details(entry),
             {:ok, previous} <- previous(entry),
             fields = %{limits: Map.merge(@later, limits), previous: previous},
             do: {:ok, struct(Entry, entry |> Map.from_struct() |> Map.merge(details) |> Map.merge(fields))}

      %{replica: _, seen: _, beyond: _, horizon: _} = context ->
        {:ok, context}

      _other ->
        :error
    end
  rescue
    ArgumentError -> :error
  end

  defp term(_other_format), do: :error

  defp details(%{@details => [{"admitted", admitted} | fields]}) do
    with true <- texts?(fields),
         {:ok, options} <- Fields.read(fields, Spec.named(Spec.latest())),
         options = Actors.without_former(options),
         {:ok, options} <- Options.check(options, Spec.named(Spec.latest()), &Fields.subject/1),
         {:ok, kind} <- kind(admitted) do
      {:ok, Map.put(options, :admitted, kind)}
    else
      _unknown -> :error
    end
  end

  # As it was written when all fields were atoms, or earlier.
  defp details(_entry), do: {:ok, %{}}

  defp previous(%{@previous => previous}), do: if(Previous.valid?(previous), do: {:ok, previous}, else: :error)
  defp previous(_entry), do: {:ok, ""}

  # What passes for a list at its beginning may end in anything.
  defp texts?([{name, text} | rest]) when is_binary(name) and is_binary(text), do: texts?(rest)
  defp texts?(rest), do: rest == []

  defp kind(admitted) do
    with kind when kind != nil <- Enum.find(Origin.kinds(), &(to_string(&1) == admitted)), do: {:ok, kind}
  end

  defp used(bytes) do
    {_term, used} = :erlang.binary_to_term(bytes, [:safe, :used])
    {:ok, used}
  rescue
    ArgumentError -> :error
  end

  defp lost(bytes, at, next, what) do
    %{at: at, bytes: next - at, what: what, functions: told(binary_part(bytes, at, next - at))}
  end

  defp functions(%Entry{name: name, version: version}), do: [{name, version}]
  defp functions(_context), do: []

  # The names in damaged entries, as the external term format has them, and their versions if there is one for each.
  defp told(bytes) do
    names =
      for {at, length} <- :binary.matches(bytes, @name_heads),
          <<_before::binary-size(at + length), size, name::binary-size(size), _rest::binary>> <- [bytes],
          Spec.name?(name),
          do: name

    versions =
      for {at, length} <- :binary.matches(bytes, "version"),
          <<_before::binary-size(at + length), rest::binary>> <- [bytes],
          version = version(rest),
          do: version

    Enum.zip(names, if(length(versions) == length(names), do: versions, else: Stream.cycle([nil])))
  end

  defp version(<<?a, version, _rest::binary>>), do: version
  defp version(<<?b, version::32, _rest::binary>>), do: version
  defp version(_other), do: nil
end
