defmodule Tidepool.Data.Temporary do
  @moduledoc """
  The data folder of a node that keeps nothing: for its user alone, in the system's folder for temporary files, gone when
  the node stops. One that was killed leaves its folder behind, which the next such node removes.
  """

  use GenServer, shutdown: :infinity

  alias Tidepool.{Data, Error, Native}

  @prefix "tidepool-temporary-"
  # A younger one may be a node's that is about to lock it.
  @abandoned_s 60

  @doc "Makes the folder."
  @spec make :: {:ok, Path.t()} | {:error, Error.t()}
  def make do
    with {:ok, root} <- root() do
      remove_abandoned(root)
      folder = Path.join(root, @prefix <> Base.encode16(:crypto.strong_rand_bytes(8), case: :lower))

      with :ok <- File.mkdir(folder), :ok <- File.chmod(folder, 0o700) do
        {:ok, folder}
      else
        {:error, reason} -> {:error, Error.storage(folder, reason)}
      end
    end
  end

  defp root do
    case System.tmp_dir() do
      nil -> {:error, Error.new(:storage, "the system has no folder for temporary files: set `data`")}
      root -> {:ok, root}
    end
  end

  @doc "Removes what nodes of this user's have left in `root` that were killed."
  @spec remove_abandoned(Path.t()) :: :ok
  def remove_abandoned(root) do
    oldest = System.os_time(:second) - @abandoned_s
    {:ok, %{uid: uid}} = File.stat("/proc/self")

    # Folders of other users', and what is no folder, are not looked into.
    for @prefix <> _random = name <- Data.list(root),
        folder = Path.join(root, name),
        {:ok, %{type: :directory, uid: ^uid, mtime: mtime}} <- [File.lstat(folder, time: :posix)],
        mtime < oldest,
        Enum.all?(Data.list(folder), &unlocked?(Path.join([folder, &1, "lock"]))),
        do: File.rm_rf(folder)

    :ok
  end

  defp unlocked?(path), do: not File.exists?(path) or match?({:ok, _lock}, Native.lock_file(path))

  @doc false
  def start_link(folder), do: GenServer.start_link(__MODULE__, folder, name: __MODULE__)

  @impl true
  def init(folder) do
    Process.flag(:trap_exit, true)
    # `mix test` and `mix run` end without stopping applications.
    System.at_exit(fn _status -> File.rm_rf(folder) end)
    {:ok, folder}
  end

  @impl true
  def terminate(_reason, folder), do: File.rm_rf(folder)
end
