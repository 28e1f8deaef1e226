defmodule Tidepool.Data do
  @moduledoc """
  Where nodes keep their data: the folder of the setting `data` has one for each of them, called like it.

  A node that gets another name, as every node does that joins a cluster, begins with an empty folder beside its old one.
  `idle/2` finds what lies there, and `adopt/3` makes it the node's.
  """

  require Logger

  alias Tidepool.{Audit, Catalog, Config, Error, Native}
  alias Tidepool.Actor.Voter
  alias Tidepool.Catalog.{Log, Store}

  @nameless "nonode@nohost"
  @made_by_a_start ~w(blobs catalog.log compiled lock recordings)

  @doc false
  # Looks once, when the catalog is there and before other nodes fill it.
  def child_spec(data), do: %{id: __MODULE__, start: {__MODULE__, :warn_if_empty, [data]}}

  @doc "Says in the log whose data lies idle beside that of this node, if that is empty, and how it is made this node's."
  @spec warn_if_empty(Path.t()) :: :ignore
  def warn_if_empty(data) do
    {_context, entries} = Catalog.known()
    if Enum.all?(entries, & &1.removed), do: warn(data)
    :ignore
  end

  defp warn(data) do
    node = to_string(node())

    with [{other, _functions} | _more] = idle <- idle(data, node) do
      others = Enum.map_join(idle, ", ", fn {name, functions} -> "#{name} (#{count(functions)})" end)

      Logger.warning(
        "#{node} starts empty, and beside it in #{data} lies data of #{others}: if this node was called so before, stop " <>
          "it and run #{command(other, node)}"
      )
    end
  end

  @doc "How many functions, in words."
  @spec count(non_neg_integer) :: String.t()
  def count(1), do: "1 function"
  def count(functions), do: "#{functions} functions"

  # Whoever runs a release has no Mix.
  defp command(other, node) do
    case System.get_env("RELEASE_NAME") do
      nil -> "mix tidepool.adopt #{other} #{node}"
      name -> "bin/#{name} eval 'Tidepool.Release.adopt(#{inspect(other)}, #{inspect(node)})'"
    end
  end

  @doc """
  Nodes other than `node` that have functions here and do not run, with how many they have.
  """
  @spec idle(Path.t(), String.t()) :: [{node :: String.t(), functions :: pos_integer}]
  def idle(data, node) do
    held = held()

    for other <- nodes(data),
        other != node,
        folder = Store.folder(data, other),
        not running?(folder, held),
        {:ok, functions} when functions > 0 <- [functions(folder)],
        do: {other, functions}
  end

  @doc """
  Makes the data of node `from` that of node `to`, neither of which may run. Returns how many functions there are.

  What `to` had may be no more than what a start makes. Nothing is copied: afterwards `from` has no data. What `from` keeps of actors
  together with other nodes is by its name, and refused.

  Errors have the reasons `:invalid_option`, `:data_in_use` and `:storage`.
  """
  @spec adopt(Path.t(), from :: String.t(), to :: String.t()) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def adopt(data, from, to) do
    with :ok <- different(from, to), :ok <- present(data, from), :ok <- no_voter(Store.folder(data, from), from, to) do
      moved = move(Store.folder(data, from), from, Store.folder(data, to), to)
      with {:ok, functions, _locks} <- moved, do: {:ok, functions}
    end
  after
    # The locks go with their terms.
    :erlang.garbage_collect()
  end

  # Locks are held as long as their terms live: what is returned lives until then.
  defp move(old, from, new, to) do
    with {:ok, old_lock} <- lock(old, "#{from} is running"),
         {:ok, functions} <- functions(old),
         {:ok, new_lock} <- make_way(new, to),
         :ok <- rename(old, new) do
      {:ok, functions, {old_lock, new_lock}}
    end
  end

  defp different(name, name), do: invalid("#{name} has its own data already")

  defp different(_from, to) do
    if name?(to), do: :ok, else: invalid("#{inspect(to)} is not a node's name, such as tidepool@10.0.0.1")
  end

  defp present(data, from) do
    case nodes(data) do
      [] ->
        invalid("no node has data in #{data}")

      known ->
        if from in known, do: :ok, else: invalid("#{from} has no data in #{data}: #{Enum.join(known, ", ")} have")
    end
  end

  # The others know its disk by its name, and so does its log: by another one it would neither lead nor follow.
  defp no_voter(folder, from, to) do
    voter = Voter.folder(folder)

    # One that has lost its records makes them again of its log.
    if Enum.any?(["log.db", "records.db"], &File.exists?(Path.join(voter, &1))) do
      invalid(
        "#{voter} is for actors that nodes keep together, and is bound to the name #{from}. If #{from} is no member, or this is a copy, or " <>
          "these actors are not needed, move #{voter} and #{voter}.members away first. To have a member called #{to}, start #{to} with a " <>
          "folder of its own, add it as a member, and remove #{from}. If #{from} is alone, export its actors, and import them for #{to}"
      )
    else
      :ok
    end
  end

  # An empty folder is what is left when a node was started under its new name to see whether its functions are there.
  defp make_way(folder, node) do
    if File.exists?(folder) do
      with {:ok, lock} <- lock(folder, "#{node} is running"),
           :ok <- empty(folder, node),
           {:ok, _removed} <- remove(folder),
           do: {:ok, lock}
    else
      {:ok, nil}
    end
  end

  # What is not known to be of no use stays: modules, and files that were set aside.
  defp empty(folder, node) do
    with {:ok, functions} <- functions(folder) do
      strange = list(folder) -- ([Path.basename(Log.seal_path(log(folder))) | @made_by_a_start] ++ Audit.files())

      filled? = fn kind -> list(Path.join(folder, kind)) != [] end

      if functions == 0 and strange == [] and not Enum.any?(["blobs", "recordings"], filled?),
        do: :ok,
        else: invalid("#{node} has data of its own in #{folder}: move that away first, if it is not needed")
    end
  end

  defp remove(folder) do
    with {:error, reason, path} <- File.rm_rf(folder), do: {:error, Error.storage(path, reason)}
  end

  defp rename(old, new) do
    with :ok <- File.rename(old, new), :ok <- Native.sync_folder(Path.dirname(new)) do
      :ok
    else
      {:error, reason} -> {:error, Error.storage(new, reason)}
    end
  end

  @doc """
  Locks the folder of a node that may not run: as long as the term returned lives.

  `who` begins the sentence that says it runs, an error with reason `:data_in_use`.
  """
  @spec lock(Path.t(), who :: String.t()) :: {:ok, reference} | {:error, Error.t()}
  def lock(folder, who) do
    case Native.lock_file(Path.join(folder, "lock")) do
      {:ok, lock} -> {:ok, lock}
      {:error, :locked} -> {:error, Error.new(:data_in_use, "#{who}: stop it first")}
      {:error, text} -> {:error, Error.storage(folder, text)}
    end
  end

  # Names of nodes that have begun a catalog here.
  defp nodes(data) do
    data |> list() |> Enum.filter(&(name?(&1) and File.exists?(log(Store.folder(data, &1)))))
  end

  @doc "What is in a folder, by name; nothing if it can't be read."
  @spec list(Path.t()) :: [String.t()]
  def list(folder) do
    case File.ls(folder) do
      {:ok, names} -> Enum.sort(names)
      {:error, _reason} -> []
    end
  end

  defp name?(name), do: name == @nameless or Config.node_name?(name)

  defp functions(folder) do
    with {:ok, %{entries: entries}, _whole_or_not} <- Log.read(log(folder)),
         do: {:ok, Enum.count(entries, fn {_name, entry} -> not entry.removed end)}
  end

  defp log(folder), do: Path.join(folder, "catalog.log")

  @doc "Does the node run whose folder this is? It is not locked meanwhile."
  @spec running?(folder :: Path.t()) :: boolean
  def running?(folder), do: running?(folder, held())

  # To try the lock would keep a node from starting that does so at this moment: Linux lists who holds what.
  defp running?(folder, held) do
    case File.stat(Path.join(folder, "lock")) do
      {:ok, %{inode: inode}} -> inode in held
      {:error, _reason} -> false
    end
  end

  defp held do
    case File.read("/proc/locks") do
      {:ok, text} ->
        for [_all, inode] <- Regex.scan(~r/ FLOCK .* \S+:(\d+) \d+ EOF$/m, text), do: String.to_integer(inode)

      {:error, _reason} ->
        []
    end
  end

  defp invalid(message), do: {:error, Error.new(:invalid_option, message)}
end
