defmodule Tidepool.Cluster.Gossip.Membership do
  @moduledoc """
  Which nodes a node is linked with: a few, chosen so that all nodes together stay connected. A pure state machine.

  The *active view* are the peers that this node exchanges messages with, over links of distributed Erlang; it is bounded,
  and symmetric once things are quiet. The *passive view* are nodes to try when an active one is lost; it is kept fresh by
  shuffling with others. A cluster no larger than the active view and one becomes fully connected.

  Links are made and dropped by the caller, on the effects `{:connect, node}` and `{:disconnect, node}`; it tells with
  `{:up, node}`, `{:down, node}` and `{:failed, node}` what became of them. A link that comes up unasked is used if there is
  room. There is no failure detector but the VM's.

  Nodes that were found by discovery, and nodes that are known and not reachable (`{:lost, nodes}`), are tried for ever: with
  growing pauses that are random by half, up to a second for each four reachable nodes, so that the attempts of a whole
  cluster at a dead node stay a few each second, whatever its size.

  Time is counted in ticks. After Leitão, Pereira and Rodrigues, "HyParView: a membership protocol for reliable gossip-based
  broadcast" (DSN 2007), with these differences: a forwarded join is accepted by every node with room, not only by one with a
  single peer; the answer to a shuffle goes back on the path that it came, since there are no links to strangers.
  """

  @join_ttl 6
  @passive_ttl 3
  @shuffle_ttl 4
  @shuffle_active 3
  @shuffle_passive 4

  @enforce_keys [:node, :random, :active_size, :passive_size, :shuffle_ticks, :patience_ticks, :second_ticks]
  defstruct @enforce_keys ++
              [
                active: MapSet.new(),
                passive: MapSet.new(),
                links: MapSet.new(),
                asked: %{},
                leaving: %{},
                found: MapSet.new(),
                lost: [],
                live: 1,
                unlinked: MapSet.new(),
                retries: %{},
                refill_pause: 0,
                refill_at: 0,
                tick: 0
              ]

  @type peer :: String.t()
  @type message ::
          :join
          | {:forward_join, peer, ttl :: non_neg_integer}
          | {:neighbor, :high | :low}
          | {:neighbor_reply, boolean}
          | :disconnect
          | {:shuffle, path :: [peer], ttl :: non_neg_integer, sample :: [peer]}
          | {:shuffle_reply, path :: [peer], sample :: [peer]}
  @type event ::
          {:up, peer}
          | {:down, peer}
          | {:failed, peer}
          | {:found, [peer]}
          | {:lost, [peer], live :: [peer]}
          | {:contact, peer}
          | {:message, peer, message}
          | :tick
  @type effect :: {:send, peer, message} | {:connect, peer} | {:disconnect, peer}
  @type t :: %__MODULE__{}

  @doc """
  A node without peers. Options: `:active_size`, `:passive_size`, `:shuffle_ticks`, `:patience_ticks` (how long a request
  may be without an answer), `:second_ticks` (ticks in a second), `:seed`.
  """
  @spec new(peer, keyword) :: t
  def new(node, options) do
    %__MODULE__{
      node: node,
      random: :rand.seed_s(:exsss, Keyword.fetch!(options, :seed)),
      active_size: Keyword.get(options, :active_size, 5),
      passive_size: Keyword.get(options, :passive_size, 30),
      shuffle_ticks: Keyword.get(options, :shuffle_ticks, 40),
      patience_ticks: Keyword.get(options, :patience_ticks, 20),
      second_ticks: Keyword.get(options, :second_ticks, 4)
    }
  end

  @doc "The active view."
  @spec active(t) :: [peer]
  def active(state), do: MapSet.to_list(state.active)

  @doc "Is this node in the active view?"
  @spec active?(t, peer) :: boolean
  def active?(state, peer), do: MapSet.member?(state.active, peer)

  @doc "The passive view."
  @spec passive(t) :: [peer]
  def passive(state), do: MapSet.to_list(state.passive)

  @doc "What an event leads to. Effects are in the order in which they have to be done."
  @spec handle(t, event) :: {t, [effect]}
  def handle(state, event) do
    {state, effects} = on(event, state)
    {state, Enum.reverse(effects)}
  end

  defp on({:up, peer}, state) do
    state = %{state | links: MapSet.put(state.links, peer), retries: Map.delete(state.retries, peer)}

    case state.asked do
      %{^peer => {request, _since}} -> {state, [{:send, peer, request}]}
      _not_asked -> if room?(state), do: ask(state, peer, {:neighbor, :low}, []), else: {state, []}
    end
  end

  defp on({:down, peer}, state) do
    state = %{
      state
      | links: MapSet.delete(state.links, peer),
        active: MapSet.delete(state.active, peer),
        asked: Map.delete(state.asked, peer),
        leaving: Map.delete(state.leaving, peer)
    }

    state |> eager() |> refill([])
  end

  defp on({:failed, peer}, state) do
    {%{state | asked: Map.delete(state.asked, peer), passive: MapSet.delete(state.passive, peer)}, []}
  end

  defp on({:found, peers}, state) do
    {%{state | found: peers |> MapSet.new() |> MapSet.delete(state.node)}, []}
  end

  defp on({:lost, peers, live}, state) do
    state = Enum.reduce(live, state, &add_passive(&2, &1))
    retries = Map.take(state.retries, peers ++ MapSet.to_list(state.found))
    {%{state | lost: peers -- [state.node], live: max(length(live), 1), retries: retries}, []}
  end

  # A peer that behaves as if it were in the active view, and is not: a message about that was lost.
  defp on({:contact, peer}, state) do
    cond do
      MapSet.member?(state.active, peer) -> {state, []}
      room?(state) -> add_active(state, peer, [{:send, peer, {:neighbor_reply, true}}])
      true -> {state, [{:send, peer, :disconnect}]}
    end
  end

  defp on({:message, from, message}, state), do: receive_message(message, from, state)

  defp on(:tick, state) do
    %{state | tick: state.tick + 1}
    |> give_up([])
    |> then(fn {state, effects} -> drop_unlinked(state, effects) end)
    |> then(fn {state, effects} -> part(state, effects) end)
    |> then(fn {state, effects} -> shuffle(state, effects) end)
    |> then(fn {state, effects} -> refill(state, effects) end)
    |> then(fn {state, effects} -> retry(state, effects) end)
  end

  defp receive_message(:join, from, state) do
    {state, effects} = add_active(state, from, [{:send, from, {:neighbor_reply, true}}])
    others = MapSet.delete(state.active, from)
    {state, for(peer <- others, do: {:send, peer, {:forward_join, from, @join_ttl}}) ++ effects}
  end

  defp receive_message({:forward_join, peer, ttl}, from, state) do
    others = state.active |> MapSet.delete(from) |> MapSet.delete(peer) |> MapSet.to_list()

    cond do
      peer == state.node or MapSet.member?(state.active, peer) ->
        {state, []}

      ttl == 0 or others == [] or room?(state) ->
        ask(state, peer, {:neighbor, :high}, [])

      true ->
        state = if ttl == @passive_ttl, do: add_passive(state, peer), else: state
        {next, state} = pick(state, others)
        {state, [{:send, next, {:forward_join, peer, ttl - 1}}]}
    end
  end

  defp receive_message({:neighbor, priority}, from, state) do
    if priority == :high or room?(state) or MapSet.member?(state.active, from),
      do: add_active(state, from, [{:send, from, {:neighbor_reply, true}}]),
      else: {state, [{:send, from, {:neighbor_reply, false}}]}
  end

  defp receive_message({:neighbor_reply, true}, from, state) do
    if Map.has_key?(state.asked, from) or room?(state) or MapSet.member?(state.active, from),
      do: add_active(state, from, []),
      else: {state, [{:send, from, :disconnect}]}
  end

  defp receive_message({:neighbor_reply, false}, from, state) do
    {asked, state} = pop_in(state.asked[from])
    effects = if asked && not MapSet.member?(state.active, from), do: [{:disconnect, from}], else: []
    {state |> add_passive(from) |> patient(), effects}
  end

  # The one that is told so drops the link: it has read what was sent before.
  defp receive_message(:disconnect, from, state) do
    state = %{state | active: MapSet.delete(state.active, from), asked: Map.delete(state.asked, from)}
    state |> add_passive(from) |> eager() |> refill([{:disconnect, from}], from)
  end

  defp receive_message({:shuffle, path, ttl, sample}, from, state) do
    others = Enum.reject(MapSet.to_list(state.active), &(&1 == from or &1 in path))

    if ttl > 0 and others != [] and MapSet.size(state.active) > 1 do
      {next, state} = pick(state, others)
      {state, [{:send, next, {:shuffle, [state.node | path], ttl - 1, sample}}]}
    else
      {answer, state} = sample(state, MapSet.to_list(state.passive), length(sample))
      effects = answer_shuffle(path, answer)
      {Enum.reduce(sample, state, &add_passive(&2, &1)), effects}
    end
  end

  defp receive_message({:shuffle_reply, [], sample}, _from, state),
    do: {Enum.reduce(sample, state, &add_passive(&2, &1)), []}

  defp receive_message({:shuffle_reply, path, sample}, _from, state), do: {state, answer_shuffle(path, sample, state)}

  defp answer_shuffle([next | path], sample), do: [{:send, next, {:shuffle_reply, path, sample}}]

  defp answer_shuffle([next | _rest] = path, sample, state) do
    if MapSet.member?(state.links, next), do: answer_shuffle(path, sample), else: []
  end

  defp add_active(state, peer, effects) do
    {state, effects} =
      if room?(state) or MapSet.member?(state.active, peer), do: {state, effects}, else: evict(state, effects)

    state = %{
      state
      | active: MapSet.put(state.active, peer),
        passive: MapSet.delete(state.passive, peer),
        asked: Map.delete(state.asked, peer),
        leaving: Map.delete(state.leaving, peer)
    }

    {state, effects}
  end

  defp evict(state, effects) do
    {peer, state} = pick(state, MapSet.to_list(state.active))
    leaving = Map.put(state.leaving, peer, state.tick)
    state = add_passive(%{state | active: MapSet.delete(state.active, peer), leaving: leaving}, peer)
    {state, [{:send, peer, :disconnect} | effects]}
  end

  defp add_passive(state, peer) do
    cond do
      peer == state.node or MapSet.member?(state.active, peer) or MapSet.member?(state.passive, peer) ->
        state

      MapSet.size(state.passive) < state.passive_size ->
        %{state | passive: MapSet.put(state.passive, peer)}

      true ->
        {old, state} = pick(state, MapSet.to_list(state.passive))
        %{state | passive: state.passive |> MapSet.delete(old) |> MapSet.put(peer)}
    end
  end

  # Asks a node to be a peer; if there is no link yet, for one first.
  defp ask(state, peer, request, effects) do
    linked? = MapSet.member?(state.links, peer)
    state = put_in(state.asked[peer], {request, state.tick})
    {state, [if(linked?, do: {:send, peer, request}, else: {:connect, peer}) | effects]}
  end

  defp refill(state, effects, except \\ nil) do
    if MapSet.size(state.active) + map_size(state.asked) < state.active_size and state.tick >= state.refill_at do
      candidates =
        Enum.reject(MapSet.to_list(state.passive), fn peer ->
          peer == except or Map.has_key?(state.asked, peer) or Map.has_key?(state.leaving, peer)
        end)

      if candidates == [] do
        {state, effects}
      else
        {peer, state} = pick(state, candidates)
        ask(state, peer, {:neighbor, if(MapSet.size(state.active) == 0, do: :high, else: :low)}, effects)
      end
    else
      {state, effects}
    end
  end

  # When others have no room either there is no hurry; a lost peer is replaced at once.
  defp eager(state), do: %{state | refill_pause: 0, refill_at: 0}

  defp patient(state) do
    pause = min(max(2 * state.refill_pause, 1), state.shuffle_ticks)
    {due, state} = later(state, pause)
    %{state | refill_pause: pause, refill_at: due}
  end

  # The tick after about so many, half as many more or less at random.
  defp later(state, pause) do
    {share, random} = :rand.uniform_s(state.random)
    {state.tick + max(1, round(pause * (0.5 + share))), %{state | random: random}}
  end

  # Requests that nobody answered.
  defp give_up(state, effects) do
    late = for {peer, {_request, since}} <- state.asked, state.tick - since > state.patience_ticks, do: peer
    passive = MapSet.difference(state.passive, MapSet.new(late))
    unused = for peer <- late, MapSet.member?(state.links, peer), not MapSet.member?(state.active, peer), do: peer
    {%{state | asked: Map.drop(state.asked, late), passive: passive}, Enum.map(unused, &{:disconnect, &1}) ++ effects}
  end

  # A message can be read just before the news that its link is up, or after the news that it is down: a peer that has
  # no link for longer is none.
  defp drop_unlinked(state, effects) do
    unlinked = MapSet.difference(state.active, state.links)
    gone = MapSet.intersection(unlinked, state.unlinked)
    {%{state | active: MapSet.difference(state.active, gone), unlinked: MapSet.difference(unlinked, gone)}, effects}
  end

  # Links to peers that were asked to drop them, and did not.
  defp part(state, effects) do
    late = for {peer, since} <- state.leaving, state.tick - since > state.patience_ticks, do: peer
    {%{state | leaving: Map.drop(state.leaving, late)}, Enum.map(late, &{:disconnect, &1}) ++ effects}
  end

  defp shuffle(state, effects) do
    if rem(state.tick, state.shuffle_ticks) == 0 and MapSet.size(state.active) > 0 do
      active = MapSet.to_list(state.active)
      {peer, state} = pick(state, active)
      {some_active, state} = sample(state, active -- [peer], @shuffle_active)
      {some_passive, state} = sample(state, MapSet.to_list(state.passive), @shuffle_passive)
      message = {:shuffle, [state.node], @shuffle_ttl, [state.node | some_active ++ some_passive]}
      {state, [{:send, peer, message} | effects]}
    else
      {state, effects}
    end
  end

  # One attempt in each tick, at one of the nodes that are not reachable and whose pause is over.
  defp retry(state, effects) do
    found = if MapSet.size(state.active) == 0, do: MapSet.to_list(state.found), else: []

    due =
      for peer <- Enum.uniq(state.lost ++ found),
          not Map.has_key?(state.asked, peer),
          {_pause, at} = Map.get(state.retries, peer, {0, 0}),
          at <= state.tick,
          do: peer

    if due == [] do
      {state, effects}
    else
      {peer, state} = pick(state, due)
      request = if MapSet.size(state.active) == 0, do: :join, else: {:neighbor, :high}
      ask(pause(state, peer), peer, request, effects)
    end
  end

  defp pause(state, peer) do
    longest = max(state.second_ticks, div(state.second_ticks * state.live, 4))
    {last, _at} = Map.get(state.retries, peer, {0, 0})
    pause = min(max(2 * last, 1), longest)
    {due, state} = later(state, pause)
    %{state | retries: Map.put(state.retries, peer, {pause, due})}
  end

  defp room?(state), do: MapSet.size(state.active) < state.active_size

  defp pick(state, peers) do
    {index, random} = :rand.uniform_s(length(peers), state.random)
    {Enum.at(peers, index - 1), %{state | random: random}}
  end

  defp sample(state, peers, count) do
    {keyed, random} =
      Enum.map_reduce(peers, state.random, fn peer, random ->
        {key, random} = :rand.uniform_s(random)
        {{key, peer}, random}
      end)

    {keyed |> Enum.sort() |> Enum.take(count) |> Enum.map(&elem(&1, 1)), %{state | random: random}}
  end
end
