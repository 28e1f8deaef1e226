defmodule Tidepool.Actor.Voter.Company do
  @moduledoc """
  With which nodes this one keeps actors, in a file beside its voter's folder, which is there when that folder is lost, or is put back from
  an earlier time.

  A node whose setting names itself alone makes a group of its own where it finds no folder, or leads the one that it finds to be its own.
  If others have joined it since, it would have another actor of each name than they: so it asks those first, as if they were named.
  """

  require Logger

  alias Tidepool.Config

  # More than keep actors anywhere.
  @most 64

  @doc "The file beside a voter's folder."
  @spec file(folder :: Path.t()) :: Path.t()
  def file(folder), do: folder <> ".members"

  @doc """
  Which nodes are to be asked before this one keeps actors by itself: those that its setting names; or if that names itself alone, those that it
  kept actors with.
  """
  @spec named(folder :: Path.t(), own :: String.t(), named :: [String.t()]) :: [String.t()]
  def named(folder, own, [own]) do
    case Enum.uniq([own | known(folder)]) do
      [own] ->
        [own]

      [_own | others] = all ->
        Logger.warning(
          "this node's setting actors names itself alone, and it kept actors with #{Enum.join(others, ", ")}: it asks those before it keeps " <>
            "any by itself. Name all that keep actors; or if they are gone for good, remove #{file(folder)}"
        )

        all
    end
  end

  def named(_folder, _own, named), do: named

  @doc "Notes the members, as they are now. One that is alone is free to go on so."
  @spec note(folder :: Path.t(), own :: String.t(), members :: [String.t()]) :: :ok
  def note(folder, own, members) do
    # One that is being replaced is named twice.
    members = members |> Enum.uniq() |> Enum.sort()

    # When it can't be written it is tried again soon.
    cond do
      # It is none of them: what it was is for the others to say.
      own not in members -> :ok
      members == [own] -> forget(folder)
      members == known(folder) -> :ok
      true -> replace(file(folder), Enum.join(members, "\n"))
    end

    :ok
  end

  @doc "Forgets them: the folder begins anew, with what was imported."
  @spec forget(folder :: Path.t()) :: :ok
  def forget(folder) do
    _there_or_not = File.rm(file(folder))
    :ok
  end

  @doc "Writes one of the voter's small files whole, or leaves it as it was."
  @spec replace(Path.t(), String.t()) :: :ok | {:error, File.posix()}
  def replace(file, text) do
    with :ok <- File.write(file <> ".new", text, [:sync]), do: File.rename(file <> ".new", file)
  end

  @doc "Those that were members when it was noted last, this node among them; none when it was alone, or in no group."
  @spec known(folder :: Path.t()) :: [String.t()]
  def known(folder) do
    case File.read(file(folder)) do
      {:ok, text} -> text |> String.split("\n", trim: true) |> Enum.filter(&Config.node_name?/1) |> Enum.take(@most)
      {:error, _none} -> []
    end
  end
end
