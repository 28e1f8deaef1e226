defmodule Tidepool.Namespaces.Places do
  @moduledoc """
  Places of which a process has a number to give, and who has them and waits for them: a value in its state. Namespaces share them.
  (`Tidepool.Namespaces.Turns` are places that each namespace has for itself.)

  A namespace has no more places than it leaves to others, which is half of them when it is alone, and waits for further ones. Of those that
  wait the namespace is next that has the fewest, and of several the one whose first has waited for the longest time. So a namespace finds a
  place, or has one of the next, however many another asks for, and however long that keeps those that it has. How many may wait, and the
  bytes that all of them bring, are shared by the same rule.

  Functions without a namespace have whatever is free, as of places for deploys. They wait in a line of their own, which has its turns as that
  of a namespace does.
  """

  # What is taken, of places, of places in line, of bytes, of those that are to come, and of those that wait to: in all, and by namespace.
  @nothing {0, %{}}

  @enforce_keys [:most]
  defstruct @enforce_keys ++
              [
                held: @nothing,
                waiting: @nothing,
                bytes: @nothing,
                later: @nothing,
                late: @nothing,
                lines: %{},
                came: 0,
                awaiting: []
              ]

  @typedoc "`nil` are functions without one."
  @type namespace :: String.t() | nil

  @opaque t :: %__MODULE__{}

  @doc "So many places; and how many may wait for one, how many bytes all may bring, and as many later, or wait to."
  @spec new(pos_integer, waiting :: non_neg_integer | :infinity, bytes :: pos_integer | :infinity) :: t
  def new(places, waiting \\ :infinity, bytes \\ :infinity),
    do: %__MODULE__{most: %{held: places, waiting: waiting, bytes: bytes, later: bytes, late: bytes}}

  @doc """
  Takes a place for what a namespace asks for, or puts that in line, with the bytes that it brings; `:full` when it may do neither. More
  bytes than all may bring are taken alone. What will bring `later` bytes more has no place before there is room for these.
  """
  @spec take(t, namespace, bytes :: non_neg_integer, what :: term, later :: non_neg_integer) ::
          {:ok, t} | {:waits, t} | :full
  def take(places, namespace, bytes, what, later \\ 0) do
    cond do
      not brings?(places, :bytes, namespace, bytes) -> :full
      place?(places, namespace, later) -> {:ok, places |> add(:bytes, namespace, bytes) |> hold(namespace, later)}
      room?(places, :waiting, namespace, 1) -> {:waits, wait(places, namespace, bytes, what, later)}
      true -> :full
    end
  end

  # Those in line hold nothing of what they will bring, so that nobody waits for these. They come after what waits to bring more.
  defp place?(places, namespace, later) do
    room?(places, :held, namespace, 1) and (later == 0 or own(places.late, namespace) == 0) and
      brings?(places, :later, namespace, later)
  end

  defp hold(places, namespace, later), do: places |> add(:held, namespace, 1) |> add(:later, namespace, later)

  @doc "Puts in line what a namespace asks for, whether or not there is a place: `next/1` is asked for that."
  @spec wait(t, namespace, bytes :: non_neg_integer, what :: term, later :: non_neg_integer) :: t
  def wait(%{lines: lines, came: came} = places, namespace, bytes, what, later \\ 0) do
    line = :queue.in({came, later, what}, Map.get(lines, namespace, :queue.new()))
    places = %{places | lines: Map.put(lines, namespace, line), came: came + 1}
    places |> add(:waiting, namespace, 1) |> add(:bytes, namespace, bytes)
  end

  @doc """
  Has what has a place bring so many bytes, where it was said to bring `later`; `:full` when all would bring more than they may. More than
  all may bring are taken alone.
  """
  @spec bring(t, namespace, bytes :: non_neg_integer, later :: non_neg_integer) :: {:ok, t} | :full
  def bring(places, namespace, bytes, later) do
    without = add(places, :later, namespace, -later)

    if bytes <= later or brings?(without, :later, namespace, bytes),
      do: {:ok, add(without, :later, namespace, bytes)},
      else: :full
  end

  @doc """
  Has what has a place wait for room for so many bytes, where it was said to bring `later`: it has no room meanwhile, so that of those that
  wait none waits for another, and nothing else of its namespace that will bring more has a place. It has the bytes already: `:full` when
  those that wait have more than they may.
  """
  @spec await(t, namespace, bytes :: non_neg_integer, later :: non_neg_integer, what :: term) :: {:waits, t} | :full
  def await(places, namespace, bytes, later, what) do
    if room?(places, :late, namespace, bytes) do
      places = places |> add(:later, namespace, -later) |> add(:late, namespace, bytes)
      {:waits, %{places | awaiting: places.awaiting ++ [{namespace, bytes, what}]}}
    else
      :full
    end
  end

  @doc "What has waited for room for its bytes, and has that from now on: the first that may; `:none` when there is none."
  @spec come(t) :: {what :: term, bytes :: non_neg_integer, t} | :none
  def come(%{awaiting: awaiting} = places) do
    case Enum.find(awaiting, fn {namespace, bytes, _what} -> brings?(places, :later, namespace, bytes) end) do
      nil -> :none
      {namespace, bytes, what} -> {what, bytes, places |> leave(what) |> add(:later, namespace, bytes)}
    end
  end

  @doc "What may have waited for room for its bytes does so no more."
  @spec leave(t, what :: term) :: t
  def leave(%{awaiting: awaiting} = places, what) do
    case List.keytake(awaiting, what, 2) do
      {{namespace, bytes, _what}, left} -> add(%{places | awaiting: left}, :late, namespace, -bytes)
      nil -> places
    end
  end

  @doc "What is next of those that wait, which has a place from now on; `:none` when none waits that may have one."
  @spec next(t) :: {what :: term, t} | :none
  def next(%{lines: lines} = places) do
    waiting =
      for {namespace, line} <- lines,
          {:value, {number, later, _what}} = :queue.peek(line),
          place?(places, namespace, later),
          do: {own(places.held, namespace), number, namespace}

    case waiting do
      [] ->
        :none

      _some ->
        # Numbers differ.
        {_held, _number, namespace} = Enum.min(waiting)
        {{:value, {_number, later, what}}, line} = :queue.out(Map.fetch!(lines, namespace))
        lines = if :queue.is_empty(line), do: Map.delete(lines, namespace), else: Map.put(lines, namespace, line)
        {what, %{places | lines: lines} |> add(:waiting, namespace, -1) |> hold(namespace, later)}
    end
  end

  @doc "Gives back a place, and the bytes that what had it has brought, at first and later."
  @spec give_back(t, namespace, bytes :: non_neg_integer, later :: non_neg_integer) :: t
  def give_back(places, namespace, bytes, later \\ 0),
    do: places |> add(:held, namespace, -1) |> add(:bytes, namespace, -bytes) |> add(:later, namespace, -later)

  @doc "The places that a namespace has, how many of it wait, and the bytes that all these have brought, or will."
  @spec of(t, namespace) :: %{held: non_neg_integer, waiting: non_neg_integer, bytes: non_neg_integer}
  def of(%{held: held, waiting: waiting, bytes: bytes, later: later}, namespace) do
    %{
      held: own(held, namespace),
      waiting: own(waiting, namespace),
      bytes: own(bytes, namespace) + own(later, namespace)
    }
  end

  defp brings?(_places, _what, _namespace, 0), do: true

  defp brings?(places, what, namespace, bytes),
    do: match?({0, _own}, Map.fetch!(places, what)) or room?(places, what, namespace, bytes)

  defp room?(%{most: most} = places, what, namespace, more) do
    {all, _own} = taken = Map.fetch!(places, what)

    case Map.fetch!(most, what) do
      :infinity -> true
      most when namespace == nil -> more <= most - all
      most -> own(taken, namespace) + more <= most - all
    end
  end

  defp own({_all, own}, namespace), do: Map.get(own, namespace, 0)

  defp add(places, _what, _namespace, 0), do: places

  defp add(places, what, namespace, more) do
    {all, own} = Map.fetch!(places, what)

    own =
      case Map.get(own, namespace, 0) + more do
        0 -> Map.delete(own, namespace)
        some -> Map.put(own, namespace, some)
      end

    Map.replace!(places, what, {all + more, own})
  end
end
