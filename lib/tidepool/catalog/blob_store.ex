defmodule Tidepool.Catalog.BlobStore do
  @moduledoc """
  Modules by the SHA-256 of their bytes, each a file of that name.

  A blob is written beside its place, flushed, and renamed: a reader that finds a file under its hash finds all of it, however
  the node died. What is read is hashed again; a file whose bytes have another hash is set aside as `HASH.damaged`.

  The calling process does all of it by itself: what goes through the VM's file server holds up all others that do, for as long
  as a slow disk takes.
  """

  require Record

  alias Tidepool.{Error, Native}

  Record.defrecordp(:file_info, Record.extract(:file_info, from_lib: "kernel/include/file.hrl"))

  @type sha256 :: String.t()

  # So much is read at once.
  @piece_bytes 4_194_304
  # Files are their owner's alone.
  @private 0o600

  @doc "Name of the blob with these bytes: their SHA-256 in lower-case hex."
  @spec sha256(binary) :: sha256
  def sha256(bytes), do: :crypto.hash(:sha256, bytes) |> Base.encode16(case: :lower)

  @doc "Can this be the name of a blob?"
  @spec sha256?(term) :: boolean
  def sha256?(name), do: is_binary(name) and name =~ ~r/\A[0-9a-f]{64}\z/

  @doc "Makes the folder ready and removes what unfinished writes have left."
  @spec prepare(Path.t()) :: :ok | {:error, Error.t()}
  def prepare(folder) do
    with :ok <- wrap(File.mkdir_p(folder), folder) do
      folder |> Path.join("*.new") |> Path.wildcard() |> Enum.each(&File.rm/1)
    end
  end

  @doc """
  Keeps `bytes`; when this returns they survive a power cut.

  A file that is there already is read: one that is damaged is replaced. It is written at a path of `beside/1` first.
  """
  @spec put(Path.t(), sha256, binary) :: :ok | {:error, Error.t()}
  @spec put(Path.t(), sha256, binary, beside :: Path.t()) :: :ok | {:error, Error.t()}
  def put(folder, sha256, bytes), do: put(folder, sha256, bytes, beside(path(folder, sha256)))

  def put(folder, sha256, bytes, beside) do
    path = path(folder, sha256)

    # Whoever has put it there may not have flushed the folder yet.
    if read(path) == {:ok, bytes},
      do: wrap(Native.sync_folder(folder), folder),
      else: write(path, bytes, beside)
  end

  @doc "Replaces a file, or makes it: written beside its place, for this user alone, flushed and renamed. What fails leaves nothing."
  @spec write(Path.t(), iodata) :: :ok | {:error, Error.t()}
  def write(path, content), do: write(path, content, beside(path))

  defp write(path, content, beside) do
    folder = Path.dirname(path)

    with :ok <- wrap(File.write(beside, content, [:raw, :sync]), beside),
         :ok <- wrap(make_private(beside), beside),
         :ok <- wrap(rename(beside, path), path) do
      wrap(Native.sync_folder(folder), folder)
    else
      # A disk that is full gets its room back.
      {:error, error} ->
        delete(beside)
        {:error, error}
    end
  end

  @doc """
  The bytes of a blob.

  Errors have the reason `:storage`: the file is missing, can't be read, or is damaged, and then has been set aside.
  """
  @spec fetch(Path.t(), sha256) :: {:ok, binary} | {:error, Error.t()}
  def fetch(folder, sha256) do
    path = path(folder, sha256)

    with {:ok, bytes} <- wrap(read(path), path) do
      if sha256(bytes) == sha256 do
        {:ok, bytes}
      else
        aside = path <> ".damaged"
        rename(path, aside)
        {:error, Error.new(:storage, "#{path} is damaged (its hash differs) and was set aside as #{aside}")}
      end
    end
  end

  @doc "Is the blob there, and are its bytes those of its name?"
  @spec check(Path.t(), sha256) :: :whole | :missing | :damaged
  def check(folder, sha256) do
    case read(path(folder, sha256)) do
      {:ok, bytes} -> if sha256(bytes) == sha256, do: :whole, else: :damaged
      {:error, :enoent} -> :missing
      {:error, _unreadable} -> :damaged
    end
  end

  @doc "Is there a blob of this name?"
  @spec exists?(Path.t(), sha256) :: boolean
  def exists?(folder, sha256), do: File.exists?(path(folder, sha256), [:raw])

  @doc "Where a blob is, or would be."
  @spec path(Path.t(), sha256) :: Path.t()
  def path(folder, sha256), do: Path.join(folder, sha256)

  @doc "A path to write at what will be at `path`, which no other writer has."
  @spec beside(Path.t()) :: Path.t()
  def beside(path), do: "#{path}.#{System.unique_integer([:positive])}.new"

  @doc "The names of all blobs, and of none that is damaged and was set aside."
  @spec list(Path.t()) :: [sha256]
  def list(folder) do
    case :prim_file.list_dir(folder) do
      {:ok, names} -> names |> Enum.map(&IO.chardata_to_string/1) |> Enum.filter(&sha256?/1)
      {:error, _reason} -> []
    end
  end

  @doc "Makes a file its owner's alone."
  @spec make_private(Path.t()) :: :ok | {:error, :file.posix() | :badarg}
  def make_private(path), do: :file.write_file_info(path, file_info(mode: @private), [:raw])

  @doc "Gives a file another name. `:file` has no way to do so without the file server, and asks this of it."
  @spec rename(Path.t(), Path.t()) :: :ok | {:error, :file.posix() | :badarg}
  def rename(from, to), do: :prim_file.rename(from, to)

  @doc "Deletes a file, if it is there."
  @spec delete(Path.t()) :: :ok | {:error, :file.posix() | :badarg}
  def delete(path), do: :file.delete(path, [:raw])

  defp read(path) do
    with {:ok, file} <- :file.open(path, [:read, :raw, :binary]) do
      pieces = read(file, [])
      :file.close(file)
      pieces
    end
  end

  defp read(file, pieces) do
    case :file.read(file, @piece_bytes) do
      {:ok, piece} -> read(file, [pieces | piece])
      :eof -> {:ok, IO.iodata_to_binary(pieces)}
      {:error, reason} -> {:error, reason}
    end
  end

  defp wrap({:error, reason}, path), do: {:error, Error.storage(path, reason)}
  defp wrap(ok, _path), do: ok
end
