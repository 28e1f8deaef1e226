defmodule Tidepool.Catalog.Log do
  @moduledoc """
  The catalog's file: records (`Tidepool.Catalog.Record`) appended one after another, the last one of a name counts.

  Beside entries there are records of the context (`Tidepool.Catalog.State`), in their
  place among the changes that it speaks of; a large one is several records, which count together.

  Beside the file lies its seal (`catalog.end`): how the file begins, and up to where it was written. So what is missing or
  unreadable is told apart: behind the seal it is a change that was never answered, for the node died while it appended, and is
  left out (`:torn`); before the seal it is damage. The seal is as new as the last change, but for a power cut; where it
  is missing or can't be read (`:unsealed`, if all else is whole), whatever can't be read is damage.

  The texts of a function's options may have 260 KB, and the file gigabytes. So it is read and written in pieces: what is in memory
  of it is what it says. One that is damaged is read whole as well, from the damage on.
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Catalog.{Entry, Record, State}

  # So many take less than a record may.
  @moments_in_a_record 10_000

  # So much is read at a time, and so many records are written: as much, if they are as long as those of functions may be.
  @piece_bytes 4_194_304
  @written_at_a_time 16

  @nothing %{entries: %{}, earlier: %{}, context: nil}

  # Where a file ends, and what it begins with.
  @typep extent :: {size :: non_neg_integer, head :: binary}

  @typedoc """
  What is wrong with the file beside what `t:Tidepool.Catalog.Record.damage/0` tells: from byte `at` on `bytes` are missing (`:cut`; all of them, with the
  file: `:missing`); another one is in its place (`:foreign`).
  """
  @type damage ::
          Record.damage()
          | %{at: non_neg_integer, bytes: non_neg_integer, what: :cut | :missing | :foreign, functions: []}

  @doc """
  What is in the file at `path`, see `replay/1`. A file that is missing, with its seal, is an empty catalog.

  A damaged one comes with its bytes, as they are.
  """
  @spec read(Path.t()) ::
          {:ok, replayed, :whole | :unsealed | :torn | {:damaged, binary, [damage, ...]}} | {:error, Error.t()}
  def read(path) do
    with {:ok, replayed, extent, damage} <- through(path) do
      case judge(extent, damage, unseal(seal_bytes(path))) do
        {:damaged, damage} -> with {:ok, bytes} <- bytes(path), do: {:ok, replayed, {:damaged, bytes, damage}}
        state -> {:ok, replayed, state}
      end
    end
  end

  defp bytes(path) do
    case File.read(path) do
      {:ok, bytes} -> {:ok, bytes}
      {:error, :enoent} -> {:ok, ""}
      {:error, reason} -> {:error, Error.storage(path, reason)}
    end
  end

  defp through(path) do
    case :file.open(path, [:read, :raw, :binary]) do
      {:ok, file} ->
        read = with {:error, reason} <- pieces(file, "", 0, @nothing), do: {:error, Error.storage(path, reason)}
        :file.close(file)
        read

      {:error, :enoent} ->
        {:ok, @nothing, {0, ""}, []}

      {:error, reason} ->
        {:error, Error.storage(path, reason)}
    end
  end

  # `left` is what was read from byte `at` on and is no whole record yet.
  @spec pieces(:file.fd(), left :: binary, at :: non_neg_integer, replayed) ::
          {:ok, replayed, extent, [Record.damage()]} | {:error, :file.posix() | :badarg | :terminated}
  defp pieces(file, left, at, replayed) do
    case :file.read(file, @piece_bytes) do
      {:ok, piece} ->
        bytes = left <> piece
        {records, left} = Record.leading(bytes)
        at = at + byte_size(bytes) - byte_size(left)
        replayed = replay(records, replayed)

        if byte_size(left) <= Record.most_bytes(),
          do: pieces(file, left, at, replayed),
          else: with({:ok, left} <- rest(file, left), do: last(file, left, at, replayed))

      :eof ->
        last(file, left, at, replayed)

      {:error, reason} ->
        {:error, reason}
    end
  end

  # Past damage the whole of what follows is looked through.
  defp rest(file, read) do
    case :file.read(file, @piece_bytes) do
      {:ok, piece} -> rest(file, [read | piece])
      :eof -> {:ok, IO.iodata_to_binary(read)}
      {:error, reason} -> {:error, reason}
    end
  end

  defp last(file, left, at, replayed) do
    {records, damage} = Record.decode(left, at)
    head = with :eof <- :file.pread(file, 0, 8), do: {:ok, ""}

    with {:ok, head} <- head,
         do: {:ok, replay(records, replayed), {at + byte_size(left), head}, damage}
  end

  # A seal that can't be read is as good as none.
  defp seal_bytes(path) do
    case File.read(seal_path(path)) do
      {:ok, bytes} -> bytes
      {:error, _reason} -> ""
    end
  end

  @doc "What is in a file and its seal with these bytes, and what is wrong with it."
  @spec examine(binary, seal :: binary) :: {replayed, :whole | :unsealed | :torn | {:damaged, [damage, ...]}}
  def examine(bytes, seal) do
    {records, damage} = Record.decode(bytes)
    extent = {byte_size(bytes), binary_part(bytes, 0, min(byte_size(bytes), 8))}
    {replay(records), judge(extent, damage, unseal(seal))}
  end

  @spec judge(extent, [Record.damage()], seal :: extent | nil) :: :whole | :unsealed | :torn | {:damaged, [damage, ...]}
  defp judge({0, _head}, [], nil), do: :whole
  defp judge(_extent, [], nil), do: :unsealed
  defp judge(_extent, damage, nil), do: {:damaged, damage}

  defp judge({here, begins}, damage, {size, head}) do
    known = Enum.filter(damage, &(&1.at < size))

    cond do
      here == 0 -> {:damaged, [missing(:missing, 0, size)]}
      begins == head and here < size -> {:damaged, known ++ [missing(:cut, here, size - here)]}
      known != [] -> {:damaged, known}
      begins != head -> {:damaged, [missing(:foreign, 0, size)]}
      damage == [] -> :whole
      true -> :torn
    end
  end

  defp missing(what, at, bytes), do: %{at: at, bytes: bytes, what: what, functions: []}

  @typedoc """
  The last entry of each name; those that it replaced since the name was last removed, newest first; the last context.
  """
  @type replayed :: %{
          entries: %{String.t() => Entry.t()},
          earlier: %{String.t() => [Entry.t()]},
          context: State.context() | nil
        }

  @doc "Records, oldest first, one after another; after those that were `replayed` before."
  @spec replay([Record.t()], replayed) :: replayed
  def replay(records, replayed \\ @nothing) do
    Enum.reduce(records, replayed, fn
      %Entry{} = entry, replayed ->
        if stale?(entry, replayed.entries[entry.name]), do: replayed, else: put(entry, replayed)

      %{replica: _replica} = context, replayed ->
        %{replayed | context: if(replayed.context, do: State.add(replayed.context, context), else: context)}
    end)
  end

  defp put(%{name: name} = entry, replayed) do
    earlier =
      case replayed.entries do
        %{^name => %{removed: false} = last} when not entry.removed ->
          Map.update(replayed.earlier, name, [last], &[last | &1])

        _none_or_removed ->
          Map.delete(replayed.earlier, name)
      end

    %{replayed | entries: Map.put(replayed.entries, name, entry), earlier: earlier}
  end

  # A disk that has put an old sector in the place of another brings old records behind newer ones.
  defp stale?(%{stamp: {_, _, _} = stamp} = entry, %{stamp: {_, _, _} = last} = known),
    do: stamp < last and entry.version <= known.version

  defp stale?(_entry, _none_or_unstamped), do: false

  @doc "How many bytes the open file has."
  @spec size(:file.fd()) :: non_neg_integer
  def size(file) do
    case :file.position(file, :eof) do
      {:ok, bytes} -> bytes
      # Whoever appends next says so.
      {:error, _reason} -> 0
    end
  end

  @doc "Replaces the file by one with just `records`, and seals it: written beside it, flushed, renamed."
  @spec rewrite(Path.t(), [Record.t()]) :: :ok | {:error, Error.t()}
  def rewrite(path, records) do
    {folder, beside} = {Path.dirname(path), path <> ".new"}

    # The seal goes first and comes last: in between any file is taken as it is.
    with {:ok, extent} <- written(beside, records),
         :ok <- File.chmod(beside, 0o600),
         :ok <- remove(seal_path(path)),
         :ok <- Native.sync_folder(folder),
         :ok <- File.rename(beside, path),
         _unsealed = write_seal(path, extent),
         :ok <- Native.sync_folder(folder) do
      :ok
    else
      {:error, reason} -> {:error, Error.storage(path, reason)}
    end
  end

  @spec written(Path.t(), [Record.t()]) :: {:ok, extent} | {:error, :file.posix() | :badarg | :terminated}
  defp written(path, records) do
    with {:ok, file} <- :file.open(path, [:read, :write, :raw, :binary]) do
      # One that was not finished may be there.
      written =
        with :ok <- :file.truncate(file), :ok <- write_all(file, records), :ok <- :file.sync(file), do: extent(file)

      :file.close(file)
      written
    end
  end

  # What was written is of no use, and the VM lets a process have the more of that the more it has besides: the texts of all entries.
  defp write_all(file, records, unswept \\ 0)
  defp write_all(_file, [], _unswept), do: :ok

  defp write_all(file, records, unswept) when unswept >= @piece_bytes do
    true = :erlang.garbage_collect()
    write_all(file, records, 0)
  end

  defp write_all(file, records, unswept) do
    {some, later} = Enum.split(records, @written_at_a_time)
    some = Enum.flat_map(some, &encode/1)
    with :ok <- :file.write(file, some), do: write_all(file, later, unswept + IO.iodata_length(some))
  end

  defp extent(file) do
    with {:ok, size} <- :file.position(file, :eof),
         {:ok, head} <- :file.pread(file, 0, 8),
         do: {:ok, {size, head}}
  end

  # There may be no room for it on a disk that has none; then there is none until the next change.
  defp write_seal(path, extent) do
    with :ok <- File.write(seal_path(path), seal_of(extent), [:sync]), do: File.chmod(seal_path(path), 0o600)
  end

  defp remove(path) do
    with {:error, :enoent} <- File.rm(path), do: :ok
  end

  @doc "Opens the file for `append/3`."
  @spec open(Path.t()) :: {:ok, :file.fd()} | {:error, Error.t()}
  def open(path) do
    with {:error, reason} <- :file.open(path, [:read, :append, :raw, :binary]),
         do: {:error, Error.storage(path, reason)}
  end

  @doc "Appends records to the file at `path`, opened as `file`; when this returns they survive a power cut."
  @spec append(Path.t(), :file.fd(), [Record.t()]) :: :ok | {:error, Error.t()}
  def append(path, file, records) do
    with :ok <- :file.write(file, Enum.flat_map(records, &encode/1)),
         :ok <- :file.datasync(file) do
      seal(path, file)
    else
      {:error, reason} -> {:error, Error.storage("the catalog", reason)}
    end
  end

  defp encode(record), do: for(part <- parts(record), do: Record.encode(part))

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

  @doc "Where the seal of the file at `path` is."
  @spec seal_path(Path.t()) :: Path.t()
  def seal_path(path), do: Path.rootname(path) <> ".end"

  # It is not flushed: a seal that is older than the file takes damage for an unfinished change at worst. It is written in place,
  # which takes no room on a disk that is full.
  defp seal(path, file) do
    with {:ok, extent} <- extent(file),
         {:ok, seal} <- :file.open(seal_path(path), [:read, :write, :raw, :binary]) do
      _written = :file.pwrite(seal, 0, seal_of(extent))
      _closed = :file.close(seal)
    end

    :ok
  end

  defp seal_of({size, head}), do: <<size::64, head::binary-size(8), :erlang.crc32([<<size::64>>, head])::32>>

  defp unseal(<<size::64, head::binary-size(8), crc::32>>) do
    if :erlang.crc32([<<size::64>>, head]) == crc, do: {size, head}
  end

  defp unseal(_missing_or_damaged), do: nil
end
