defmodule Tidepool.Catalog.Store do
  @moduledoc """
  What a node has on disk: the folder, which it locks; the entries, in `Tidepool.Catalog.Log`; the modules that they need. In memory
  the entries are in a table of the process that has opened the store (`Tidepool.Catalog.Entries`).

  A change is on disk when `write/2` says so. A write that fails may leave part of a record behind, and nothing could be
  read that was appended to that: the file is rewritten then, before anything else is written, and every few seconds until
  that succeeds. For this the process that has opened the store gets the message `:rewrite`, and calls `retry/1`.

  A log that was damaged is named and kept (`Tidepool.Catalog.Damage`), and with it all modules that are there: no function that is
  known uses them, but one that was lost may. What the node had seen of the cluster (`Tidepool.Catalog.State`) is forgotten with the
  records that are lost, or it would take functions that it has lost for ones that were removed, and tell others so.
  """

  require Logger

  alias Tidepool.{Error, Native}
  alias Tidepool.Catalog.{BlobStore, Clock, Damage, Entries, Entry, Log, State}

  # A process that was killed has the lock until the VM has freed what it held, and its successor starts before that: how often
  # it asks, and when again.
  @lock_tries 50
  @lock_again_ms 20

  # How soon what the disk refused is tried again.
  @rewrite_ms 5_000

  # The log is rewritten when it has this many records more than twice the names it holds, or this many bytes more than twice what it had
  # when it was rewritten last.
  @slack 1_000
  @slack_bytes 16_777_216

  @enforce_keys [:lock, :blobs, :path, :file, :context, :entries, :serving, :records]
  defstruct @enforce_keys ++
              [spared: MapSet.new(), versions: %{}, litter: false, loose: [], stale: nil, rewritten_bytes: 0]

  @typedoc """
  - `lock`: held as long as this term lives. `blobs`: the folder of modules. `path`, `file`: the log, and that it is open.
  - `context`, `entries`: what is known. `serving`: versions that were replaced by ones whose modules have not arrived yet.
  - `records`: how many the log has. `litter`: was something replaced or removed? `loose`: modules that it may have been that needed them.
  - `spared`: modules to be kept, whether they are used or not. `versions`: those of functions that are lost.
  - `rewritten_bytes`: what the log had when it was rewritten last.
  - `stale`: has the log to be rewritten before it is appended to? Then the timer that sees to it.
  """
  @type t :: %__MODULE__{
          lock: reference,
          blobs: Path.t(),
          path: Path.t(),
          file: :file.fd(),
          context: State.context(),
          entries: Entries.t(),
          serving: %{String.t() => Entry.t()},
          records: non_neg_integer,
          spared: MapSet.t(BlobStore.sha256()),
          versions: %{String.t() => pos_integer},
          litter: boolean,
          loose: [BlobStore.sha256()],
          stale: reference | nil,
          rewritten_bytes: non_neg_integer
        }

  @typedoc "What versions there are: of a store, or of the tables that the catalog has made of one."
  @type known :: %{
          :entries => Entries.t(),
          :versions => %{String.t() => pos_integer},
          optional(atom) => term
        }

  @doc """
  Opens the store in `folder`, or begins it. Own changes that a clock stamped more than `max_skew` ms ahead are stamped anew.

  Its changes are those of `node`. Errors have the reason `:data_in_use` or `:storage`.
  """
  @spec open(Path.t(), max_skew :: non_neg_integer, node :: String.t()) :: {:ok, t} | {:error, Error.t()}
  def open(folder, max_skew, node \\ to_string(node())) do
    with {:ok, lock} <- claim(folder),
         # What unfinished writes have left.
         :ok <- BlobStore.prepare(folder),
         blobs = Path.join(folder, "blobs"),
         :ok <- BlobStore.prepare(blobs),
         path = Path.join(folder, "catalog.log"),
         {:ok, replayed} <- read(path, blobs),
         kept = recover(replayed, blobs, max_skew, node),
         :ok <- Log.rewrite(path, records(kept)),
         {:ok, file} <- Log.open(path) do
      opened = %{
        lock: lock,
        blobs: blobs,
        path: path,
        file: file,
        records: Entries.count(kept.entries),
        rewritten_bytes: Log.size(file)
      }

      store = __MODULE__ |> struct!(Map.merge(kept, opened)) |> spare(Damage.kept(path))
      # This once at all that are there: a node that died may have left any.
      {:ok, store |> littered(BlobStore.list(blobs)) |> collect()}
    end
  end

  defp spare(store, []), do: store

  defp spare(store, damaged) do
    blobs = MapSet.new(BlobStore.list(store.blobs))
    serving = serving(store)
    unused = Enum.count(blobs, &(not needed?(store, serving, &1)))

    if unused > 0 do
      Logger.warning(
        "modules in #{store.blobs} that belong to no function that is known (#{unused}) are kept as long as #{Enum.join(damaged, ", ")} is there"
      )
    end

    %{store | spared: blobs, versions: Damage.versions(damaged)}
  end

  @doc "Where a node keeps its data: a folder called like it, in the one that is configured."
  @spec folder(data :: Path.t(), node :: String.t()) :: Path.t()
  def folder(data, node \\ to_string(node())), do: Path.join(data, node)

  @doc """
  Makes the folder in which something is to be, unless that was there before: then it is waited for, as `{:error, :enoent}`. Where its disk is
  away it would be made anew, and be in the way of what comes back.
  """
  @spec place(Path.t(), folder :: Path.t(), there? :: boolean) :: :ok | {:error, File.posix()}
  def place(path, _folder, true), do: if(File.exists?(path), do: :ok, else: {:error, :enoent})
  def place(_path, folder, false), do: File.mkdir_p(folder)

  @doc "Makes the folder, if it is not there, and locks it for as long as the term lives. Errors as of `open/3`."
  @spec claim(Path.t()) :: {:ok, reference} | {:error, Error.t()}
  def claim(folder) do
    with :ok <- make(folder), do: lock(folder)
  end

  @doc """
  Makes these the entries of their names; when this returns `:ok` that survives a power cut. After an error nothing is
  changed, but for what has to be done to the file.
  """
  @spec write(t, [Entry.t()]) :: {:ok, t} | {:error, Error.t(), t}
  def write(store, []), do: {:ok, store}

  def write(%{stale: nil} = store, entries) do
    case Log.append(store.path, store.file, entries) do
      :ok ->
        store = put(%{store | records: store.records + length(entries)}, entries)
        # The entries are on disk already: a log that can't be rewritten just stays long.
        {:ok, if(long?(store), do: compact(store), else: store)}

      # Part of them may be there, and nothing could be read that came behind it.
      {:error, error} ->
        {:error, error, outdated(store)}
    end
  end

  def write(store, entries) do
    case store |> replace(entries) |> rewrite(entries) do
      {:ok, rewritten} ->
        Entries.put(store.entries, entries)
        {:ok, rewritten}

      {:error, error, _unchanged} ->
        {:error, error, store}
    end
  end

  defp long?(store) do
    store.records > 2 * Entries.count(store.entries) + @slack or
      Log.size(store.file) > 2 * store.rewritten_bytes + @slack_bytes
  end

  @doc "Makes these the entries of their names, and writes them down as soon as the disk lets it."
  @spec owe(t, [Entry.t()]) :: t
  def owe(store, entries), do: store |> put(entries) |> outdated()

  @doc "Drops these names, and keeps `context` beside what is left."
  @spec forget(t, [String.t()], State.context()) :: t
  def forget(store, names, context) do
    gone = for name <- names, entry <- [Entries.get(store.entries, name), store.serving[name]], entry != nil, do: entry
    Entries.drop(store.entries, names)
    store = %{store | serving: Map.drop(store.serving, names), context: context}
    store |> littered(Enum.flat_map(gone, &Entry.modules/1)) |> outdated() |> compact()
  end

  @doc """
  Drops what was removed before this moment, on a node that nobody else tells of that; what has to be remembered of it is kept, for the
  node may be in a cluster again.
  """
  @spec collect_removed(t, wall_ms :: integer) :: t
  def collect_removed(%{entries: entries} = store, wall_ms) do
    if Entries.removed_before?(entries, wall_ms) do
      {stamps, state} = store.context |> State.new(Entries.list(entries)) |> State.collect(wall_ms)
      forget(store, Enum.map(stamps, &elem(&1, 0)), State.context(state))
    else
      store
    end
  end

  @doc "The entry of this name has arrived: what served until then is not called any more."
  @spec served(t, String.t()) :: t
  def served(store, name) do
    case Map.pop(store.serving, name) do
      {nil, _serving} -> store
      {last, serving} -> left(%{store | serving: serving}, last, Entries.get(store.entries, name))
    end
  end

  # What `last` was is no longer, now that there is `entry`: its module may still be needed, to go back to it.
  defp left(store, last, entry) do
    kept = if entry, do: Entry.modules(entry), else: []
    littered(store, Entry.modules(last) -- kept)
  end

  @doc "Entries of what can be called, or could be: the versions that serve, in the place of those that are to come."
  @spec callable(t) :: [Entry.t()]
  def callable(store) do
    for %{name: name} = entry <- Entries.list(store.entries), not entry.removed, do: Map.get(store.serving, name, entry)
  end

  @doc "Tries again to write down what the disk has refused."
  @spec retry(t) :: t
  def retry(%{stale: nil} = store), do: store

  def retry(store) do
    store = compact(store)
    if store.stale, do: outdated(store), else: store
  end

  @doc "The number for the next deploy of a name."
  @spec next_version(known, String.t()) :: pos_integer
  def next_version(store, name) do
    entry = Entries.get(store.entries, name)
    max(if(entry, do: entry.version, else: 0), Map.get(store.versions, name, 0)) + 1
  end

  @doc """
  Modules in a folder that no entry needs. Any process may look, as a slow disk may take long; `collect/2` sees what may need them beside, and
  by then.
  """
  @spec strays(blobs :: Path.t(), Entries.t()) :: [BlobStore.sha256()]
  def strays(blobs, entries), do: for(sha256 <- BlobStore.list(blobs), not Entries.needs?(entries, sha256), do: sha256)

  @doc "There may be these modules, and no entry that needs them."
  @spec littered(t, [BlobStore.sha256()]) :: t
  def littered(store, modules), do: %{store | litter: true, loose: modules ++ store.loose}

  @doc "Removes the modules that no version needs any more which is kept, but for `reserved` ones, whose entries are to come."
  @spec collect(t, reserved :: [BlobStore.sha256()]) :: t
  def collect(store, reserved \\ [])
  def collect(%{loose: []} = store, _reserved), do: %{store | litter: false}

  def collect(store, reserved) do
    others = MapSet.union(MapSet.new(reserved), serving(store))

    for sha256 <- store.loose,
        not needed?(store, others, sha256),
        do: BlobStore.delete(BlobStore.path(store.blobs, sha256))

    %{store | litter: false, loose: []}
  end

  defp serving(store), do: MapSet.new(store.serving, fn {_name, entry} -> entry.sha256 end)

  defp needed?(store, others, sha256),
    do: Entries.needs?(store.entries, sha256) or sha256 in others or sha256 in store.spared

  defp put(store, entries) do
    replaced = replace(store, entries)
    Entries.put(store.entries, entries)
    replaced
  end

  # The store as it is with these entries, but for its table. What can be called until the new version is installed has to stay,
  # on the disk too.
  defp replace(store, entries) do
    {store, _new} =
      Enum.reduce(entries, {store, %{}}, fn %{name: name} = entry, {store, new} ->
        last = new[name] || Entries.get(store.entries, name)
        store = if Entry.same_change?(last, entry), do: store, else: supersede(store, last, entry)
        {store, Map.put(new, name, entry)}
      end)

    store
  end

  defp supersede(store, last, %{name: name} = entry) do
    {served, serving} =
      if last == nil or last.removed or entry.removed,
        do: Map.pop(store.serving, name),
        else: {nil, Map.put_new(store.serving, name, last)}

    for gone <- [served, last], gone != nil, reduce: %{store | serving: serving} do
      store -> left(store, gone, entry)
    end
  end

  # What is on disk is not what should be there: that is tried until it is.
  defp outdated(store) do
    if store.stale, do: Process.cancel_timer(store.stale)
    %{store | stale: Process.send_after(self(), :rewrite, @rewrite_ms)}
  end

  defp compact(store) do
    case rewrite(store) do
      {:ok, store} ->
        store

      {:error, error, store} ->
        Logger.warning("the catalog could not be compacted: #{error.message}")
        store
    end
  end

  # `new` are entries that are not in the table yet.
  defp rewrite(store, new \\ []) do
    records = records(store, new)
    rewritten = Log.rewrite(store.path, records)

    # What failed may have failed after the new file was in its place, and the one that is open is not in it any more.
    with {:ok, file} <- Log.open(store.path) do
      :file.close(store.file)
      done(%{store | file: file}, rewritten, length(records))
    else
      {:error, error} -> {:error, error, outdated(store)}
    end
  end

  defp done(store, {:error, error}, _records), do: {:error, error, store}

  defp done(store, :ok, records) do
    if store.stale, do: Process.cancel_timer(store.stale)
    {:ok, %{store | records: records, rewritten_bytes: Log.size(store.file), stale: nil}}
  end

  # What is in it is this user's alone, whatever the rights of the files.
  defp make(folder) do
    new? = not File.exists?(folder)

    with :ok <- File.mkdir_p(folder), {:ok, stat} <- File.stat(folder) do
      if Bitwise.band(stat.mode, 0o077) != 0, do: close(folder, new?)
      :ok
    else
      {:error, reason} -> {:error, Error.new(:storage, "can't make #{folder}: #{:file.format_error(reason)}")}
    end
  end

  defp close(folder, new?) do
    case File.chmod(folder, 0o700) do
      :ok when new? -> :ok
      :ok -> Logger.warning("#{folder} could be read by others: from now on its owner alone may")
      {:error, reason} -> Logger.warning("#{folder} can be read by others: #{:file.format_error(reason)}")
    end
  end

  defp lock(folder, tries \\ @lock_tries) do
    path = Path.join(folder, "lock")

    case Native.lock_file(path) do
      {:ok, lock} ->
        {:ok, lock}

      {:error, :locked} when tries > 1 ->
        Process.sleep(@lock_again_ms)
        lock(folder, tries - 1)

      {:error, :locked} ->
        message =
          "another node uses the data folder #{folder}: give this one a folder of its own (the setting `data`, or " <>
            "TIDEPOOL_DATA), or a node name of its own (iex --name)"

        {:error, Error.new(:data_in_use, message)}

      {:error, text} ->
        {:error, Error.new(:storage, "can't lock #{path}: #{text}")}
    end
  end

  defp read(path, blobs) do
    case Log.read(path) do
      {:ok, %{context: nil} = nothing, :whole} ->
        if BlobStore.list(blobs) == [],
          do: {:ok, nothing},
          else: keep(path, nothing, "", [%{at: 0, bytes: 0, what: :missing, functions: []}])

      {:ok, replayed, :whole} ->
        {:ok, replayed}

      {:ok, replayed, :unsealed} ->
        Logger.info("#{Log.seal_path(path)} is missing or damaged, as when an older version has run: it is made anew")
        {:ok, replayed}

      {:ok, replayed, :torn} ->
        Logger.info("#{path} ends with a change that this node died over: it was never answered, and is left out")
        {:ok, replayed}

      {:ok, replayed, {:damaged, bytes, damage}} ->
        keep(path, replayed, bytes, damage)

      {:error, error} ->
        {:error, error}
    end
  end

  defp keep(path, replayed, bytes, damage) do
    with {:ok, aside} <- Damage.keep(path, bytes) do
      for sentence <- Damage.describe(path, damage), do: Logger.error(sentence)
      Logger.error("#{path} was damaged, and is used as far as it can be read; the file as it was is kept as #{aside}")
      {:ok, if(Enum.all?(damage, &(&1.what == :mended)), do: replayed, else: %{replayed | context: nil})}
    end
  end

  # `serving` are versions that were replaced by ones whose modules have not arrived yet.
  defp recover(replayed, blobs, max_skew, node) do
    # Made with the folder: a node that has lost its disk is another replica.
    now = System.os_time(:millisecond)
    context = replayed.context || State.new_context(Clock.replica(node, now))
    entries = for {_name, entry} <- replayed.entries, do: Entry.stamped(entry, context.replica)
    {context, entries} = State.restamp(context, entries, now, max_skew)
    context = of_this_node(context, entries, node, now)
    here? = &BlobStore.exists?(blobs, &1.sha256)

    serving =
      for %{name: name} = entry <- entries,
          earlier = replayed.earlier[name],
          not here?.(entry),
          version = Enum.find(earlier, here?),
          into: %{},
          do: {name, Entry.stamped(version, context.replica)}

    %{context: context, entries: Entries.new(entries), serving: serving}
  end

  # Data of another node's, which may be a copy while that one goes on: two may not make stamps under one name.
  defp of_this_node(context, entries, node, now) do
    if Clock.node_of(context.replica) == node do
      context
    else
      seen = context |> State.new(entries) |> State.context()
      %{seen | replica: Clock.replica(node, now)}
    end
  end

  defp records(store, new \\ []) do
    entries = Map.new(Entries.list(store.entries) ++ new, &{&1.name, &1})
    [store.context | Map.values(store.serving) ++ Map.values(entries)]
  end
end
