defmodule Tidepool.Catalog.Store do
  @moduledoc """
  What a node has on disk: the folder, which it locks; the entries, in `Tidepool.Catalog.Log`; the modules that they need.

  A change is on disk when `write/2` says so. A write that fails may leave part of a record behind, and nothing could be
  read that was appended to that: the file is rewritten then, before anything else is written, and every few seconds until
  that succeeds. For this the process that has opened the store gets the message `:rewrite`, and calls `retry/1`.
  """

  require Logger

  alias Tidepool.{BlobStore, Error, Native}
  alias Tidepool.Catalog.{Clock, Entry, Log, State}

  # How soon what the disk refused is tried again.
  @rewrite_ms 5_000

  # The log is rewritten when it has this many records more than twice the names it holds.
  @slack 1_000

  @enforce_keys [:lock, :blobs, :path, :file, :context, :entries, :serving, :records]
  defstruct @enforce_keys ++ [litter: false, stale: nil]

  @typedoc """
  - `lock`: held as long as this term lives. `blobs`: the folder of modules. `path`, `file`: the log, and that it is open.
  - `context`, `entries`: what is known. `serving`: versions that were replaced by ones whose modules have not arrived yet.
  - `records`: how many the log has. `litter`: is there something that only older versions used?
  - `stale`: has the log to be rewritten before it is appended to? Then the timer that sees to it.
  """
  @type t :: %__MODULE__{
          lock: reference,
          blobs: Path.t(),
          path: Path.t(),
          file: :file.fd(),
          context: State.context(),
          entries: %{String.t() => Entry.t()},
          serving: %{String.t() => Entry.t()},
          records: non_neg_integer,
          litter: boolean,
          stale: reference | nil
        }

  @doc """
  Opens the store in `folder`, or begins it. Own changes that a clock stamped more than `max_skew` ms ahead are stamped anew.

  Errors have the reason `:data_in_use` or `:storage`.
  """
  @spec open(Path.t(), max_skew :: non_neg_integer) :: {:ok, t} | {:error, Error.t()}
  def open(folder, max_skew) do
    with :ok <- make(folder),
         {:ok, lock} <- lock(folder),
         blobs = Path.join(folder, "blobs"),
         :ok <- BlobStore.prepare(blobs),
         path = Path.join(folder, "catalog.log"),
         {:ok, replayed} <- read(path),
         kept = settle(replayed, blobs, max_skew),
         :ok <- Log.rewrite(path, records(kept)),
         {:ok, file} <- Log.open(path) do
      opened = %{lock: lock, blobs: blobs, path: path, file: file, records: map_size(kept.entries)}
      {:ok, sweep(struct!(__MODULE__, Map.merge(kept, opened)))}
    end
  end

  @doc """
  Makes these the entries of their names; when this returns `:ok` that survives a power cut. After an error nothing is
  changed, but for what has to be done to the file.
  """
  @spec write(t, [Entry.t()]) :: {:ok, t} | {:error, Error.t(), t}
  def write(store, []), do: {:ok, store}

  def write(%{stale: nil} = store, entries) do
    case Log.append(store.file, entries) do
      :ok ->
        store = Enum.reduce(entries, %{store | records: store.records + length(entries)}, &replace/2)
        # The entries are on disk already: a log that can't be rewritten just stays long.
        {:ok, if(store.records > 2 * map_size(store.entries) + @slack, do: compact(store), else: store)}

      # Part of them may be there, and nothing could be read that came behind it.
      {:error, error} ->
        {:error, error, outdated(store)}
    end
  end

  def write(store, entries) do
    with {:error, error, _unchanged} <- entries |> Enum.reduce(store, &replace/2) |> rewrite(),
         do: {:error, error, store}
  end

  @doc "Makes these the entries of their names, and writes them down as soon as the disk lets it."
  @spec owe(t, [Entry.t()]) :: t
  def owe(store, entries), do: entries |> Enum.reduce(store, &replace/2) |> outdated()

  @doc "Drops these names, and keeps `context` beside what is left."
  @spec forget(t, [String.t()], State.context()) :: t
  def forget(store, names, context) do
    entries = Map.drop(store.entries, names)
    serving = Map.drop(store.serving, names)
    compact(outdated(%{store | entries: entries, serving: serving, context: context, litter: true}))
  end

  @doc "The entry of this name has arrived: what served until then is not needed any more."
  @spec served(t, String.t()) :: t
  def served(store, name) do
    %{store | serving: Map.delete(store.serving, name), litter: store.litter or is_map_key(store.serving, name)}
  end

  @doc "Entries of what can be called, or could be: the versions that serve, in the place of those that are to come."
  @spec callable(t) :: [Entry.t()]
  def callable(store) do
    for {_name, %Entry{removed: false} = entry} <- Map.merge(store.entries, store.serving), do: entry
  end

  @doc "Tries again to write down what the disk has refused."
  @spec retry(t) :: t
  def retry(%{stale: nil} = store), do: store

  def retry(store) do
    store = compact(store)
    if store.stale, do: outdated(store), else: store
  end

  @doc "Removes the modules that only older versions used."
  @spec sweep(t) :: t
  def sweep(store) do
    used =
      for entries <- [store.entries, store.serving],
          {_name, %Entry{removed: false} = entry} <- entries,
          into: MapSet.new(),
          do: entry.sha256

    BlobStore.sweep(store.blobs, used)
    %{store | litter: false}
  end

  # What can be called until the new version is installed has to stay, on the disk too.
  defp replace(%{name: name} = entry, store) do
    serving =
      case store.entries do
        _entries when entry.removed -> Map.delete(store.serving, name)
        %{^name => %{removed: false} = last} -> Map.put_new(store.serving, name, last)
        _none_or_removed -> Map.delete(store.serving, name)
      end

    litter = store.litter or is_map_key(store.entries, name)
    %{store | entries: Map.put(store.entries, name, entry), serving: serving, litter: litter}
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

  defp rewrite(store) do
    with :ok <- Log.rewrite(store.path, records(store)),
         {:renamed, {:ok, file}} <- {:renamed, Log.open(store.path)} do
      :file.close(store.file)
      if store.stale, do: Process.cancel_timer(store.stale)
      {:ok, %{store | file: file, records: map_size(store.entries), stale: nil}}
    else
      {:error, error} -> {:error, error, store}
      # The file that is open is not the one at the path any more.
      {:renamed, {:error, error}} -> {:error, error, outdated(store)}
    end
  end

  defp make(folder) do
    case File.mkdir_p(folder) do
      :ok -> :ok
      {:error, reason} -> {:error, Error.new(:storage, "can't make #{folder}: #{:file.format_error(reason)}")}
    end
  end

  defp lock(folder) do
    path = Path.join(folder, "lock")

    case Native.lock_file(path) do
      {:ok, lock} ->
        {:ok, lock}

      {:error, :locked} ->
        message =
          "another node uses the data folder #{folder}: give this one a folder of its own (TIDEPOOL_DATA), " <>
            "or a node name of its own (iex --name)"

        {:error, Error.new(:data_in_use, message)}

      {:error, text} ->
        {:error, Error.new(:storage, "can't lock #{path}: #{text}")}
    end
  end

  defp read(path) do
    with {:ok, replayed, read} <- Log.read(path) do
      if read == :torn do
        aside = "#{path}.torn"
        File.cp(path, aside)
        Logger.warning("the end of #{path} could not be read and was left out; the file as it was is #{aside}")
      end

      {:ok, replayed}
    end
  end

  # `serving` are versions that were replaced by ones whose modules have not arrived yet.
  defp settle(replayed, blobs, max_skew) do
    # Made with the folder: a node that has lost its disk is another replica.
    now = System.os_time(:millisecond)
    context = replayed.context || State.new_context(Clock.replica(to_string(node()), now))
    entries = for {_name, entry} <- replayed.entries, do: Entry.stamped(entry, context.replica)
    {context, entries} = State.settle(context, entries, now, max_skew)
    here? = &BlobStore.exists?(blobs, &1.sha256)

    serving =
      for %{name: name} = entry <- entries,
          earlier = replayed.earlier[name],
          not here?.(entry),
          version = Enum.find(earlier, here?),
          into: %{},
          do: {name, Entry.stamped(version, context.replica)}

    %{context: context, entries: Map.new(entries, &{&1.name, &1}), serving: serving}
  end

  defp records(store), do: [store.context | Map.values(store.serving) ++ Map.values(store.entries)]
end
