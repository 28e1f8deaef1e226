defmodule Tidepool.Slowdown do
  @moduledoc """
  How much slower other processes of the machine let this node be than it would be without them. What it has to do itself, be it as
  much as it likes, is no excuse; compilers that it has started are others.

  Linux counts for how long the cores have been busy, and for how long with each process, in ticks
  ([/proc](https://www.kernel.org/doc/html/latest/filesystems/proc.html)).
  """

  @doc """
  Runs a function: its value, and what the cores could do meanwhile divided by what others have left of it, at least 1.0.
  """
  @spec of((() -> value)) :: {value, float} when value: term
  def of(function) do
    before = ticks()
    value = function.()
    [all, idle, own] = Enum.zip_with(ticks(), before, &-/2)
    # Ticks of cores and of a process are not counted at the same moments.
    others = max(all - idle - own, 0)
    {value, max(all, 1) / max(all - others, 1)}
  end

  # Those of all cores, those in which they had nothing to do, and those in which they worked for this process.
  defp ticks do
    [cores | _each] = "/proc/stat" |> File.read!() |> String.split("\n")
    # What the guests of a virtual machine had, which is behind these, is among them.
    cores = cores |> String.split() |> Enum.slice(1, 8) |> Enum.map(&String.to_integer/1)
    [_user, _nice, _system, idle, iowait | _interrupts] = cores
    # Behind its name, which may have spaces.
    process = "/proc/self/stat" |> File.read!() |> String.split(") ") |> List.last() |> String.split()
    [user, system] = process |> Enum.slice(11, 2) |> Enum.map(&String.to_integer/1)
    [Enum.sum(cores), idle + iowait, user + system]
  end
end
