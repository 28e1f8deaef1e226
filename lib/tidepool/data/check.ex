defmodule Tidepool.Data.Check do
  @moduledoc """
  What is in the data folder of a node that does not run, file by file, and what of it is damaged.

  Damaged is what a function was lost for, or will be when the node starts. What is set aside, what no function uses, and what
  would be made anew is told as well, and is no damage.
  """

  alias Tidepool.{Audit, Data, Error}
  alias Tidepool.Catalog.{BlobStore, Clock, Damage, Entry, Log, Store}

  @log "catalog.log"
  @expected [@log, "actors", "catalog.end", "blobs", "compiled", "lock", "tokens" | Audit.files()]
  @key_bytes 32
  # As much as the setting may be: what a clock is ahead is for the node to judge.
  @max_skew 86_400_000

  @typedoc "A file, below the folder, what it is like, and that in words."
  @type finding :: %{path: Path.t(), state: :whole | :note | :damaged, text: String.t()}

  @doc """
  Looks through a node's folder. Nothing is changed.

  Errors have the reasons `:invalid_option` (there is no such folder), `:data_in_use` and `:storage`.
  """
  @spec run(Path.t()) :: {:ok, [finding]} | {:error, Error.t()}
  def run(folder) do
    alone(folder, fn ->
      path = Path.join(folder, @log)

      with {:ok, replayed, state} <- Log.read(path) do
        {:ok,
         log(path, replayed, state) ++ kept(path) ++ modules(folder, replayed) ++ compiled(folder) ++ strange(folder)}
      end
    end)
  end

  @doc """
  Mends what can be mended: the log as far as it can be read, and, from a folder of the same kind, modules that are missing or damaged.

  Errors as in `run/1`.
  """
  @spec mend(Path.t(), from :: Path.t() | nil) :: :ok | {:error, Error.t()}
  def mend(folder, from) do
    with :ok <- alone(folder, fn -> :ok end), do: reopen(folder, from)
  after
    :erlang.garbage_collect()
  end

  defp reopen(folder, from) do
    with {:ok, store} <- Store.open(folder, @max_skew, Path.basename(folder)) do
      fetched = fetch(store, from)
      with :ok <- :file.close(store.file), do: fetched
    end
  end

  defp fetch(store, from) do
    for entry <- Store.callable(store), BlobStore.check(store.blobs, entry.sha256) != :whole, reduce: :ok do
      :ok ->
        _set_aside = BlobStore.fetch(store.blobs, entry.sha256)

        case from && BlobStore.fetch(Path.join(from, "blobs"), entry.sha256) do
          {:ok, bytes} -> BlobStore.put(store.blobs, entry.sha256, bytes)
          _nowhere -> :ok
        end

      error ->
        error
    end
  end

  @doc "Findings as text: what is damaged at the end."
  @spec render(Path.t(), [finding]) :: String.t()
  def render(folder, findings) do
    lines = for state <- [:whole, :note, :damaged], %{state: ^state} = one <- findings, do: line(one)

    conclusion =
      case Enum.count(findings, &(&1.state == :damaged)) do
        0 -> "nothing is damaged"
        1 -> "1 thing is damaged"
        damaged -> "#{damaged} things are damaged"
      end

    Enum.join([folder | lines] ++ [conclusion], "\n")
  end

  defp line(%{state: state, path: path, text: text}), do: "#{word(state)}  #{path}: #{text}"

  defp word(:whole), do: "ok      "
  defp word(:note), do: "note    "
  defp word(:damaged), do: "DAMAGED "

  defp log(path, replayed, state) do
    functions = Enum.count(replayed.entries, fn {_name, entry} -> not entry.removed end)

    case state do
      :whole ->
        [finding(@log, :whole, Data.count(functions))]

      :torn ->
        [
          finding(
            @log,
            :note,
            "#{Data.count(functions)}, and a change that the node died over, which was never answered"
          )
        ]

      {:damaged, _bytes, damage} ->
        for sentence <- Damage.describe(path, damage), do: finding(@log, :damaged, sentence)
    end
  end

  defp kept(path) do
    for kept <- Damage.kept(path) do
      finding(Path.basename(kept), :note, "a damaged log as it was; while it is here no module is removed that is here")
    end
  end

  defp modules(folder, %{entries: entries} = replayed) do
    blobs = Path.join(folder, "blobs")
    used = for {_name, %{removed: false} = entry} <- entries, do: entry
    previous = MapSet.new(Enum.flat_map(used, &tl(Entry.modules(&1))))
    others = others(folder, replayed)
    by_module = Enum.group_by(used, & &1.sha256)

    checked =
      for {sha256, entries} <- Enum.sort(by_module) do
        functions = Enum.map_join(entries, ", ", &"#{&1.name} (version #{&1.version})")

        case BlobStore.check(blobs, sha256) do
          :whole -> finding("blobs/#{sha256}", :whole, functions)
          bad -> finding("blobs/#{sha256}", :damaged, "#{bad}, the module of #{functions}; #{others}")
        end
      end

    unused =
      for name <- Data.list(blobs), not is_map_key(by_module, name) do
        cond do
          MapSet.member?(previous, name) ->
            finding("blobs/#{name}", :note, "of a version that was replaced: what to go back to")

          not BlobStore.sha256?(name) ->
            finding("blobs/#{name}", :note, aside(name))

          BlobStore.check(blobs, name) == :whole ->
            finding("blobs/#{name}", :note, "a module that no function uses")

          true ->
            finding("blobs/#{name}", :note, "a damaged module that no function uses")
        end
      end

    checked ++ unused
  end

  defp aside(name) do
    cond do
      String.ends_with?(name, ".damaged") -> "set aside, for its bytes are not those of its name"
      String.ends_with?(name, ".new") -> "left by a write that was not finished; the next start removes it"
      true -> "not of Tidepool's"
    end
  end

  # Whose changes this node has seen.
  defp others(folder, %{entries: entries, context: context}) do
    seen = if context, do: Map.keys(context.seen) ++ Map.keys(context.beyond), else: []
    stamped = for {_name, %{stamp: {_wall_ms, _counter, replica}}} <- entries, do: replica

    case Enum.uniq(Enum.map(seen ++ stamped, &Clock.node_of/1)) -- [Path.basename(folder)] do
      [] ->
        "deploy it again, or take it from a backup"

      nodes ->
        "when it starts, the node gets it from a node of its cluster that has it (it knew #{Enum.join(nodes, ", ")})"
    end
  end

  # Nothing is lost with it: what is damaged there is found by its tag, and compiled anew.
  defp compiled(folder) do
    case Data.list(Path.join(folder, "compiled")) do
      [] ->
        []

      names ->
        [
          finding(
            "compiled",
            :note,
            "a cache of #{length(names -- ["key"])} files, which the node checks when it uses them"
          )
        ] ++
          key(Path.join(folder, "compiled/key"))
    end
  end

  defp key(path) do
    case File.lstat(path) do
      {:ok, %{type: :regular, size: @key_bytes, mode: mode}} when rem(mode, 64) == 0 ->
        []

      _missing_or_open ->
        [finding("compiled/key", :note, "missing, damaged, or not its owner's alone: all is compiled anew")]
    end
  end

  defp strange(folder) do
    kept = for path <- Damage.kept(Path.join(folder, @log)), do: Path.basename(path)
    for name <- Data.list(folder) -- (@expected ++ kept), do: finding(name, :note, aside(name))
  end

  defp finding(path, state, text), do: %{path: path, state: state, text: text}

  defp alone(folder, fun) do
    node = Path.basename(folder)

    if File.dir?(folder) do
      {result, _lock} = locked(folder, node, fun)
      result
    else
      {:error, Error.new(:invalid_option, "#{node} has no data: there is no folder #{folder}")}
    end
  after
    # The lock goes with its term.
    :erlang.garbage_collect()
  end

  # The lock is held as long as its term lives: what is returned lives until then.
  defp locked(folder, node, fun) do
    case Data.lock(folder, "#{node} is running and uses #{folder}") do
      {:ok, lock} -> {fun.(), lock}
      {:error, error} -> {{:error, error}, nil}
    end
  end
end
