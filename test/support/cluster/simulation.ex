defmodule Tidepool.Simulation do
  @moduledoc """
  A cluster in one process: the machines that `Tidepool.Cluster` drives, virtual time, and a network that loses, delays,
  repeats and reorders messages, as one seed decides.

  Nodes in `:old` have the protocol's first version: what they send and get goes through its bytes, and what they change has
  no details (`Tidepool.Catalog.Entry`). All others have today's.

  Each node's catalog takes note of what its machine has decided some rounds later, as a disk does that is fast, or slow.

  Time goes in rounds of 50 ms. What a node gets in a round it handles at once, as a process does that empties its
  mailbox. Messages take one to `:delay` rounds. Clocks are off by up to `:skew_ms`.
  """

  alias Tidepool.Catalog.{Clock, Entry, State}
  alias Tidepool.CatalogModel
  alias Tidepool.Cluster.{Gossip, Wire}

  @round_ms 50
  @began_ms 1_700_000_000_000

  defstruct [
    :options,
    :random,
    nodes: %{},
    catalogs: %{},
    names: {},
    index: %{},
    skews: %{},
    links: MapSet.new(),
    sides: %{},
    mail: %{},
    round: 0,
    best: %{},
    count: %{messages: 0, bytes: 0, changes: 0},
    kinds: %{},
    refused: []
  ]

  @doc "A cluster of `count` nodes, each of which knows the one before and two more by discovery.

  Options: `:seed`, `:loss`, `:repeat`, `:delay`, `:skew_ms`, `:gossip`."
  def new(count, options) do
    defaults = %{seed: 1, loss: 0.0, repeat: 0.0, delay: 2, skew_ms: 0, gossip: [], old: MapSet.new()}
    options = Map.merge(defaults, Map.new(options))
    names = for n <- 1..count, do: "n#{n}@host"

    state = %__MODULE__{
      options: options,
      random: :rand.seed_s(:exsss, options.seed),
      names: List.to_tuple(names),
      index: names |> Enum.with_index() |> Map.new(),
      sides: Map.new(names, &{&1, 0})
    }

    Enum.reduce(names, state, fn name, state ->
      {skew, state} = uniform(state, 2 * options.skew_ms + 1)
      state = %{state | skews: Map.put(state.skews, name, skew - 1 - options.skew_ms)}
      context = State.new_context(Clock.replica(name, now(state, name)))
      start(state, name, State.new(context, []), %CatalogModel{})
    end)
  end

  @doc "Wall time as this node's clock has it."
  def now(state, name), do: @began_ms + state.round * @round_ms + Map.get(state.skews, name, 0)

  @doc "One round."
  def step(state) do
    state = %{state | round: state.round + 1}
    {mail, rest} = Map.pop(state.mail, state.round, %{})
    catalogs = Map.new(state.catalogs, fn {name, catalog} -> {name, CatalogModel.note(catalog, state.round)} end)
    state = %{state | mail: rest, catalogs: catalogs}

    Enum.reduce(state.index, state, fn {name, index}, state ->
      events = Enum.reverse(Map.get(mail, name, []))
      events = if rem(state.round + index, 5) == 0, do: events ++ [:tick], else: events
      if events == [], do: state, else: handle(state, name, events)
    end)
  end

  @doc "`count` rounds."
  def rounds(state, count), do: Enum.reduce(1..count//1, state, fn _round, state -> step(state) end)

  @doc "Rounds until `done?` says so, at most `limit`; how many, or `:never`."
  def until(state, limit, done?, count \\ 0) do
    cond do
      done?.(state) -> {count, state}
      count == limit -> {:never, state}
      true -> until(step(state), limit, done?, count + 1)
    end
  end

  @doc "A deploy or a removal of `function` on a node."
  def change(state, name, function, removed? \\ false) do
    gossip = state.nodes[name]
    catalog = state.catalogs[name]
    old = State.entry(CatalogModel.readable(catalog, gossip).catalog, function)
    clock = Clock.new(gossip.catalog.replica)

    # The clock of a catalog has observed everything; here what matters is the entry that is replaced, and its own last one.
    own = State.seen(gossip.catalog, clock.replica)
    moments = [own || {0, 0}, if(old, do: {elem(old.stamp, 0), elem(old.stamp, 1)}, else: {0, 0})]
    {wall_ms, counter} = Enum.max(moments)
    {stamp, _clock} = clock |> Clock.observe({wall_ms, counter, ""}) |> Clock.next(now(state, name))

    entry = %Entry{
      name: function,
      version: if(old, do: old.version + 1, else: 1),
      removed: removed?,
      sha256: String.duplicate("5a", 32),
      size: 100_000,
      operation: function,
      instances: :fresh,
      engine: Enum.at([:fast, :dense], rem(elem(stamp, 0), 2)),
      admitted: if(name in state.options.old, do: :unknown, else: :token),
      description: if(name in state.options.old or removed?, do: "", else: "from #{name}"),
      limits: Tidepool.Limits.complete(%{}),
      deployed_at: div(elem(stamp, 0), 1_000),
      stamp: stamp
    }

    best = Map.update(state.best, function, entry, &if(Entry.compare(&1, entry) == :lt, do: entry, else: &1))
    count = Map.update!(state.count, :changes, &(&1 + 1))
    catalogs = %{state.catalogs | name => CatalogModel.change(catalog, entry)}
    handle(%{state | best: best, count: count, catalogs: catalogs}, name, [{:local, [entry]}])
  end

  @doc "Cuts all links between sides, given by a function from a node's index to its side."
  def partition(state, side) do
    state = %{state | sides: Map.new(state.index, fn {name, index} -> {name, side.(index)} end)}
    state.links |> Enum.reject(fn {a, b} -> state.sides[a] == state.sides[b] end) |> Enum.reduce(state, &cut(&2, &1))
  end

  @doc "Lets all nodes reach each other again."
  def heal(state), do: partition(state, fn _index -> 0 end)

  @doc "From now on no message is lost or repeated."
  def calm(state), do: %{state | options: %{state.options | loss: 0.0, repeat: 0.0}}

  @doc "Stops a node, and starts it again with today's version of the protocol."
  def upgrade(state, name),
    do: restart(%{state | options: Map.update!(state.options, :old, &MapSet.delete(&1, name))}, name)

  @doc "Stops a node and starts it again, with what it keeps on disk."
  def restart(state, name) do
    catalog = state.nodes[name].catalog
    state = state.links |> Enum.filter(fn {a, b} -> name in [a, b] end) |> Enum.reduce(state, &cut(&2, &1))
    state = %{state | mail: Map.new(state.mail, fn {round, mail} -> {round, Map.delete(mail, name)} end)}
    %{entries: entries} = kept = CatalogModel.note(state.catalogs[name], :all)
    start(state, name, State.new(State.context(catalog), Map.values(entries), &Map.get(entries, &1)), kept)
  end

  @doc "The entries that a node knows, by name."
  def known(state, name), do: CatalogModel.known(state.catalogs[name], state.nodes[name])

  @doc "Do all nodes have the entries that win among all changes that were ever made?"
  def converged?(state) do
    # Nodes whose digests differ do not know the same, which is told sooner than what they know.
    roots =
      for {_name, %{catalog: catalog}} <- state.nodes, do: for({_level, digest} <- catalog.levels, do: digest.root)

    length(Enum.uniq(roots)) == 1 and Enum.all?(state.nodes, fn {name, _gossip} -> known(state, name) == state.best end)
  end

  @doc "Does every node reach every other one, as the reports say?"
  def connected?(state) do
    count = map_size(state.nodes)
    Enum.all?(state.nodes, fn {_name, gossip} -> map_size(Gossip.live(gossip)) == count end)
  end

  @doc "A random number from 1 to `n`, and the state after it."
  def uniform(state, n) do
    {value, random} = :rand.uniform_s(n, state.random)
    {value, %{state | random: random}}
  end

  @doc "The name of a random node, and the state after it."
  def pick(state) do
    {n, state} = uniform(state, tuple_size(state.names))
    {elem(state.names, n - 1), state}
  end

  defp start(state, name, catalog, kept) do
    options = [seed: :erlang.phash2({state.options.seed, name, state.round})] ++ state.options.gossip
    gossip = Gossip.new(name, catalog, now(state, name), options)
    state = %{state | nodes: Map.put(state.nodes, name, gossip), catalogs: Map.put(state.catalogs, name, kept)}
    {some, state} = Enum.map_reduce(1..2, state, fn _n, state -> pick(state) end)
    before = elem(state.names, max(state.index[name] - 1, 0))
    handle(state, name, [{:found, Enum.uniq([before | some])}])
  end

  defp handle(state, name, events) do
    catalog = state.catalogs[name]
    {gossip, effects} = catalog |> CatalogModel.readable(state.nodes[name]) |> Gossip.handle(events, now(state, name))
    catalog = CatalogModel.await(catalog, effects, state.round + lag(state, name))
    state = %{state | nodes: Map.put(state.nodes, name, gossip), catalogs: %{state.catalogs | name => catalog}}
    Enum.reduce(effects, state, &effect(&1, name, &2))
  end

  # Some of them take no round, some more than gossip's tick.
  defp lag(state, name), do: rem(:erlang.phash2({state.options.seed, name}), 12)

  defp effect({:send, to, message}, from, state) do
    if MapSet.member?(state.links, link(from, to)) do
      count = %{state.count | messages: state.count.messages + 1, bytes: state.count.bytes + size(message)}
      state = %{state | count: count, kinds: Map.update(state.kinds, kind(message), 1, &(&1 + 1))}
      {chance, random} = :rand.uniform_s(state.random)
      state = %{state | random: random}

      message = told(state, from, to, message)

      cond do
        chance < state.options.loss ->
          state

        chance > 1 - state.options.repeat ->
          state |> post(to, {:message, from, message}) |> post(to, {:message, from, message})

        true ->
          post(state, to, {:message, from, message})
      end
    else
      state
    end
  end

  defp effect({:connect, to}, from, state) do
    if Map.has_key?(state.nodes, to) and state.sides[to] == state.sides[from] do
      state = %{state | links: MapSet.put(state.links, link(from, to))}
      state |> post(from, {:up, to}, 1) |> post(to, {:up, from}, 1)
    else
      post(state, from, {:failed, to}, 1)
    end
  end

  defp effect({:disconnect, to}, from, state) do
    if MapSet.member?(state.links, link(from, to)), do: cut(state, {from, to}), else: state
  end

  defp effect({:refused, node, reason}, _from, state), do: %{state | refused: [{node, reason} | state.refused]}
  defp effect(_of_the_catalog, _from, state), do: state

  defp told(state, from, to, message) do
    if from in state.options.old or to in state.options.old do
      [<<1, _rest::binary>> = bytes] = Wire.encode(message, 1)
      {:ok, message} = Wire.decode(bytes)
      message
    else
      message
    end
  end

  defp cut(state, {a, b}) do
    %{state | links: MapSet.delete(state.links, link(a, b))} |> post(a, {:down, b}, 1) |> post(b, {:down, a}, 1)
  end

  defp post(state, to, event) do
    {delay, state} = uniform(state, state.options.delay)
    post(state, to, event, delay)
  end

  defp post(state, to, event, delay) do
    round = state.round + delay
    mail = Map.get(state.mail, round, %{})
    mail = Map.update(mail, to, [event], &[event | &1])
    %{state | mail: Map.put(state.mail, round, mail)}
  end

  defp link(a, b), do: if(a < b, do: {a, b}, else: {b, a})

  defp kind({kind, {table, _level}, _rows}), do: {kind, table}
  defp kind({kind, table, _rows}) when table in [:entries, :reports], do: {kind, table}
  defp kind(message), do: if(is_tuple(message), do: elem(message, 0), else: message)

  # Encoding all pushes of a large cluster would be most of the work: their items are taken to be as large as the first.
  defp size({kind, [item | _rest] = items}) when kind in [:push, :reports] do
    {head, each} = Process.get({__MODULE__, kind}) || measure(kind, item)
    head + length(items) * each
  end

  defp size(message), do: byte_size(Wire.encode(message))

  defp measure(kind, item) do
    head = byte_size(Wire.encode({kind, []}))
    sizes = {head, byte_size(Wire.encode({kind, [item]})) - head}
    Process.put({__MODULE__, kind}, sizes)
    sizes
  end
end
