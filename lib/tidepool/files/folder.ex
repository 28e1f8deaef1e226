defmodule Tidepool.Files.Folder do
  @moduledoc """
  A folder of this machine, as `Tidepool.Files`.

      config :tidepool,
        files: [
          certificates: "/etc/tidepool/certificates",
          work: {Tidepool.Files.Folder, path: "/srv/work", write: true}
        ]

  A path alone is for reading. Guests see regular files and folders: symbolic links, wherever they lead, are not followed
  and not listed, nor are devices, sockets and pipes. Guests can't make any of these. What is read or written is looked at once more
  when it is open, so that nothing is put in its place meanwhile; but a folder that guests may write should hold no links, for
  what is in one folder may be moved to where another was while a path is looked at.

  Who may write may fill the disk: a quota is the file system's. A folder with more than 65,536 entries of whatever kind is not listed
  (`:efbig`).

  Nothing of it is asked of the VM's file server, which is one process: all other work with files would wait for it. So it is done on the
  threads that the VM has for files, in turns of the guest's namespace (`Tidepool.Namespaces.Turns`).
  """

  @behaviour Tidepool.Files

  alias Tidepool.Namespaces.Turns
  alias Tidepool.Native

  require Record

  Record.defrecordp(:file_info, Record.extract(:file_info, from_lib: "kernel/include/file.hrl"))

  # What one answer may list.
  @most_listed 65_536

  @doc "Is this an argument of the setting `files`?"
  @spec argument?(term) :: boolean
  def argument?(argument) do
    Keyword.keyword?(argument) and Keyword.keys(argument) -- [:path, :write] == [] and
      is_binary(argument[:path]) and Path.type(argument[:path]) == :absolute and is_boolean(argument[:write] || false)
  end

  @impl true
  def stat(path, context) do
    in_turn(context, fn ->
      with {:ok, _file, info} <- find(path, context) do
        file_info(type: type, size: size, mtime: modified) = info
        {:ok, %{type: kind(type), size: if(type == :regular, do: size, else: 0), modified: modified}}
      end
    end)
  end

  @impl true
  def list(path, context) do
    in_turn(context, fn ->
      case find(path, context) do
        {:ok, folder, file_info(type: :directory)} -> Native.list_folder(folder, @most_listed)
        {:ok, _file, _info} -> {:error, :enotdir}
        error -> error
      end
    end)
  end

  @impl true
  def read(path, offset, length, context) do
    opened(path, [:read], context, fn device ->
      case :file.pread(device, offset, length) do
        {:ok, bytes} -> {:ok, bytes}
        :eof -> {:ok, ""}
        {:error, reason} -> {:error, reason}
      end
    end)
  end

  @impl true
  def write(path, offset, bytes, context) do
    place = if offset == :eof, do: :eof, else: {:bof, offset}

    opened(path, [:read, :write], context, fn device ->
      with {:ok, _at} <- :file.position(device, place), do: :file.write(device, bytes)
    end)
  end

  @impl true
  def resize(path, size, context) do
    opened(path, [:read, :write], context, fn device ->
      with {:ok, _at} <- :file.position(device, {:bof, size}), do: :file.truncate(device)
    end)
  end

  @impl true
  def create(path, kind, context) do
    in_turn(context, fn ->
      with :ok <- writable(context), {:ok, file} <- vacant(path, context) do
        case kind do
          :directory ->
            :prim_file.make_dir(file)

          :file ->
            with {:ok, device} <- :file.open(file, [:raw, :write, :exclusive]), do: :file.close(device)
        end
      end
    end)
  end

  @impl true
  def remove(path, kind, context) do
    in_turn(context, fn ->
      with :ok <- writable(context), {:ok, file, info} <- find(path, context) do
        case {kind, file_info(info, :type)} do
          {:file, :directory} -> {:error, :eisdir}
          {:file, _type} -> :file.delete(file, [:raw])
          {:directory, :directory} -> with {:error, :eexist} <- :prim_file.del_dir(file), do: {:error, :enotempty}
          {:directory, _type} -> {:error, :enotdir}
        end
      end
    end)
  end

  @impl true
  def rename(from, to, context) do
    in_turn(context, fn ->
      with :ok <- writable(context), {:ok, old, _info} <- find(from, context), {:ok, new} <- place(to, context) do
        with {:error, :eexist} <- :prim_file.rename(old, new), do: {:error, :enotempty}
      end
    end)
  end

  # Where something may be, whether it is there or not.
  defp place(path, context) do
    case find(path, context) do
      {:ok, file, _info} -> {:ok, file}
      {:error, :enoent} -> vacant(path, context)
      error -> error
    end
  end

  defp vacant(path, context) do
    with {:error, :enoent} <- find(path, context) do
      case find(Enum.drop(path, -1), context) do
        {:ok, folder, file_info(type: :directory)} -> {:ok, Path.join(folder, List.last(path))}
        {:ok, _file, _info} -> {:error, :enotdir}
        error -> error
      end
    else
      {:ok, _file, _info} -> {:error, :eexist}
      error -> error
    end
  end

  defp writable(context), do: if(context.argument[:write], do: :ok, else: {:error, :erofs})

  defp opened(path, modes, context, fun), do: in_turn(context, fn -> open(path, modes, context, fun) end)

  defp open(path, modes, context, fun) do
    with :ok <- if(:write in modes, do: writable(context), else: :ok),
         {:ok, file, file_info(type: :regular, inode: inode, major_device: device)} <- find(path, context),
         {:ok, io} <- :file.open(file, [:raw, :binary | modes]) do
      try do
        case :file.read_file_info(io, time: :posix) do
          {:ok, file_info(type: :regular, inode: ^inode, major_device: ^device)} -> fun.(io)
          {:ok, _other} -> {:error, :eio}
          error -> error
        end
      after
        :file.close(io)
      end
    else
      {:ok, _file, _info} -> {:error, :eisdir}
      error -> error
    end
  end

  # What is at a path, if all on the way there are folders.
  defp find(path, context) do
    # The folder of the setting itself may be anything that leads to one.
    with {:ok, root} <- :file.read_file_info(context.argument[:path], [:raw, time: :posix]),
         do: find(path, context.argument[:path], root)
  end

  defp find(_path, _file, file_info(type: :symlink)), do: {:error, :eloop}
  defp find(_path, _file, file_info(type: type)) when type not in [:regular, :directory], do: {:error, :eacces}
  defp find([], file, info), do: {:ok, file, info}
  defp find(_path, _file, file_info(type: :regular)), do: {:error, :enotdir}

  defp find([name | path], folder, _info) do
    file = Path.join(folder, name)
    with {:ok, info} <- lstat(file), do: find(path, file, info)
  end

  defp lstat(file), do: :file.read_link_info(file, [:raw, time: :posix])

  # Who asks may be killed before the disk has answered.
  defp in_turn(context, work) do
    {:ok, answer} = Turns.run(:files, context.function, :infinity, work, :always)
    answer
  end

  defp kind(:directory), do: :directory
  defp kind(_type), do: :file
end
