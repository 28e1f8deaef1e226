defmodule Tidepool.Catalog.Log do
  @moduledoc """
  The catalog's file: records appended one after another, the last one of a name counts.

  A record is its payload's length (32 bits), its CRC-32 (32 bits) and the payload, an entry in the external term format
  with a leading format version. Beside entries there are records of the context (`Tidepool.Catalog.State`), in their
  place among the changes that it speaks of; a large one is several records, which count together. A node that dies while it appends leaves a torn last record, which `decode/1` leaves
  out: the state before it is whole.
  """

  alias Tidepool.{Error, Limits, Native}
  alias Tidepool.Catalog.{Entry, State}

  @format 1
  @max_record_bytes 1_048_576
  # So many take less than a record may.
  @moments_in_a_record 10_000

  @doc """
  One entry as a record.

      iex> record = Tidepool.Catalog.Log.encode(%{name: "a"})
      iex> Tidepool.Catalog.Log.decode(record <> binary_part(record, 0, 5))
      {[%{name: "a"}], :torn}
  """
  @spec encode(Entry.t() | map) :: binary
  def encode(entry) do
    payload = <<@format, :erlang.term_to_binary(entry)::binary>>
    <<byte_size(payload)::32, :erlang.crc32(payload)::32, payload::binary>>
  end

  @doc "The entries of a file's bytes, oldest first, and whether all of it could be read."
  @spec decode(binary) :: {[Entry.t() | map], :whole | :torn}
  def decode(bytes), do: decode(bytes, [])

  defp decode(<<>>, entries), do: {Enum.reverse(entries), :whole}

  defp decode(<<size::32, crc::32, payload::binary-size(size), rest::binary>>, entries)
       when size <= @max_record_bytes do
    with true <- :erlang.crc32(payload) == crc,
         <<@format, term::binary>> <- payload,
         {:ok, entry} <- to_entry(term) do
      decode(rest, [entry | entries])
    else
      _ -> {Enum.reverse(entries), :torn}
    end
  end

  defp decode(_torn, entries), do: {Enum.reverse(entries), :torn}

  defp to_entry(term) do
    {:ok, term |> :erlang.binary_to_term([:safe]) |> complete()}
  rescue
    ArgumentError -> :error
  end

  # Fields that came later have their defaults in older records.
  defp complete(%Entry{} = entry), do: struct(Entry, Map.from_struct(entry))
  defp complete(other), do: other

  @doc "What is in the file at `path`, see `replay/1`. A missing file is an empty catalog."
  @spec read(Path.t()) :: {:ok, replayed, :whole | :torn} | {:error, Error.t()}
  def read(path) do
    # Records may have atoms only that the VM knows, which are those of modules that are loaded.
    Enum.each([Entry, State, Limits], &Code.ensure_loaded!/1)

    case File.read(path) do
      {:ok, bytes} ->
        {records, state} = decode(bytes)
        {:ok, replay(records), state}

      {:error, :enoent} ->
        {:ok, replay([]), :whole}

      {:error, reason} ->
        {:error, Error.storage(path, reason)}
    end
  end

  @typedoc """
  The last entry of each name; those that it replaced since the name was last removed, newest first; the last context.
  """
  @type replayed :: %{
          entries: %{String.t() => Entry.t()},
          earlier: %{String.t() => [Entry.t()]},
          context: State.context() | nil
        }

  @doc "Records, oldest first, one after another."
  @spec replay([Entry.t() | State.context()]) :: replayed
  def replay(records) do
    Enum.reduce(records, %{entries: %{}, earlier: %{}, context: nil}, fn
      %Entry{name: name} = entry, replayed ->
        earlier =
          case replayed.entries do
            %{^name => %{removed: false} = last} when not entry.removed ->
              Map.update(replayed.earlier, name, [last], &[last | &1])

            _none_or_removed ->
              Map.delete(replayed.earlier, name)
          end

        %{replayed | entries: Map.put(replayed.entries, name, entry), earlier: earlier}

      %{replica: _replica} = context, replayed ->
        %{replayed | context: if(replayed.context, do: State.add(replayed.context, context), else: context)}
    end)
  end

  @doc "Replaces the file by one with just `records`: written beside it, flushed, renamed."
  @spec rewrite(Path.t(), [Entry.t() | State.context()]) :: :ok | {:error, Error.t()}
  def rewrite(path, records) do
    beside = path <> ".new"

    with :ok <- File.write(beside, encode_all(records), [:sync]),
         :ok <- File.rename(beside, path),
         :ok <- Native.sync_folder(Path.dirname(path)) do
      :ok
    else
      {:error, reason} -> {:error, Error.storage(path, reason)}
    end
  end

  @doc "Opens the file for `append/2`."
  @spec open(Path.t()) :: {:ok, :file.fd()} | {:error, Error.t()}
  def open(path) do
    with {:error, reason} <- :file.open(path, [:append, :raw, :binary]), do: {:error, Error.storage(path, reason)}
  end

  @doc "Appends records; when this returns they survive a power cut."
  @spec append(:file.fd(), [Entry.t() | State.context()]) :: :ok | {:error, Error.t()}
  def append(file, records) do
    with :ok <- :file.write(file, encode_all(records)),
         :ok <- :file.datasync(file) do
      :ok
    else
      {:error, reason} -> {:error, Error.storage("the catalog", reason)}
    end
  end

  defp encode_all(records), do: for(record <- records, part <- parts(record), do: encode(part))

  defp parts(%{beyond: beyond} = context) do
    moments = for {replica, moments} <- beyond, moment <- moments, do: {replica, moment}

    case Enum.chunk_every(moments, @moments_in_a_record) do
      [_one, _another | _more] = chunks -> for chunk <- chunks, do: %{context | beyond: by_replica(chunk)}
      _small -> [context]
    end
  end

  defp parts(entry), do: [entry]

  defp by_replica(moments) do
    moments |> Enum.group_by(&elem(&1, 0), &elem(&1, 1)) |> Map.new(fn {replica, seen} -> {replica, Map.new(seen)} end)
  end
end
