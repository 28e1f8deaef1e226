defmodule Tidepool.Catalog.BlobStore.Writer do
  @moduledoc """
  A blob that arrives in pieces: written aside and hashed as it comes, in the store only when it is whole and right.

  A writer that is given up, or whose node dies, leaves a file that `Tidepool.Catalog.BlobStore.prepare/1` removes.
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Catalog.BlobStore

  @enforce_keys [:folder, :sha256, :size, :path, :file, :hash]
  defstruct @enforce_keys ++ [written: 0]

  @type t :: %__MODULE__{
          folder: Path.t(),
          sha256: BlobStore.sha256(),
          size: non_neg_integer,
          path: Path.t(),
          file: :file.fd(),
          hash: :crypto.hash_state(),
          written: non_neg_integer
        }

  @doc "Begins a blob of `size` bytes."
  @spec open(Path.t(), BlobStore.sha256(), non_neg_integer) :: {:ok, t} | {:error, Error.t()}
  def open(folder, sha256, size) do
    path = folder |> BlobStore.path(sha256) |> BlobStore.beside()

    with {:ok, file} <- :file.open(path, [:write, :raw, :binary]),
         :ok <- BlobStore.make_private(path) do
      {:ok,
       %__MODULE__{folder: folder, sha256: sha256, size: size, path: path, file: file, hash: :crypto.hash_init(:sha256)}}
    else
      {:error, reason} -> {:error, Error.storage(path, reason)}
    end
  end

  @doc "Adds the next bytes. More than the blob has are `:wrong`."
  @spec append(t, binary) :: {:ok, t} | :wrong | {:error, Error.t()}
  def append(writer, bytes) do
    written = writer.written + byte_size(bytes)

    if written > writer.size do
      :wrong
    else
      case :file.write(writer.file, bytes) do
        :ok -> {:ok, %{writer | written: written, hash: :crypto.hash_update(writer.hash, bytes)}}
        {:error, reason} -> {:error, Error.storage(writer.path, reason)}
      end
    end
  end

  @doc """
  Puts the blob into the store; when this returns `:ok` it survives a power cut. `:wrong` when the bytes are too few or
  have another hash: then nothing has changed.
  """
  @spec finish(t) :: :ok | :wrong | {:error, Error.t()}
  def finish(writer) do
    if writer.written == writer.size and hex(writer.hash) == writer.sha256 do
      with :ok <- :file.sync(writer.file),
           :ok <- :file.close(writer.file),
           :ok <- BlobStore.rename(writer.path, BlobStore.path(writer.folder, writer.sha256)),
           :ok <- Native.sync_folder(writer.folder) do
        :ok
      else
        {:error, reason} -> {:error, Error.storage(writer.path, reason)}
      end
    else
      :wrong
    end
  end

  @doc "Removes what was written."
  @spec give_up(t) :: :ok
  def give_up(writer) do
    _closed = :file.close(writer.file)
    _removed = BlobStore.delete(writer.path)
    :ok
  end

  defp hex(hash), do: hash |> :crypto.hash_final() |> Base.encode16(case: :lower)
end
