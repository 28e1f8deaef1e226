defmodule Tidepool.Actor.Journal do
  @moduledoc """
  The records of actors: `actors/records.db` in the node's data folder, a file of SQLite's that the native library keeps, or the
  PostgreSQL database of the setting `actors`, which all nodes of a cluster share, or the data folders of some nodes, which keep the same
  (`Tidepool.Actor.Voter`).

  The file is made for the first actor. When the disk fails it, or it can't be opened, it is opened again and again until it works:
  the log says when that begins and when it is over, and `stopped?/0` in between. What nodes share is opened by the owner of this node's part
  of it (`open_shared/2`), and again when that starts anew. A caller that can't be given the records is told why, and the node goes on.
  """

  use GenServer

  require Logger

  alias Tidepool.{Config, Error, Native}
  alias Tidepool.Actor.Journal.Archive
  alias Tidepool.Actor.Voter
  alias Tidepool.Catalog.Store
  alias Tidepool.Error.Reason
  alias Tidepool.Namespaces.Turns

  # How long a file that can't be opened is left alone: at first, and at most. It is twice as long each time.
  @pause_ms 100
  @longest_ms 5_000

  # How often it is looked at most whether changes wait: a full disk may take its time.
  @settle_ms 64

  # What the library's word is for callers, too.
  @reasons Reason.all(:actor) ++ Reason.all(:call)

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @doc "The records, which are opened when there is a file, or else for the first actor."
  @spec records :: {:ok, Native.records()} | {:error, Error.t()}
  def records do
    case :ets.lookup(__MODULE__, :records) do
      [{:records, records}] -> {:ok, records}
      [] -> if shared?(), do: {:error, unopened()}, else: GenServer.call(__MODULE__, :open, :infinity)
    end
  rescue
    ArgumentError -> {:error, restarting(nil)}
  catch
    :exit, _reason -> {:error, restarting(nil)}
  end

  @doc "The records, if there may be any: `:none` as long as this node has had no actor."
  @spec existing :: {:ok, Native.records()} | :none | {:error, Error.t()}
  def existing do
    # Those that are open are there, even if their file was taken away.
    case :ets.tab2list(__MODULE__) do
      [path: path] -> if File.exists?(path), do: records(), else: :none
      _open_or_about_to_be -> records()
    end
  rescue
    ArgumentError -> {:error, restarting(nil)}
  end

  @doc """
  Is nothing written to this node's disk, for it has failed, or can't be opened, or is another one than nodes keep records on? What it was
  asked meanwhile has failed.
  """
  @spec stopped? :: boolean
  def stopped? do
    :ets.member(__MODULE__, :stopped) or Voter.stopped?()
  rescue
    ArgumentError -> false
  end

  @doc """
  How many `changes` of actors wait for being written, and how many may, and the same of the bytes of all that is written. Nothing unless
  the records are open.
  """
  @spec held :: %{String.t() => %{held: non_neg_integer, max: pos_integer}}
  def held do
    for {:records, records} <- :ets.lookup(__MODULE__, :records), reduce: %{} do
      _none ->
        {changes, most, bytes, most_bytes} = Native.records_waiting(records)
        %{"changes" => %{held: changes, max: most}, "change_bytes" => %{held: bytes, max: most_bytes}}
    end
  end

  @doc """
  Opens the store that nodes share, for this start of the node: `incarnation` is a number that no other start of it has. From then
  on `records/0` has it. The reason of an error is `:no_store`.
  """
  @spec open_shared(node :: String.t(), incarnation :: integer) :: {:ok, Native.records()} | {:error, Error.t()}
  def open_shared(node, incarnation), do: GenServer.call(__MODULE__, {:open_shared, node, incarnation}, :infinity)

  @typedoc "A record, but for its values; `image` is `nil` when nothing was written of its memory."
  @type record :: {
          epoch :: non_neg_integer,
          seq :: pos_integer,
          alarm_at :: integer | nil,
          head :: binary,
          image :: binary | nil
        }

  @doc """
  Returns when no change of a record waits for being written: those of a process that was killed are made, or never will be, and what is
  read from then on has them.
  """
  @spec settle(Native.records(), String.t(), String.t(), pause_ms :: pos_integer) :: :ok
  def settle(records, class, name, pause_ms \\ 1) do
    unless Native.record_settled(records, class, name) do
      Process.sleep(pause_ms)
      settle(records, class, name, min(pause_ms * 2, @settle_ms))
    end

    :ok
  end

  @doc """
  What a function of the library's reads from the records, in a turn of the namespace of the class `told`, whose error it is when it can't be
  read, or when no turn has come until then, or too many wait for one. Reads are done on threads that all of the VM has for its files.
  A call that has begun to run waits `:always`.
  """
  @spec reading(
          told :: String.t(),
          Turns.until(),
          read :: (() -> found | {:error, kind :: atom, message :: String.t()}),
          Turns.waits()
        ) ::
          found | {:error, Error.t()}
        when found: tuple
  def reading(told, until, read, waits \\ :bounded) do
    case Turns.run(:records, told, until, read, waits) do
      {:ok, {:error, kind, message}} ->
        {:error, error(kind, message, told)}

      {:ok, found} ->
        found

      :late ->
        message = "the call's time was over before its turn came to read what is written"
        {:error, Error.new(:timeout, message, told)}

      :busy ->
        message = "too many wait for their turn to read what is written of the namespace's actors"
        {:error, Error.new(:overloaded, message, told)}
    end
  end

  @doc "Reads a record; an error is one of the class `told`."
  @spec read(Native.records(), String.t(), String.t(), told :: String.t(), Turns.until()) ::
          {:ok, record | nil} | {:error, Error.t()}
  def read(records, class, name, told, until \\ :infinity),
    do: reading(told, until, fn -> Native.read_record(records, class, name) end)

  @doc "The same, unless head and image of one in a file have more bytes: then what `head/4` says."
  @spec read_up_to(Native.records(), String.t(), String.t(), most :: non_neg_integer, told :: String.t(), Turns.until()) ::
          {:ok, record | nil} | {:larger, head} | {:error, Error.t()}
  def read_up_to(records, class, name, most, told, until),
    do: reading(told, until, fn -> Native.read_record_up_to(records, class, name, most) end)

  @typedoc "What is known of a record without its image; `bytes` are of both."
  @type head :: {seq :: pos_integer, alarm_at :: integer | nil, bytes :: non_neg_integer, head :: binary}

  @doc "As `read/4`, but for the image, which is not read, so that nothing is known of damage to it."
  @spec head(Native.records(), String.t(), String.t(), told :: String.t()) :: {:ok, head | nil} | {:error, Error.t()}
  def head(records, class, name, told),
    do: reading(told, :infinity, fn -> Native.record_head(records, class, name) end)

  @doc "Makes a change of a record, and waits until it is on disk."
  @spec commit(Native.records(), String.t(), String.t(), Native.change()) ::
          :ok | {:error, kind :: atom, message :: String.t()}
  def commit(records, class, name, change) do
    id = Native.commit_record(records, class, name, change)

    receive do
      {:tidepool_committed, ^id, outcome} -> outcome
    end
  end

  @doc """
  Ends a record with all that it has, be it damaged, and waits until that is on disk. `:again` says that it was written meanwhile.
  """
  @spec delete(Native.records(), String.t(), String.t(), epoch :: pos_integer) :: :ok | :again | {:error, Error.t()}
  def delete(records, class, name, epoch) do
    with {:ok, change} <- reading(class, :infinity, fn -> ending(Native.record_head(records, class, name), epoch) end),
         :ok <- commit(records, class, name, change) do
      :ok
    else
      {:none} -> {:error, unknown(class, name)}
      {:error, :out_of_order, _message} -> :again
      {:error, kind, message} -> {:error, error(kind, message, class)}
      {:error, error} -> {:error, error}
    end
  end

  defp ending({:ok, nil}, _epoch), do: {:none}
  defp ending({:ok, {seq, _alarm_at, _bytes, _head}}, epoch), do: {:ok, {:delete, epoch, seq}}
  # What it was can't be said any more, nor its number.
  defp ending({:error, :damaged, _message}, epoch), do: {:ok, {:erase, epoch}}
  defp ending(failure, _epoch), do: failure

  @doc "The error of an actor that there is not."
  @spec unknown(String.t(), String.t()) :: Error.t()
  def unknown(class, name), do: Error.new(:unknown_actor, "no actor is called #{class}/#{name}", class)

  @doc "The error that the library's words of a record, or of all, are for the actor's callers."
  @spec error(kind :: atom, message :: String.t(), class :: String.t() | nil) :: Error.t()
  def error(:crowded, message, class), do: Error.new({:quota, :actors}, message, class)
  # However often it is tried: what the actor has in memory is too much to be written.
  def error(:too_large, message, class), do: Error.new({:limit, :memory}, message, class)

  def error(kind, message, class),
    do: Error.new(if(kind in @reasons, do: kind, else: :no_store), message, class)

  @doc "The error of callers while the node stops, or a supervisor starts what keeps actors again."
  @spec restarting(class :: String.t() | nil) :: Error.t()
  def restarting(class) do
    message =
      if Config.stops?(),
        do: "the node stops: call the actor on another one, or when this one has been started again",
        else: "the processes of actors are being restarted"

    Error.new(:no_store, message, class)
  end

  @impl true
  def init(%{actors: {:postgres, url}}) do
    :ets.new(__MODULE__, [:named_table, :protected, read_concurrency: true])
    :ets.insert(__MODULE__, {:shared, true})
    {:ok, {:postgres, url}}
  end

  def init(%{actors: {:replicated, _named}, data: data}) do
    unused = data |> Store.folder() |> Archive.records()

    if File.exists?(unused),
      do:
        Logger.warning(
          "the actors in #{unused} are of another setting of TIDEPOOL_ACTORS: this node does not have them"
        )

    :ets.new(__MODULE__, [:named_table, :protected, read_concurrency: true])
    :ets.insert(__MODULE__, {:shared, true})
    {:ok, :replicated}
  end

  def init(config) do
    :ets.new(__MODULE__, [:named_table, :protected, read_concurrency: true])
    path = config.data |> Store.folder() |> Archive.records()
    :ets.insert(__MODULE__, {:path, path})
    state = %{path: path, pause_ms: nil, there?: File.exists?(path)}
    {:ok, if(state.there?, do: state |> open() |> elem(1), else: state)}
  end

  @impl true
  def handle_call(:open, _from, state) do
    # A caller before may have had it opened. One that can't be is tried again in its time, however many ask meanwhile.
    case {:ets.lookup(__MODULE__, :records), state.pause_ms} do
      {[{:records, records}], _pause_ms} -> {:reply, {:ok, records}, state}
      {[], nil} -> state |> open() |> replied()
      {[], _pause_ms} -> {:reply, {:error, unopened()}, state}
    end
  end

  def handle_call({:open_shared, node, incarnation}, _from, state) do
    case shared(state, node, incarnation) do
      {:ok, records} ->
        :ets.insert(__MODULE__, {:records, records})
        {:reply, {:ok, records}, state}

      # The voter says in the log why it can't be.
      :none ->
        {:reply, {:error, unopened()}, state}

      {:error, _kind, message} ->
        Logger.error("the store of actors' records can't be opened: #{message}")
        {:reply, {:error, unopened()}, state}
    end
  end

  @impl true
  def handle_info(:open, state), do: {:noreply, state |> open() |> elem(1)}

  # From the records that are open: they open their file again by themselves.
  def handle_info({:tidepool_records, {:stopped, why}}, state) do
    stopped("are not written: #{why}", state.path)
    {:noreply, state}
  end

  def handle_info({:tidepool_records, :ok}, state) do
    works()
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp shared({:postgres, url}, node, incarnation), do: Native.open_shared(url.(), node, incarnation)

  defp shared(:replicated, node, incarnation),
    do: with({:ok, voter} <- Voter.voter(), do: Native.open_replicated(voter, node, incarnation))

  defp shared?, do: :ets.member(__MODULE__, :shared)

  defp replied({outcome, state}), do: {:reply, outcome, state}

  defp open(%{path: path} = state) do
    with :ok <- Store.place(path, Path.dirname(path), state.there?),
         {:ok, records} <- Native.open_records(path) do
      :ets.insert(__MODULE__, {:records, records})
      if state.pause_ms, do: works()
      {{:ok, records}, %{state | pause_ms: nil, there?: true}}
    else
      {:error, posix} -> unopened(state, to_string(:file.format_error(posix)))
      {:error, _kind, message} -> unopened(state, message)
    end
  end

  defp unopened(state, why) do
    stopped("can't be opened: #{why}", state.path)
    pause_ms = min(2 * (state.pause_ms || div(@pause_ms, 2)), @longest_ms)
    Process.send_after(self(), :open, pause_ms)
    {{:error, unopened()}, %{state | pause_ms: pause_ms, there?: state.there? or File.exists?(state.path)}}
  end

  # Said once, however often it is tried. Callers may be strangers: where this node keeps what is not told them.
  defp stopped(why, path) do
    if :ets.lookup(__MODULE__, :stopped) != [{:stopped, why}] do
      Logger.error("the records of actors #{why} (#{path})")
      :ets.insert(__MODULE__, {:stopped, why})
    end
  end

  defp works do
    Logger.warning("the records of actors are written again")
    :ets.delete(__MODULE__, :stopped)
  end

  defp unopened, do: Error.new(:no_store, "the records of actors can't be opened; the node's log says why")
end
