defmodule Tidepool.Actor.Replication.Membership do
  @moduledoc """
  Which nodes of a cluster without a shared store have actors, whose shards are whose, and when anti-entropy runs: a pure state machine,
  events in, effects out. `Tidepool.Actor.Replication.Ring` drives it.

  Of the nodes that are *there*, as this one knows it, each shard is the first's in its rendezvous order. So both sides of a network that is
  parted have all actors, and nodes that meet again, or come, take their share at once.

  Nothing is done before there is such a class, here or on another node. A node is there for another when it has said `:hello` to it, until
  its process or the link is gone; each answers a hello with its own. A node that starts says hello when it knows what is deployed and has
  most of that, and owns nothing before the nodes that it knows have answered.

  A node is *synced* when it has sent all that it has of actors (`Tidepool.Actor.Replication.AntiEntropy`) to the nodes that are there, and
  to no other: it says `{:synced, ids}` then, with the ids of those, its own included. Until then a process that activates an actor asks it first.
  So when a node is lost, the next owner of its actors asks all others for those: its own copies may be behind theirs.

  What a node said of that before another was lost may be of before that one came, and tell nothing of what it has written since. So a node
  that loses one doubts all others: it sends each a `{:ping, n}`, and heeds what they say after their `{:pong, n}`. A node that has gone round
  since its last change says it again then. A round in which a node came or went is told to no node, for the next one is due. Older nodes
  do not answer pings, and are believed.

  An *id* is of one start of a node's process: two starts of a node have nothing in common.

  ## Events

    * `:tick`, some times a second
    * `:deployed`: a class whose actors have copies
    * `{:told, name, id, what}`: a node's process says `:hello`, `{:synced, ids}`, `:leaving`, `{:ping, n}` or `{:pong, n}`
    * `{:down, name, id}`: that process, or the link to its node, is gone
    * `{:asks, name}`: a node asks for a copy
    * `{:stores, found}`: the answer to the effect `:ask_stores`: nodes that share a store, or `nil`
    * `{:behind, actors}`: the answer to the effect `:backlog`
    * `{:round, outcome}`: a round has ended, `{:done, names}` of those that have all by then, `:aborted`, or `{:failed, reason}`
    * `:stop`: the node ends

  ## Effects, to be done in order

    * `{:tell, name, what}`: to that node's process; `{:watch, name, id}`, `{:unwatch, name, id}`: for `:down`
    * `{:hold, name}`, `{:link, name}`: a link that there is is kept; one is made
    * `{:nodes, names}`, `{:unsynced, names}`: for `Tidepool.Actor.Ownership.Shards`
    * `{:own, names}`: each shard is the first's of these in its order
    * `{:ask_stores, names}`; `{:found_stores, found}`: what is known of other stores
    * `{:begin_round, what, names}`, where `what` is `:modules`, `:all`, `:tidy`, `:purge` or `{:missed, actors}`; `:abort_round`
    * `{:backlog, :new | :all}`: which actors are known to be behind
    * `:owe`: all actors are to be offered to other nodes; `:hurry`: modules are looked for at once
    * `{:hand_over, names}`: this node's actors sleep, and these nodes get what they should have
    * `{:warn, text}`
  """

  # How long a node that starts waits for what others have deployed, and then for them.
  @arrive_ms 15_000
  @meet_ms 2_000
  # After a round in which a node could not be told, and in which one had no room; and after which time without a node that comes or goes, for what is
  # not this node's any more.
  @again_ms 3_000
  @full_ms 30_000
  @tidy_ms 60_000
  # How often tombstones are looked through for old ones, whatever else happens.
  @purge_ms 3_600_000

  @enforce_keys [:me, :id, :begins]
  defstruct @enforce_keys ++
              [
                # :starts, {:meets, until}, :asks, :there
                stage: :starts,
                # Is there a class, or another node that has one?
                wanted?: false,
                # Other nodes, by their names. `synced` are the ids of those with whom it was, the last time; `awaits` is the ping that it has
                # not answered, and `answers?` says that it answers any.
                peers: %{},
                pings: 0,
                # How often a node came or went; what was said after the last round, and to which nodes, unless one
                # did since it began.
                changes: 0,
                said: nil,
                # What goes round, the ids of those with whom, and after how many changes; when the next round is due, and whether one has
                # tidied up since.
                round: nil,
                due: nil,
                changed_at: 0,
                tidied?: false,
                purged_at: nil,
                # When what was missed is looked at next, and when what was offered in vain.
                catches_up_at: nil,
                retries_at: nil,
                # Of the event that is being handled, the last first.
                effects: []
              ]

  @opaque t :: %__MODULE__{}
  @type name :: String.t()
  @type id :: term
  @type actors :: [{class :: String.t(), name :: String.t()}] | :all
  @type what :: :hello | {:synced, [id]} | :leaving | {:ping | :pong, pos_integer}
  @type event ::
          :tick
          | :deployed
          | {:told, name, id, what | (of_a_later_version :: term)}
          | {:down, name, id}
          | {:asks, name}
          | {:stores, term}
          | {:behind, actors}
          | {:round, {:done, [name]} | :aborted | {:failed, reason :: term}}
          | :stop
  @type effect ::
          {:tell, name, what}
          | {:watch | :unwatch, name, id}
          | {:hold | :link, name}
          | {:nodes | :unsynced | :own | :ask_stores | :hand_over, [name]}
          | {:found_stores, term}
          | {:begin_round, :modules | :all | :tidy | :purge | {:missed, actors}, [name]}
          | :abort_round
          | {:backlog, :new | :all}
          | :owe
          | :hurry
          | {:warn, String.t()}

  @typedoc """
  What the node is to know at an event: the time, in ms; its own name and whether it has one by which it can be linked with; whether entries
  of other nodes are still to come (`joining?`) or their modules (`arriving?`); the names of other nodes that it knows, and that it is linked
  with; whether there are links to nodes that it does not know; which peers have no room; and whether modules are to be looked for now.
  """
  @type view :: %{
          now: integer,
          me: name,
          alive?: boolean,
          joining?: boolean,
          arriving?: boolean,
          known: [name],
          linked: [name],
          strangers?: boolean,
          full: [name],
          modules?: boolean
        }

  @doc "A node that starts, with this id."
  @spec new(name, id, now :: integer, wanted? :: boolean) :: t
  def new(me, id, now, wanted?), do: %__MODULE__{me: me, id: id, begins: now + @arrive_ms, wanted?: wanted?}

  @doc "The names of the nodes whose processes are known."
  @spec peers(t) :: [name]
  def peers(state), do: Map.keys(state.peers)

  @doc "The names of those that are there, this one's first."
  @spec there(t) :: [name]
  def there(state), do: [state.me | for({name, %{leaving?: false}} <- state.peers, do: name)]

  @doc "Names of nodes that may have more of actors than this one has been sent."
  @spec unsynced(t) :: [name]
  # One that is lost may have been sent what this node has not: a node that counted on it then has to send to the others again.
  def unsynced(state) do
    ids = ids(state)
    for {name, %{synced: synced}} <- state.peers, synced == nil or synced -- ids != [], do: name
  end

  @doc "Has the node its shards, and is no round under way or due?"
  @spec settled?(t) :: boolean
  def settled?(state), do: state.stage == :there and state.round == nil and state.due == nil

  defp ids(state), do: [state.id | for({_name, %{leaving?: false, id: id}} <- state.peers, do: id)]

  @doc "What an event makes of a node, and what is to be done."
  @spec handle(t, event, view) :: {[effect], t}
  def handle(state, event, view) do
    state = on(event, state, view)
    {Enum.reverse(state.effects), %{state | effects: []}}
  end

  defp on(:tick, state, view), do: state |> renamed(view) |> begun(view) |> meet(view) |> go_round(view)

  # There may be more copies than before.
  defp on(:deployed, state, view), do: %{state | wanted?: true} |> owing(view) |> begun(view) |> meet(view)

  defp on({:told, name, id, what}, state, view) do
    state = %{state | wanted?: true}
    if state.stage == :starts, do: state, else: told(what, name, id, state, view)
  end

  defp on({:down, name, id}, state, view) do
    case state.peers do
      %{^name => %{id: ^id}} -> %{state | peers: Map.delete(state.peers, name)} |> doubted() |> changed(view)
      _another -> state
    end
  end

  defp on({:asks, name}, state, view) do
    if name in view.known and state.stage != :starts and not is_map_key(state.peers, name),
      do: emit(state, {:tell, name, :hello}),
      else: state
  end

  defp on({:stores, {_how, _names} = found}, %{stage: :asks} = state, view),
    do: emit(%{state | stage: {:meets, view.now + @meet_ms}}, {:found_stores, found})

  defp on({:stores, nil}, %{stage: :asks} = state, view), do: arrived(state, view)
  defp on({:stores, _found}, state, _view), do: state

  defp on({:behind, []}, state, _view), do: state
  defp on({:behind, :all}, state, view), do: %{state | due: state.due || view.now}
  defp on({:behind, _actors}, %{round: round} = state, _view) when round != nil, do: state
  defp on({:behind, actors}, state, _view), do: begin_round(state, {:missed, actors})

  defp on({:round, outcome}, %{round: {what, ids, changes}} = state, view) do
    state = %{state | round: nil}
    round_over(what, outcome, if(changes == state.changes, do: ids), state, view)
  end

  defp on({:round, _outcome}, state, _view), do: state

  defp on(:stop, state, _view) do
    peers = for {name, %{leaving?: false}} <- state.peers, do: name
    state = Enum.reduce(peers, state, &emit(&2, {:tell, &1, :leaving}))

    if peers != [] and state.stage == :there do
      ids = for {_name, %{leaving?: false, id: id}} <- state.peers, do: id
      state = emit(state, {:hand_over, peers})
      Enum.reduce(peers, state, &emit(&2, {:tell, &1, {:synced, ids}}))
    else
      state
    end
  end

  defp emit(state, effect), do: %{state | effects: [effect | state.effects]}

  # --- Who is there ---------------------------------------------------------------------------------

  defp told(:hello, name, id, state, view) do
    case state.peers do
      %{^name => %{id: ^id}} ->
        state

      # It has started again, and that the one before is gone is not told any more.
      %{^name => %{id: before}} ->
        state = emit(%{state | peers: Map.delete(state.peers, name)}, {:unwatch, name, before})
        state |> doubted() |> met(name, id, view)

      _not_known ->
        met(state, name, id, view)
    end
  end

  defp told({:synced, [_ | _] = ids}, name, id, state, _view) do
    # What it said before it has answered is of before.
    with %{peers: %{^name => %{id: ^id} = peer}} when not peer.answers? or peer.awaits == nil <- state do
      state = put_in(state.peers[name].synced, ids)
      emit(state, {:unsynced, unsynced(state)})
    end
  end

  # No other node has the last of its actors until it has sent them.
  defp told(:leaving, name, id, state, view) do
    with %{peers: %{^name => %{id: ^id} = peer}} <- state,
         do: changed(put_in(state.peers[name], %{peer | leaving?: true, synced: nil}), view)
  end

  defp told({:ping, n}, name, id, state, _view) when is_integer(n) do
    with %{peers: %{^name => %{id: ^id}}} <- state do
      state = emit(state, {:tell, name, {:pong, n}})
      # Unless it is about to be said anyway.
      with {ids, names} <- state.said,
           true <- name in names,
           do: emit(state, {:tell, name, {:synced, ids}}),
           else: (_to_be_said -> state)
    end
  end

  defp told({:pong, n}, name, id, state, _view) do
    with %{peers: %{^name => %{id: ^id, awaits: ^n} = peer}} <- state,
         do: put_in(state.peers[name], %{peer | awaits: nil, answers?: true})
  end

  defp told(_of_a_later_version, _name, _id, state, _view), do: state

  defp met(state, name, id, view) do
    peer = %{id: id, synced: nil, leaving?: false, awaits: nil, answers?: false}
    state = state |> emit({:tell, name, :hello}) |> emit({:watch, name, id})
    %{state | peers: Map.put(state.peers, name, peer)} |> ping(name) |> changed(view)
  end

  defp doubted(state) do
    for {name, peer} <- state.peers, reduce: state do
      state -> put_in(state.peers[name], %{peer | synced: nil}) |> ping(name)
    end
  end

  defp ping(%{pings: before} = state, name) do
    state = put_in(state.peers[name].awaits, before + 1)
    emit(%{state | pings: before + 1}, {:tell, name, {:ping, before + 1}})
  end

  defp renamed(%{me: me} = state, %{me: me}), do: state

  defp renamed(state, view),
    do: changed(%{state | me: view.me, stage: :starts, begins: view.now + @arrive_ms}, view)

  defp begun(%{wanted?: false} = state, _view), do: state

  defp begun(%{stage: :starts} = state, view) do
    if not view.alive? or view.joining? or (view.arriving? and view.now < state.begins),
      do: state,
      else: %{state | stage: {:meets, view.now + @meet_ms}}
  end

  defp begun(%{stage: {:meets, until}} = state, view) do
    missing = Enum.reject(view.known, &is_map_key(state.peers, &1))
    linked? = view.known != [] or not view.strangers?

    cond do
      missing == [] and linked? -> arrived(state, view)
      view.now <= until -> state
      # Those who don't answer may have actors in a store that they share.
      true -> emit(%{state | stage: :asks}, {:ask_stores, missing})
    end
  end

  defp begun(state, _view), do: state

  defp arrived(state, view), do: %{state | stage: :there} |> emit({:found_stores, nil}) |> changed(view)

  # All that are known and have not answered.
  defp meet(%{stage: :starts} = state, _view), do: state

  defp meet(state, view) do
    for name <- view.known, not is_map_key(state.peers, name), reduce: state do
      state ->
        if name in view.linked,
          do: state |> emit({:hold, name}) |> emit({:tell, name, :hello}),
          else: emit(state, {:link, name})
    end
  end

  defp changed(state, view) do
    state = %{state | changes: state.changes + 1, said: nil}
    state = state |> emit({:unsynced, unsynced(state)}) |> emit({:nodes, there(state)})
    state = if state.stage == :there, do: emit(state, {:own, there(state)}), else: state
    state = if match?({{:missed, _actors}, _ids, _changes}, state.round), do: emit(state, :abort_round), else: state
    state |> emit(:hurry) |> owing(view)
  end

  defp owing(state, view) do
    state = if state.wanted?, do: emit(state, :owe), else: state
    %{state | due: view.now, changed_at: view.now, tidied?: false}
  end

  # --- Rounds ---------------------------------------------------------------------------------------

  defp go_round(%{stage: :there, round: nil} = state, %{now: now} = view) do
    others? = state.peers != %{}

    cond do
      others? and view.modules? ->
        begin_round(state, :modules)

      state.due != nil and now >= state.due ->
        begin_round(%{state | due: nil}, :all)

      others? and not state.tidied? and now - state.changed_at > @tidy_ms ->
        begin_round(%{state | tidied?: true}, :tidy)

      now - (state.purged_at || state.changed_at) > @purge_ms ->
        begin_round(%{state | purged_at: now}, :purge)

      others? and now >= (state.catches_up_at || now) ->
        # What a node has no room for stays missed, and is not offered all the time.
        at = if full?(state, view), do: now + @again_ms, else: now
        again? = now >= (state.retries_at || now)
        state = if again?, do: %{state | retries_at: now + @again_ms}, else: state
        emit(%{state | catches_up_at: at}, {:backlog, if(again?, do: :all, else: :new)})

      true ->
        state
    end
  end

  defp go_round(state, _view), do: state

  defp begin_round(state, what),
    do: emit(%{state | round: {what, ids(state), state.changes}}, {:begin_round, what, there(state)})

  # Those who have all of it need not be asked again by who activates an actor.
  defp round_over(what, {:done, synced}, ids, state, view) when what in [:all, :tidy] do
    # Who came or went meanwhile was sent nothing.
    state =
      for name <- synced, ids != nil, reduce: %{state | said: ids && {ids, synced}} do
        state -> emit(state, {:tell, name, {:synced, ids}})
      end

    if Enum.all?(there(state), &(&1 == state.me or &1 in synced)), do: state, else: again(state, view)
  end

  defp round_over(_what, {:done, _names}, _ids, state, _view), do: state
  # All are looked through instead.
  defp round_over({:missed, _actors}, :aborted, _ids, state, view), do: %{state | due: view.now}

  defp round_over(_what, outcome, _ids, state, view) do
    text = "copies of actors could not be looked through, which is done again: #{inspect(outcome)}"
    state |> emit({:warn, text}) |> again(view)
  end

  defp again(state, view) do
    at = view.now + if(full?(state, view), do: @full_ms, else: @again_ms)
    %{state | due: min(state.due || at, at)}
  end

  defp full?(state, view), do: Enum.any?(Map.keys(state.peers), &(&1 in view.full))
end
