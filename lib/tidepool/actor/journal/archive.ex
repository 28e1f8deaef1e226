defmodule Tidepool.Actor.Journal.Archive do
  @moduledoc """
  Actors in a file of its own, for a backup or on their way from one store to another, of whichever kind: memory, values, alarms, answers
  by id, and the modules that they run. What is written has one moment, and takes the memory of one actor, however many there are.

  A file is there when it is whole, and one that is torn or damaged is refused before anything is touched. Of an import all is there
  afterwards, or nothing, whatever ends it: it is one transaction, or where nodes keep actors together a folder that gets its name last.
  """

  alias Tidepool.Actor.Journal.Differing
  alias Tidepool.Actor.Voter
  alias Tidepool.Actor.Voter.Company
  alias Tidepool.{Error, Native}
  alias Tidepool.Catalog.Store, as: Folder

  @typedoc """
  Where actors are kept: the data folder of a node; the URL of the database that nodes share; or the data folder of a node, with its name,
  that keeps them together with others.
  """
  @type place :: {:folder, Path.t()} | {:postgres, url :: String.t()} | {:voter, Path.t(), node :: String.t()}

  @typedoc "How many actors there were, and modules that they run."
  @type moved :: %{actors: non_neg_integer, modules: non_neg_integer}

  @typedoc "The same, and which actors were in several files in states that differ."
  @type imported :: %{actors: non_neg_integer, modules: non_neg_integer, differing: [Differing.t()]}

  @doc """
  Writes the actors of a class, or of all (`nil`), to a file, while nodes go on with them or not. Of nodes that keep actors together each
  has all that was answered a moment ago, while the others reach it; one whose folder they refuse has not, and is refused here as well. An
  error's reason is `:no_store`.
  """
  @spec export(place, Path.t(), class :: String.t() | nil, overwrite :: boolean) :: {:ok, moved} | {:error, Error.t()}
  def export(place, file, class, overwrite) do
    with {:ok, records} <- there(place), do: moved(Native.export_records(records, class, Path.expand(file), overwrite))
  end

  @doc """
  Puts the actors of a file, or of several, into a place that no node uses. Actors that are there already are an error, unless `overwrite`.
  A node that keeps actors together with others may have none: it begins with these, as the only member. An error's reason is `:no_store`, or
  as of `Tidepool.Catalog.Folder.claim/1`.

  Of an actor that several files have the latest state is imported. Other states of it are in files beside by then, which are exports
  as well (`Tidepool.Actor.Journal.Differing`).
  """
  @spec import(place, Path.t() | [Path.t(), ...], overwrite :: boolean) :: {:ok, imported} | {:error, Error.t()}
  def import({:postgres, url}, files, overwrite), do: together({:shared, url}, files, overwrite)
  def import({:folder, folder}, files, overwrite), do: into(folder, {:file, records(folder)}, files, overwrite)

  def import({:voter, folder, node}, files, overwrite) do
    with {:ok, imported} <- into(folder, {{:voter, node}, Voter.folder(folder)}, files, overwrite) do
      # It is alone, whatever it was before.
      Company.forget(Voter.folder(folder))
      {:ok, imported}
    end
  end

  defp into(folder, {_kind, path} = place, files, overwrite) do
    with {:ok, lock} <- Folder.claim(folder),
         :ok <- made(Path.dirname(path)) do
      # No node starts there until the term is dropped.
      {outcome, _lock} = {together(place, files, overwrite), lock}
      outcome
    end
  after
    # The lock goes with its term.
    :erlang.garbage_collect()
  end

  @doc """
  Accepts the actors of a folder that no node uses as they are, when they are older than what was answered, for the log of the last changes
  is damaged. What was missing; `nil` when nothing was, and nothing is done. The log is kept beside them, as `records.db-wal.torn`.
  An error's reason is `:no_store`, or as of `Tidepool.Catalog.Folder.claim/1`.
  """
  @spec accept(place) :: {:ok, missing :: String.t() | nil} | {:error, Error.t()}
  def accept({:postgres, _url}), do: error("the actors are in a database, which keeps its own log")

  def accept({:voter, folder, node}),
    do:
      error(
        "#{node} keeps actors together with other nodes, which have what it lacks: move #{Voter.folder(folder)} away, start it, " <>
          "and have it replaced as a member"
      )

  def accept({:folder, folder}) do
    with {:ok, lock} <- Folder.claim(folder) do
      {outcome, _lock} = {Native.accept_records(records(folder)), lock}
      with {:error, _kind, message} <- outcome, do: error(message)
    end
  after
    :erlang.garbage_collect()
  end

  defp together(place, files, overwrite) do
    files = files |> List.wrap() |> Enum.map(&Path.expand/1) |> Enum.uniq()

    with {:ok, parts, differing} <- Differing.aside(files) do
      case moved(Native.import_records(place, parts, overwrite)) do
        {:ok, moved} ->
          {:ok, Map.put(moved, :differing, differing)}

        {:error, error} ->
          Differing.withdraw(differing)
          {:error, error}
      end
    end
  end

  @doc "The file of a node's records."
  @spec records(folder :: Path.t()) :: Path.t()
  def records(folder), do: Path.join([folder, "actors", "records.db"])

  @doc "Is there in a node's data folder what its voter keeps?"
  @spec voter?(folder :: Path.t()) :: boolean
  def voter?(folder), do: File.exists?(voters(folder))

  defp voters(folder), do: folder |> Voter.folder() |> Path.join("records.db")

  @doc "The names of the other nodes that keep the actors of this place, as its node has noted them last: while it is away they may go on."
  @spec others(place) :: [String.t()]
  def others({:voter, folder, node}), do: Company.known(Voter.folder(folder)) -- [node]
  def others(_place), do: []

  defp there({:postgres, url}), do: {:ok, {:shared, url}}
  defp there({:folder, folder}), do: there(records(folder), {:file, records(folder)})

  defp there({:voter, folder, node}) do
    own = Voter.folder(folder)

    case Voter.refusal(own) do
      nil ->
        there(voters(folder), {{:voter, node}, own})

      why ->
        error(
          "what #{node} has may be older than what was answered: #{why}. Export from another node, which is a member; or if none is left, " <>
            "remove #{Voter.refused(own)}, and export what there is"
        )
    end
  end

  defp there(file, place), do: if(File.exists?(file), do: {:ok, place}, else: error("there are no actors in #{file}"))

  defp made(folder) do
    with {:error, posix} <- File.mkdir_p(folder), do: error("#{folder}: #{:file.format_error(posix)}")
  end

  defp moved({:ok, {actors, modules}}), do: {:ok, %{actors: actors, modules: modules}}
  defp moved({:error, _kind, message}), do: error(message)

  defp error(message), do: {:error, Error.new(:no_store, message)}
end
