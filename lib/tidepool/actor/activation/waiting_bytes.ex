defmodule Tidepool.Actor.Activation.WaitingBytes do
  @moduledoc """
  How many bytes of payloads wait at all awake actors of a namespace on this node: no more than its quota `memory`.

  Two counts say that fast, of all that has come and of all that has left. A payload that ends with its actor, or whose caller was killed
  before it sent, never leaves; so nothing is refused by the counts alone: over the quota it is added up what waits at the actors that
  there are, and what is not found has left. That takes a tenth of the time at most; meanwhile the counts hold.
  """

  alias Tidepool.Actor.Table
  alias Tidepool.Namespaces
  alias Tidepool.Namespaces.Name

  # The slots: bytes that came, bytes that left, and when they may be added up again, in the VM's monotonic time.
  @came 1
  @left 2
  @free_at 3
  @part 10
  # When who adds up may have been killed.
  @lost_ms 1_000

  @typedoc "A namespace's counts, and its quota; `nil` without one."
  @type t :: {:atomics.atomics_ref(), most :: pos_integer, namespace :: String.t()} | nil

  @doc "Makes the table of counts, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(__MODULE__)

  @doc "The counts of a class's namespace."
  @spec of(class :: String.t()) :: t
  def of(class) do
    case Namespaces.settings(class) do
      %{memory: most} when most != nil ->
        namespace = Name.of(class)
        counts = :atomics.new(3, signed: true)
        :atomics.put(counts, @free_at, now())
        :ets.insert_new(__MODULE__, {namespace, counts})
        {:ets.lookup_element(__MODULE__, namespace, 2), most, namespace}

      _none ->
        nil
    end
  end

  @doc """
  Counts a payload that waits, if there is room for it. `waiting` says how many bytes wait at the actors of a namespace, this payload's
  among them.
  """
  @spec enter(t, bytes :: non_neg_integer, waiting :: (namespace :: String.t() -> non_neg_integer)) :: boolean
  def enter(nil, _bytes, _waiting), do: true

  def enter({counts, most, _namespace} = it, bytes, waiting) do
    :atomics.add(counts, @came, bytes)

    if over?(counts, most) and not found_room?(it, waiting) do
      leave(it, bytes)
      false
    else
      true
    end
  end

  @doc "It waits no more."
  @spec leave(t, bytes :: non_neg_integer) :: :ok
  def leave(nil, _bytes), do: :ok
  def leave({counts, _most, _namespace}, bytes), do: :atomics.add(counts, @left, bytes)

  defp over?(counts, most), do: :atomics.get(counts, @came) - :atomics.get(counts, @left) > most

  defp found_room?({counts, most, namespace}, waiting) do
    {begun_at, free_at} = {now(), :atomics.get(counts, @free_at)}

    if begun_at >= free_at and :atomics.compare_exchange(counts, @free_at, free_at, begun_at + lost()) == :ok do
      came = :atomics.get(counts, @came)
      bytes = waiting.(namespace)
      :atomics.add(counts, @left, came - :atomics.get(counts, @left) - bytes)
      :atomics.put(counts, @free_at, now() + @part * (now() - begun_at))
    end

    not over?(counts, most)
  end

  defp now, do: System.monotonic_time()
  defp lost, do: System.convert_time_unit(@lost_ms, :millisecond, :native)
end
