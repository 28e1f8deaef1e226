defmodule Tidepool.Catalog.Log do
  @moduledoc """
  The catalog's file: records (`Tidepool.Catalog.Record`) appended one after another, the last one of a name counts.

  Beside entries there are records of the context (`Tidepool.Catalog.State`), in their
  place among the changes that it speaks of; a large one is several records, which count together.

  Beside the file lies its seal (`catalog.end`): how the file begins, and up to where it was written. So what is missing or
  unreadable is told apart: behind the seal it is a change that was never answered, for the node died while it appended, and is
  left out (`:torn`); before the seal it is damage. The seal is as new as the last change, but for a power cut; where it
  is missing or can't be read (`:unsealed`, if all else is whole), whatever can't be read is damage.
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Catalog.{Entry, Record, State}

  # So many take less than a record may.
  @moments_in_a_record 10_000

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
    with {:ok, bytes} <- bytes(path) do
      case examine(bytes, seal_bytes(path)) do
        {replayed, {:damaged, damage}} -> {:ok, replayed, {:damaged, bytes, damage}}
        {replayed, state} -> {:ok, replayed, state}
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
    {replay(records), judge(bytes, damage, unseal(seal))}
  end

  defp judge("", [], nil), do: :whole
  defp judge(_bytes, [], nil), do: :unsealed
  defp judge(_bytes, damage, nil), do: {:damaged, damage}

  defp judge(bytes, damage, {size, head}) do
    known = Enum.filter(damage, &(&1.at < size))
    here = byte_size(bytes)

    case {bytes, known} do
      {"", _none} ->
        {:damaged, [missing(:missing, 0, size)]}

      {<<^head::binary-size(8), _rest::binary>>, []} when here >= size ->
        if damage == [], do: :whole, else: :torn

      {<<^head::binary-size(8), _rest::binary>>, known} when here < size ->
        {:damaged, known ++ [missing(:cut, here, size - here)]}

      {_bytes, []} ->
        {:damaged, [missing(:foreign, 0, size)]}

      {_bytes, known} ->
        {:damaged, known}
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

  @doc "Records, oldest first, one after another."
  @spec replay([Record.t()]) :: replayed
  def replay(records) do
    Enum.reduce(records, %{entries: %{}, earlier: %{}, context: nil}, fn
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
    bytes = records |> encode_all() |> IO.iodata_to_binary()

    # The seal goes first and comes last: in between any file is taken as it is.
    with :ok <- File.write(beside, bytes, [:sync]),
         :ok <- File.chmod(beside, 0o600),
         :ok <- remove(seal_path(path)),
         :ok <- Native.sync_folder(folder),
         :ok <- File.rename(beside, path),
         _unsealed = write_seal(path, bytes),
         :ok <- Native.sync_folder(folder) do
      :ok
    else
      {:error, reason} -> {:error, Error.storage(path, reason)}
    end
  end

  # There may be no room for it on a disk that has none; then there is none until the next change.
  defp write_seal(path, bytes) do
    with :ok <- File.write(seal_path(path), seal_of(byte_size(bytes), binary_part(bytes, 0, 8)), [:sync]),
         do: File.chmod(seal_path(path), 0o600)
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
    with :ok <- :file.write(file, encode_all(records)),
         :ok <- :file.datasync(file) do
      seal(path, file)
    else
      {:error, reason} -> {:error, Error.storage("the catalog", reason)}
    end
  end

  defp encode_all(records), do: for(record <- records, part <- parts(record), do: Record.encode(part))

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
    with {:ok, size} <- :file.position(file, :eof),
         {:ok, head} <- :file.pread(file, 0, 8),
         {:ok, seal} <- :file.open(seal_path(path), [:read, :write, :raw, :binary]) do
      _written = :file.pwrite(seal, 0, seal_of(size, head))
      _closed = :file.close(seal)
    end

    :ok
  end

  defp seal_of(size, head), do: <<size::64, head::binary-size(8), :erlang.crc32([<<size::64>>, head])::32>>

  defp unseal(<<size::64, head::binary-size(8), crc::32>>) do
    if :erlang.crc32([<<size::64>>, head]) == crc, do: {size, head}
  end

  defp unseal(_missing_or_damaged), do: nil
end
