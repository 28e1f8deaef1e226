defmodule Tidepool.Catalog.State do
  @moduledoc """
  The catalog as replicated data: entries by name, merged without asking anybody. No process, no disk, no time.

  Entries are kept by the state's owner. Here is an index of them: of each its stamp, whether it is removed, and its hashes.
  Where more is needed, which is rare, the entry is `read` from its owner. One that has been merged and can't be read yet, since
  its owner is just writing it down, is `held` until it can be (`release/1`).

  ## Merging

  The later entry of a name wins (`Tidepool.Catalog.Entry.compare/2`); a removal is an entry too, a tombstone. So merging is
  commutative, associative and idempotent, and replicas that have seen the same entries are equal, whatever the order,
  losses that were repaired, and repetitions. Where replicas are told to be equal, entries may still differ in their
  details: those have digests of their own (`levels`).

  ## What others ignore

  Nodes of earlier versions of the cluster's protocol ignore entries that they could not call, and go on with what they had of the
  name. In the digest of such a level an entry of that kind counts as what those nodes have of its name, as far as this one knows: the
  latest one before it that they don't ignore (`hidden`). So nodes of both kinds agree on what both know, and find nothing to tell each other.

  ## Collecting tombstones

  A tombstone goes when it is older than a stated age. A node that comes back after longer than that, with the entry
  that was removed, must not bring it back; but what it deployed alone meanwhile, or another cluster that is joined, is
  news. To tell one from the other a replica remembers, beside its entries,

  - `seen`: for each replica, up to which moment it has seen *all* changes of it,
  - `beyond`: for each replica, the moments of single changes of it that were seen apart from those,
  - `horizon`: the latest stamp that was ever collected.

  An entry whose change was seen, and that is not later than the horizon, while its name is unknown here or has an earlier
  entry, was removed and collected: `merge/2` answers `:gone`, and its owner forgets it. All other unknown entries
  are news. A change later than the horizon is never taken for gone, so nothing that is younger than the age can be lost
  that way. All three are kept on disk with the entries (`context/1`).

  `seen` grows by a replica's own changes, by changes that arrive in the order in which their replica made them (each push
  carries the moment of the one before), and when two replicas find that their entries are equal (`join/2`): then each has
  seen what the other has, and little is left in `beyond`. It is a version vector with exceptions, used as in "An Optimized
  Conflict-free Replicated Set" (Bieniusa et al., 2012).

  A node that crashes within a minute of a change may not know later that it had seen it, if it also met nobody until the
  tombstone was old.

  A removal that never saw a deploy which was made at the same time on another side of a partition, and was collected before
  that came back, does not remove it: the deploy is news then.
  """

  alias Tidepool.Catalog.{Clock, Digest, Entry}
  alias Tidepool.Function.Spec

  # Of the entries with their details, as each version of the cluster's protocol has them.
  @levels Map.new(Spec.levels(), &{&1, %Digest{}})

  # What there is of a name that has no entry.
  @none %{hash: 0, levels: Enum.map(Spec.levels(), fn _level -> 0 end), hidden: %{}}

  @enforce_keys [:replica, :read]
  defstruct [
    :replica,
    :read,
    index: %{},
    held: %{},
    digest: %Digest{},
    levels: @levels,
    seen: %{},
    beyond: %{},
    seen_hash: 0,
    horizon: nil
  ]

  @type moment :: {Clock.wall_ms(), counter :: non_neg_integer}
  @type seen :: %{String.t() => moment}
  @type beyond :: %{String.t() => %{moment => true}}
  @type context :: %{replica: String.t(), seen: seen, beyond: beyond, horizon: Clock.stamp() | nil}
  @typedoc """
  `levels`: the hash of an entry with its details at each of `Tidepool.Function.Spec.levels/0`; at those whose nodes ignore it that of
  what they have of its name, whose stamp is in `hidden`, or 0.
  """
  @type mark :: %{
          stamp: Clock.stamp(),
          removed: boolean,
          hash: Digest.hash(),
          levels: [Digest.hash()],
          hidden: %{(level :: pos_integer) => Clock.stamp() | nil}
        }
  @type listed :: %{name: String.t(), version: pos_integer, sha256: String.t()}
  @typedoc "How the entry of a name is read, `nil` if it can't be."
  @type read :: (String.t() -> Entry.t() | nil)
  @type t :: %__MODULE__{
          replica: String.t(),
          read: read,
          index: %{String.t() => mark},
          held: %{String.t() => Entry.t()},
          digest: Digest.t(),
          levels: %{(version :: pos_integer) => Digest.t()},
          seen: seen,
          beyond: beyond,
          seen_hash: Digest.hash(),
          horizon: Clock.stamp() | nil
        }

  @doc "The context of a data folder that begins now: nothing seen, nothing collected."
  @spec new_context(String.t()) :: context
  def new_context(replica), do: %{replica: replica, seen: %{}, beyond: %{}, horizon: nil}

  @doc "What was seen and collected by the one or the other; the replica is the later one's."
  @spec add(context, context) :: context
  def add(context, later) do
    %{
      replica: later.replica,
      seen: Map.merge(context.seen, later.seen, fn _replica, one, other -> max(one, other) end),
      beyond: Map.merge(context.beyond, later.beyond, fn _replica, some, others -> Map.merge(some, others) end),
      horizon: later(context.horizon, later.horizon)
    }
  end

  @doc "The state that was kept as `context` and stamped `entries`. Those that can't be `read` are held."
  @spec new(context, Enumerable.t(), read) :: t
  def new(context, entries, read \\ &__MODULE__.nothing/1) do
    state = join(%__MODULE__{replica: context.replica, read: read}, context)

    entries
    |> Enum.reduce(state, fn entry, state ->
      {_result, state} = replace(state, state.index[entry.name], entry)
      see_own(state, entry)
    end)
    |> release()
  end

  @doc false
  @spec nothing(String.t()) :: nil
  def nothing(_name), do: nil

  @doc "The entry of a name; `nil` if there is none, or its owner has another one by now, or none any more."
  @spec entry(t, String.t()) :: Entry.t() | nil
  def entry(state, name) do
    case state do
      %{held: %{^name => entry}} -> entry
      %{index: %{^name => %{stamp: stamp}}} -> with %{stamp: last} when last != stamp <- state.read.(name), do: nil
      _none -> nil
    end
  end

  @doc """
  What lists of what is deployed need, without what was removed: of each name the hash of its entry, and what they tell of that if it is
  held, else its stamp.
  """
  @spec live(t) :: [{name :: String.t(), Digest.hash(), listed | Clock.stamp()}]
  def live(state) do
    for {name, %{removed: false, hash: hash, stamp: stamp}} <- state.index do
      case state.held do
        %{^name => entry} -> {name, hash, listed(entry)}
        _others -> {name, hash, stamp}
      end
    end
  end

  @doc "What lists tell of an entry, which may have hundreds of KiB."
  @spec listed(Entry.t()) :: listed
  def listed(entry), do: Map.take(entry, [:name, :version, :sha256])

  @doc "Lets go of entries that can be read by now."
  @spec release(t) :: t
  def release(%{held: held} = state) when held == %{}, do: state

  def release(state),
    do: %{state | held: Map.reject(state.held, fn {name, entry} -> state.read.(name) == entry end)}

  @doc """
  What was kept, with own changes that were stamped by a clock far ahead stamped anew, now that the clock is right.

  Other nodes refuse such stamps. The replica is then another one, since a replica's stamps never go back.
  """
  @spec restamp(context, [Entry.t()], Clock.wall_ms(), max_skew_ms :: non_neg_integer) :: {context, [Entry.t()]}
  def restamp(context, entries, now, max_skew_ms) do
    ahead? = fn %{stamp: {wall_ms, _counter, replica}} ->
      replica == context.replica and Clock.ahead(wall_ms, now, max_skew_ms) != nil
    end

    case Enum.split_with(entries, ahead?) do
      {[], _right} ->
        {context, entries}

      {ahead, right} ->
        replica = context.replica |> Clock.node_of() |> Clock.replica(now)

        {stamped, _clock} =
          ahead
          |> Enum.sort_by(& &1.stamp)
          |> Enum.map_reduce(Clock.new(replica), fn entry, clock ->
            {stamp, clock} = Clock.next(clock, now)
            {%{entry | stamp: stamp}, clock}
          end)

        {%{context | replica: replica}, right ++ stamped}
    end
  end

  @doc "What has to be kept on disk beside the entries, whenever `collect/2` or `forget/4` changed something."
  @spec context(t) :: context
  def context(state), do: Map.take(state, [:replica, :seen, :beyond, :horizon])

  @doc "A hash of what was seen and collected: replicas with equal ones have nothing to tell each other about it."
  @spec context_hash(t) :: Digest.hash()
  def context_hash(%{horizon: nil} = state), do: state.seen_hash

  def context_hash(%{horizon: {wall_ms, counter, replica}} = state),
    do: Digest.add(state.seen_hash, 0, Digest.hash([replica, <<wall_ms::48, counter::32>>]))

  @doc """
  Takes in an entry. `:changed`: it is now the one of its name. `:completed`: so it is, and was before, with fewer details.
  `:same` and `:older`: nothing changed. `:gone`: it was removed here so long ago that its tombstone is collected, and whoever
  has it should `forget/4` it.
  """
  @spec merge(t, Entry.t()) :: {:changed | :completed | :same | :older | :gone, t}
  def merge(state, entry) do
    old = Map.get(state.index, entry.name)

    # What was seen and is neither here nor earlier than what is here was collected.
    if (old == nil or old.stamp < entry.stamp) and collected?(state, entry.stamp),
      do: {:gone, state},
      else: replace(state, old, entry)
  end

  @doc "Was an entry with this stamp, whose name is unknown here or has an earlier entry, removed and collected?"
  @spec collected?(t, Clock.stamp()) :: boolean
  def collected?(%{horizon: nil}, _stamp), do: false

  def collected?(state, stamp), do: stamp <= state.horizon and seen?(state, stamp)

  @doc "The stamp of what counts of a name at a level; `nil` if nothing does."
  @spec stamp(t, name :: String.t(), level :: pos_integer) :: Clock.stamp() | nil
  def stamp(state, name, level) do
    case state.index do
      %{^name => %{hidden: %{^level => stamp}}} -> stamp
      %{^name => %{stamp: stamp}} -> stamp
      _none -> nil
    end
  end

  @doc "Do nodes of a level ignore the entry of this name?"
  @spec hidden?(t, name :: String.t(), level :: pos_integer) :: boolean
  def hidden?(state, name, level), do: match?(%{^name => %{hidden: %{^level => _stamp}}}, state.index)

  @doc "Counts no entry of a name at a level whose nodes ignore the one that there is: another one of it is to be told, or there is none."
  @spec lack(t, name :: String.t(), level :: pos_integer) :: t
  def lack(state, name, level) do
    %{levels: hashes, hidden: hidden} = old = Map.fetch!(state.index, name)
    hashes = for {one, hash} <- Enum.zip(Spec.levels(), hashes), do: if(one == level, do: 0, else: hash)
    mark(state, name, old, %{old | levels: hashes, hidden: %{hidden | level => nil}})
  end

  @doc """
  The moment up to which all changes of a replica were seen, `nil` for none.
  """
  @spec seen(t, String.t()) :: moment | nil
  def seen(state, replica), do: Map.get(state.seen, replica)

  @doc """
  A change of `replica` at `moment` is reflected here; the one that it made before was at `before`. If that was the last one
  seen, this one is now.
  """
  @spec follow(t, Clock.stamp(), before :: moment | nil) :: {:changed | :same, t}
  def follow(state, {wall_ms, counter, replica}, before) do
    if before != nil and Map.get(state.seen, replica) == before and {wall_ms, counter} > before,
      do: {:changed, see(state, replica, {wall_ms, counter})},
      else: {:same, state}
  end

  @doc """
  Takes over what another replica has seen and collected. Only right while both have equal entries.
  """
  @spec join(t, %{
          :seen => seen,
          :beyond => beyond,
          :horizon => Clock.stamp() | nil,
          optional(atom) => term
        }) :: t
  def join(state, context) do
    state = Enum.reduce(context.seen, state, fn {replica, moment}, state -> see(state, replica, moment) end)

    state =
      for {replica, moments} <- context.beyond, {moment, true} <- moments, reduce: state do
        state -> see_beyond(state, replica, moment)
      end

    %{state | horizon: later(state.horizon, context.horizon)}
  end

  @doc "Own changes were seen as they were made."
  @spec see_own(t, Entry.t()) :: t
  def see_own(%{replica: replica} = state, %{stamp: {wall_ms, counter, replica}}),
    do: see(state, replica, {wall_ms, counter})

  def see_own(state, _entry), do: state

  @doc """
  Forgets tombstones that were made before `wall_ms`. Returns their names and stamps.
  """
  @spec collect(t, Clock.wall_ms()) :: {[{String.t(), Clock.stamp()}], t}
  def collect(state, wall_ms) do
    old =
      for {name, %{removed: true, stamp: {made_ms, _counter, _replica} = stamp}} <- state.index,
          made_ms < wall_ms,
          do: {name, stamp}

    {old, Enum.reduce(old, state, fn {name, _stamp}, state -> delete(state, name) end)}
  end

  @doc """
  Forgets an entry that another replica told to be gone, if it is still the one with this stamp. A tombstone that was made
  at `wall_ms` or later stays.
  """
  @spec forget(t, String.t(), Clock.stamp(), Clock.wall_ms()) :: {:changed | :same, t}
  def forget(state, name, {made_ms, _counter, _replica} = stamp, wall_ms) do
    case state.index do
      %{^name => %{stamp: ^stamp, removed: removed?}} when not removed? or made_ms < wall_ms ->
        {:changed, delete(state, name)}

      _other ->
        {:same, state}
    end
  end

  defp replace(state, nil, entry), do: {:changed, put(state, @none, entry)}

  # Of two with one stamp the content decides. Where one can't be read its owner has a later one, which it is about to tell.
  defp replace(state, %{stamp: stamp} = old, %{stamp: stamp} = entry) do
    last = entry(state, entry.name) || entry

    case Entry.compare(last, entry) do
      :lt -> {if(Entry.same_change?(last, entry), do: :completed, else: :changed), put(state, old, entry)}
      :eq -> {:same, state}
      :gt -> {:older, count_as(state, old, entry)}
    end
  end

  defp replace(state, old, entry) do
    if old.stamp < entry.stamp,
      do: {:changed, put(state, old, entry)},
      else: {:older, state |> see_beyond(entry) |> count_as(old, entry)}
  end

  defp put(state, old, %{name: name} = entry) do
    ours = Entry.hashes(entry, Spec.levels())

    # No hash of an entry is 0, but for those that are ignored.
    {levels, stamps} =
      Enum.zip_with([Spec.levels(), ours, old.levels], fn
        [level, 0, before] -> {before, {level, Map.get(old.hidden, level, if(before != 0, do: old.stamp))}}
        [_level, ours, _before] -> {ours, nil}
      end)
      |> Enum.unzip()

    hidden = for {level, stamp} <- stamps, into: %{}, do: {level, stamp}
    mark = %{stamp: entry.stamp, removed: entry.removed, hash: Entry.hash(entry), levels: levels, hidden: hidden}
    state = state |> see_beyond(entry) |> mark(name, old, mark)
    %{state | held: Map.put(state.held, name, entry)}
  end

  # At levels whose nodes ignore the entry it counts as the latest one of its name that they don't.
  defp count_as(state, %{hidden: hidden}, _entry) when hidden == %{}, do: state

  defp count_as(state, old, entry) do
    {levels, hidden} =
      Enum.zip([Spec.levels(), old.levels, Entry.hashes(entry, Spec.levels())])
      |> Enum.map_reduce(old.hidden, fn {level, before, hash}, hidden ->
        case hidden do
          %{^level => stamp} when hash != 0 and (stamp == nil or stamp < entry.stamp) ->
            {hash, %{hidden | level => entry.stamp}}

          _not_hidden_or_later ->
            {before, hidden}
        end
      end)

    mark(state, entry.name, old, %{old | levels: levels, hidden: hidden})
  end

  defp mark(state, name, old, new) do
    state = count(state, name, old, new)
    %{state | index: Map.put(state.index, name, new)}
  end

  defp delete(state, name) do
    {mark, index} = Map.pop!(state.index, name)
    state = count(state, name, mark, @none)
    %{state | index: index, held: Map.delete(state.held, name), horizon: later(state.horizon, mark.stamp)}
  end

  defp count(state, name, old, new) do
    levels =
      for {level, before, now} <- Enum.zip([Spec.levels(), old.levels, new.levels]),
          into: %{},
          do: {level, Digest.put(state.levels[level], name, before, now)}

    %{state | digest: Digest.put(state.digest, name, old.hash, new.hash), levels: levels}
  end

  defp seen?(state, {wall_ms, counter, replica}) do
    {wall_ms, counter} <= Map.get(state.seen, replica, {-1, 0}) or
      is_map_key(Map.get(state.beyond, replica, %{}), {wall_ms, counter})
  end

  defp see(state, replica, moment) do
    case state.seen do
      %{^replica => last} when last >= moment ->
        state

      seen ->
        old = if last = seen[replica], do: seen_hash(replica, last), else: 0
        sum = Digest.add(state.seen_hash, old, seen_hash(replica, moment))
        drop_beyond(%{state | seen: Map.put(seen, replica, moment), seen_hash: sum}, replica, moment)
    end
  end

  defp drop_beyond(state, replica, moment) do
    case state.beyond do
      %{^replica => moments} ->
        covered = for {apart, true} <- moments, apart <= moment, do: apart
        left = Map.drop(moments, covered)
        sum = Enum.reduce(covered, state.seen_hash, &Digest.add(&2, beyond_hash(replica, &1), 0))
        beyond = if left == %{}, do: Map.delete(state.beyond, replica), else: Map.put(state.beyond, replica, left)
        %{state | beyond: beyond, seen_hash: sum}

      _none ->
        state
    end
  end

  defp see_beyond(state, %{stamp: {wall_ms, counter, replica}}), do: see_beyond(state, replica, {wall_ms, counter})

  defp see_beyond(state, replica, {wall_ms, counter} = moment) do
    if seen?(state, {wall_ms, counter, replica}) do
      state
    else
      sum = Digest.add(state.seen_hash, 0, beyond_hash(replica, moment))
      beyond = Map.update(state.beyond, replica, %{moment => true}, &Map.put(&1, moment, true))
      %{state | beyond: beyond, seen_hash: sum}
    end
  end

  defp seen_hash(replica, {wall_ms, counter}), do: Digest.hash([<<wall_ms::48, counter::32>>, replica])
  defp beyond_hash(replica, {wall_ms, counter}), do: Digest.hash(["beyond", <<wall_ms::48, counter::32>>, replica])

  defp later(nil, stamp), do: stamp
  defp later(stamp, nil), do: stamp
  defp later(a, b), do: max(a, b)
end
