defmodule Tidepool.Actor.Voter do
  @moduledoc """
  This node's voter, where nodes keep actors together on their own disks: the folder `actors/replicated` in the node's data folder, with a
  log and what came of it. It carries what voters ask each other: a question of this node's goes to `Tidepool.Actor.Voter.Questions` of
  another node, by a process of its own.

  A voter whose disk fails ends, and so does this process after a while: its supervisor has the folder opened again, with all that keeps
  actors. A node that is no member keeps no actors, and passes calls of them on (`outside?/0`).
  """

  use GenServer

  require Logger

  alias Tidepool.Actor.Voter.{Company, Speech}
  alias Tidepool.Catalog.Store
  alias Tidepool.{Config, Native, Nodes}
  alias Tidepool.Nodes.Ask

  # How long a folder that can't be opened is left alone, and how often it is looked at how the voter stands.
  @pause_ms 1_000
  # How long one that has ended is left alone.
  @again_ms 10_000
  # How often the members are noted, and how long they may take to be told.
  @members_ms 10_000
  # How long it may take until another one leads.
  @lead_ms 1_500
  # How many questions to a node are on their way. One that stands still has a few until its link is cut.
  @on_their_way 256

  @doc false
  # With the names of the nodes that keep actors together, and where the data is.
  def start_link({named, data}), do: GenServer.start_link(__MODULE__, {named, data}, name: __MODULE__)

  @doc "The voter, once its folder is open."
  @spec voter :: {:ok, Native.voter()} | :none
  def voter do
    case :ets.lookup(__MODULE__, :voter) do
      [{:voter, voter}] -> {:ok, voter}
      [] -> :none
    end
  rescue
    ArgumentError -> :none
  end

  @doc "Does this node's voter write nothing, for its disk fails it, or its folder is not the one that the others know?"
  @spec stopped? :: boolean
  def stopped? do
    :ets.member(__MODULE__, :stopped)
  rescue
    ArgumentError -> false
  end

  @doc "Is this node's folder not open, as there is no room on its disk for what is written first? It is opened when there is."
  @spec without_room? :: boolean
  def without_room? do
    :ets.member(__MODULE__, :full)
  rescue
    ArgumentError -> false
  end

  @doc "Is this node no member of those that keep actors together, as it is none of them yet, or was removed? It may be added."
  @spec outside? :: boolean
  def outside? do
    :ets.member(__MODULE__, :outside)
  rescue
    ArgumentError -> false
  end

  @doc """
  Is this node's voter one of a group, and has not had yet what the others have since it was opened? While that is so no other voter is to be
  stopped: a majority might lack what was answered, and nothing be written. One that hears of no leader for a minute is not waited for, unless
  a majority is of a version that it does not understand: these may write on.
  """
  @spec catching_up? :: boolean
  def catching_up? do
    :ets.member(__MODULE__, :catching_up)
  rescue
    ArgumentError -> false
  end

  @doc "The names of the nodes that keep actors together, as this one was told."
  @spec named :: [String.t()]
  def named, do: with({:replicated, named} <- Config.get(:actors), do: named, else: (_other -> []))

  @doc """
  Has another node's voter lead, if this one's does: this node is about to stop, and what others write would wait until they miss it. Returns when
  another leads, or can't.
  """
  @spec give_up_lead :: :ok
  def give_up_lead do
    with {:ok, voter} <- voter() do
      monitor = Process.monitor(__MODULE__)
      id = Native.voter_give_up_lead(voter, @lead_ms)

      receive do
        {:tidepool_lead, ^id} -> :ok
        {:DOWN, ^monitor, :process, _voter, _reason} -> :ok
      after
        2 * @lead_ms -> :ok
      end

      Process.demonitor(monitor, [:flush])
    end

    :ok
  end

  @doc "The folder of a node's voter."
  @spec folder(data :: Path.t()) :: Path.t()
  def folder(data), do: Path.join([data, "actors", "replicated"])

  @doc "The file in a voter's folder that says why what is in it is not what the others have."
  @spec refused(folder :: Path.t()) :: Path.t()
  def refused(folder), do: Path.join(folder, "refused")

  @doc """
  Why what is in a voter's folder is not what the others have, as its node has heard last, whether it runs or not: they refuse it, or it is no
  member's. `nil` when it is.
  """
  @spec refusal(folder :: Path.t()) :: String.t() | nil
  def refusal(folder) do
    case File.read(refused(folder)) do
      {:ok, why} -> why
      {:error, _none} -> nil
    end
  end

  @impl true
  def init({named, data}) do
    :ets.new(__MODULE__, [:named_table, :protected, read_concurrency: true])
    folder = data |> Store.folder() |> folder()
    clear(folder)
    Process.send_after(self(), :members, @members_ms)

    {:ok,
     open(%{
       named: Company.named(folder, own(), named),
       folder: folder,
       there?: File.exists?(folder),
       voter: nil,
       said: nil,
       refusal: refusal(folder),
       asking: %{},
       reaching: %{}
     })}
  end

  # An import that was ended on its way has left it, and no other is made while this node has the data folder.
  defp clear(folder) do
    left = folder <> ".import"

    case File.rm_rf(left) do
      {:ok, []} ->
        :ok

      {:ok, _removed} ->
        Logger.warning("an import of actors was ended on its way, and #{left}, which it left, is removed")

      {:error, posix, path} ->
        Logger.warning("can't remove #{path}, which an import has left: #{:file.format_error(posix)}")
    end
  end

  @impl true
  def handle_info(:look, %{voter: nil} = state), do: {:noreply, open(state)}
  def handle_info(:look, state), do: {:noreply, state.voter |> Native.voter_standing() |> stands(state)}

  # The answer comes as a message, if it does.
  def handle_info(:members, state) do
    Process.send_after(self(), :members, @members_ms)
    if state.voter, do: Native.voter_members(state.voter, @members_ms)
    {:noreply, state}
  end

  def handle_info({:tidepool_members, _id, {:ok, members}}, state) do
    names = Enum.map(members, &elem(&1, 0))
    Company.note(state.folder, own(), names)
    # The voter that leads tells members alone.
    {:noreply, if(own() in names, do: note(state, nil), else: state)}
  end

  def handle_info({:tidepool_voter, id, name, question, within_ms}, %{voter: voter} = state) when voter != nil do
    asking = Map.update(state.asking, name, 1, &(&1 + 1))

    if asking[name] > @on_their_way do
      Native.voter_answered(voter, id, {:error, "#{name} answers nothing at the moment"})
      {:noreply, state}
    else
      me = self()
      # It ends with this one, and keeps no voter.
      spawn_link(fn -> send(me, {:asked, name, id, asked(name, question, within_ms)}) end)
      {:noreply, reach(name, %{state | asking: asking})}
    end
  end

  def handle_info({:asked, name, id, answer}, %{voter: voter} = state) do
    Native.voter_answered(voter, id, answer)
    {:noreply, %{state | asking: Map.update!(state.asking, name, &(&1 - 1))}}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state),
    do:
      {:noreply, %{state | reaching: for({name, other} <- state.reaching, other != pid, into: %{}, do: {name, other})}}

  def handle_info(:again, state), do: {:stop, {:shutdown, :ended}, state}
  def handle_info(_other, state), do: {:noreply, state}

  defp stands(:member, state) do
    if state.said, do: Logger.warning("this node keeps actors with others")
    mark(nil)
    # By its own log. It may have been removed since, and reach none of those that know: the one that leads is asked.
    if state.refusal, do: Native.voter_members(state.voter, @pause_ms)
    look(%{state | said: nil})
  end

  # As most do for a moment when they start.
  defp stands({:catching_up, _why}, state) do
    mark(:catching_up)
    look(state)
  end

  # Those that begin find each other within a second or so, or are waited for.
  defp stands({:waiting, why}, state) do
    mark(nil)
    state |> say(:warning, "waits for its actors: #{why}") |> look()
  end

  defp stands({:outside, why}, state) do
    mark(:outside)

    state
    |> say(:warning, "keeps no actors, and passes calls of them on to the nodes that do: #{why}")
    |> note(why)
    |> look()
  end

  defp stands({:full, why}, state) do
    mark(:stopped)
    state |> say(:error, "writes nothing of actors: #{why} (#{state.folder})") |> look()
  end

  defp stands({:refused, why}, state) do
    mark(:stopped)
    state |> say(:error, "has no actors: #{why}") |> note(why) |> look()
  end

  defp stands({:stopped, why}, state) do
    mark(:stopped)
    Process.send_after(self(), :again, @again_ms)
    say(state, :error, "writes nothing of actors: #{why} (#{state.folder})")
  end

  # What is true of this node's voter, of what others ask; the new one is there before the old one goes.
  defp mark(mark) do
    if mark, do: :ets.insert(__MODULE__, {mark})
    for other <- [:stopped, :catching_up, :outside], other != mark, do: :ets.delete(__MODULE__, other)
    :ok
  end

  # So that what is here is not taken for what the others have, when it is exported.
  defp note(%{refusal: why} = state, why), do: state

  defp note(state, why) do
    file = refused(state.folder)

    # If it can't be noted it is tried again.
    case if(why, do: Company.replace(file, why), else: File.rm(file)) do
      :ok -> %{state | refusal: why}
      {:error, :enoent} when why == nil -> %{state | refusal: nil}
      {:error, _posix} -> state
    end
  end

  # Once, however often it is looked at.
  defp say(%{said: said} = state, _level, said), do: state

  defp say(state, level, what) do
    Logger.log(level, "this node #{what}")
    %{state | said: what}
  end

  defp look(state) do
    Process.send_after(self(), :look, @pause_ms)
    state
  end

  defp own, do: to_string(node())

  # The cluster has links with some of its nodes; voters have them with all of their group. One that is not there takes its time.
  defp reach(name, state) do
    if is_map_key(state.reaching, name) or not Nodes.known?(name) or kept?(name) do
      state
    else
      {pid, _monitor} = spawn_monitor(fn -> Nodes.reach(Nodes.number(name)) end)
      put_in(state.reaching[name], pid)
    end
  end

  defp kept?(name) do
    node = existing(name)
    node != nil and Nodes.linked?(node) and Nodes.held?(name)
  end

  defp asked(name, question, within_ms) do
    node = existing(name)

    # The cluster makes the links: to ask would make one that is not hidden.
    case if(node && Nodes.linked?(node),
           do: Ask.ask(Speech.protocol(), node, question, within_ms),
           else: {:error, :lost}
         ) do
      {:ok, answer} when is_binary(answer) -> {:ok, answer}
      {:ok, :busy} -> {:error, "#{name} has too much to answer at the moment"}
      {:ok, :full} -> {:error, "there is no room on the disk of #{name}: make some, and it goes on by itself"}
      {:ok, _not_open} -> {:error, "#{name} has not opened what it keeps of actors: its log says why"}
      {:error, :gone} -> {:error, "#{name} does not keep actors with others: see its setting actors"}
      {:error, :lost} -> {:error, "#{name} is not to be reached: start it, or see to the network between the nodes"}
      {:error, :timeout} -> {:error, "#{name} has not answered: see whether it stands still"}
      # As words that can't be read: the voter says so, and takes it that the others may write on without it.
      {:error, :unknown_version} -> {:ok, ""}
    end
  end

  # A node that is linked has a name here. Others leave none behind.
  defp existing(name) do
    String.to_existing_atom(name)
  rescue
    ArgumentError -> nil
  end

  defp open(state) do
    with :ok <- Store.place(state.folder, state.folder, state.there?),
         {:ok, voter} <- Native.open_voter(state.folder, own(), state.named) do
      :ets.insert(__MODULE__, {:voter, voter})
      # At once, before it is asked how this node is.
      if match?({:catching_up, _why}, Native.voter_standing(voter)), do: mark(:catching_up)
      look(%{state | voter: voter, there?: true})
    else
      {:error, posix} -> unopened(state, posix, to_string(:file.format_error(posix)))
      {:error, kind, message} -> unopened(state, kind, message)
    end
  end

  defp unopened(state, kind, why) do
    mark(:stopped)
    if kind in [:full, :enospc], do: :ets.insert(__MODULE__, {:full}), else: :ets.delete(__MODULE__, :full)
    state |> say(:error, "can't open what it keeps of actors: #{why} (#{state.folder})") |> look()
  end
end
