defmodule Tidepool.Catalog.Log do
  @moduledoc """
  The catalog's file: records appended one after another, the last one of a name counts.

  A record is its payload's length (32 bits), its CRC-32 (32 bits) and the payload, an entry in the external term format
  with a leading format version. A node that dies while it appends leaves a torn last record, which `decode/1` leaves
  out: the state before it is whole.
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Catalog.Entry

  @format 1
  @max_record_bytes 1_048_576

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
    {:ok, :erlang.binary_to_term(term, [:safe])}
  rescue
    ArgumentError -> :error
  end

  @doc "All entries in the file at `path`, the newest of each name. A missing file is an empty catalog."
  @spec read(Path.t()) :: {:ok, %{String.t() => Entry.t()}, :whole | :torn} | {:error, Error.t()}
  def read(path) do
    case File.read(path) do
      {:ok, bytes} ->
        {entries, state} = decode(bytes)
        {:ok, Map.new(entries, &{&1.name, &1}), state}

      {:error, :enoent} ->
        {:ok, %{}, :whole}

      {:error, reason} ->
        error(path, reason)
    end
  end

  @doc "Replaces the file by one with just `entries`: written beside it, flushed, renamed."
  @spec rewrite(Path.t(), [Entry.t()]) :: :ok | {:error, Error.t()}
  def rewrite(path, entries) do
    beside = path <> ".new"

    with :ok <- File.write(beside, Enum.map(entries, &encode/1), [:sync]),
         :ok <- File.rename(beside, path),
         :ok <- Native.sync_folder(Path.dirname(path)) do
      :ok
    else
      {:error, reason} -> error(path, reason)
    end
  end

  @doc "Opens the file for `append/2`."
  @spec open(Path.t()) :: {:ok, :file.fd()} | {:error, Error.t()}
  def open(path) do
    with {:error, reason} <- :file.open(path, [:append, :raw, :binary]), do: error(path, reason)
  end

  @doc "Appends one entry; when this returns it survives a power cut."
  @spec append(:file.fd(), Entry.t()) :: :ok | {:error, Error.t()}
  def append(file, entry) do
    with :ok <- :file.write(file, encode(entry)),
         :ok <- :file.datasync(file) do
      :ok
    else
      {:error, reason} -> error("the catalog", reason)
    end
  end

  defp error(path, reason) do
    text = if is_atom(reason), do: :file.format_error(reason), else: reason
    {:error, Error.new(:storage, "#{path}: #{text}")}
  end
end
