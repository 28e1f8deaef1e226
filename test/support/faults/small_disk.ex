defmodule Tidepool.SmallDisk do
  @moduledoc "A disk of its own for a folder, with as much room as it is told: a tmpfs, which only a superuser can mount."

  import ExUnit.Callbacks, only: [on_exit: 1]

  @doc "May this process mount one?"
  @spec available? :: boolean
  def available? do
    match?({_output, 0}, System.cmd("unshare", ["-m", "mount", "-t", "tmpfs", "none", "/mnt"], stderr_to_stdout: true))
  rescue
    ErlangError -> false
  end

  @doc "Mounts one of so many KiB on a folder, which is made, until the test ends."
  def mount!(folder, kib) do
    File.mkdir_p!(folder)
    {_output, 0} = System.cmd("mount", ["-t", "tmpfs", "-o", "size=#{kib}k", "none", folder])
    on_exit(fn -> System.cmd("umount", ["-l", folder]) end)
    folder
  end

  @doc "Takes all room that it has left."
  def fill!(folder) do
    {:ok, file} = :file.open(filler(folder), [:raw, :write, :binary])
    fill_up(file, :binary.copy("x", 4_096))
  end

  @doc "Gives that room back."
  def free!(folder), do: File.rm!(filler(folder))

  defp fill_up(file, page) do
    case :file.write(file, page) do
      :ok -> fill_up(file, page)
      {:error, :enospc} -> :ok = :file.close(file)
    end
  end

  defp filler(folder), do: Path.join(folder, "filler")
end
