defmodule TidepoolWeb.Figures.Minutes do
  @moduledoc """
  What calls have come to in each minute of the last six hours, by function: sums of what there was in the ticks of a minute, made when
  it is over. A minute without calls takes nothing.
  """

  import Bitwise

  @kept 360
  # Buckets of a sample that are told apart.
  @buckets 16

  @typedoc """
  What was added within a tick, or a minute: its number, calls, those of them that failed, the guests' CPU time, and how many calls
  were in which of the buckets of latencies, numbered from 0, packed.
  """
  @type sample ::
          {at :: integer, calls :: pos_integer, errors :: non_neg_integer, cpu_us :: non_neg_integer,
           latencies :: binary}

  @type latencies :: [{bucket :: byte, calls :: pos_integer}]

  @typedoc "Samples whose first element is the number of a minute, the newest first, by the function's name."
  @type t :: %{(name :: String.t()) => [sample, ...]}

  @doc """
  Latencies as they are kept: lists of them would take ten times as much. Of a sample that is in more than #{@buckets} buckets those
  of an octave are added up in the last of them, so that there is a bound on what is kept.

      iex> alias TidepoolWeb.Figures.Minutes
      iex> Minutes.unpack(Minutes.pack([{3, 1}, {200, 70_000}]))
      [{3, 1}, {200, 70_000}]
      iex> Minutes.unpack(Minutes.pack(for bucket <- 0..23, do: {bucket, 2}))
      [{7, 16}, {15, 16}, {23, 16}]
  """
  @spec pack(latencies) :: binary
  def pack(latencies) do
    latencies = if length(latencies) > @buckets, do: by_octaves(latencies), else: latencies
    for {bucket, calls} <- latencies, into: <<>>, do: <<bucket, number(calls)::binary>>
  end

  defp by_octaves(latencies) do
    for({bucket, calls} <- latencies, reduce: %{}, do: (sums -> Map.update(sums, bucket ||| 7, calls, &(&1 + calls))))
    |> Enum.sort()
  end

  # As LEB128 has them: seven bits in a byte, the lowest first.
  defp number(number) when number < 128, do: <<number>>
  defp number(number), do: <<1::1, number::7, number(number >>> 7)::binary>>

  @doc "The same as it was."
  @spec unpack(binary) :: latencies
  def unpack(""), do: []

  def unpack(<<bucket, rest::binary>>) do
    {calls, rest} = number(rest, 0, 0)
    [{bucket, calls} | unpack(rest)]
  end

  defp number(<<1::1, bits::7, rest::binary>>, shift, sum), do: number(rest, shift + 7, sum + (bits <<< shift))
  defp number(<<0::1, bits::7, rest::binary>>, shift, sum), do: {sum + (bits <<< shift), rest}

  @doc "Minutes that are kept."
  @spec kept :: pos_integer
  def kept, do: @kept

  @doc "With a minute that is over, of the ticks after `tick`; of so many functions, those that were called last."
  @spec add(t, %{(name :: String.t()) => [sample]}, minute :: integer, tick :: integer, most :: pos_integer) :: t
  def add(minutes, samples, minute, tick, most) do
    added = for {name, samples} <- samples, sum = sum(samples, minute, tick), into: %{}, do: {name, [sum]}
    before = for {name, [newest | _] = sums} <- minutes, elem(newest, 0) > minute - @kept, into: %{}, do: {name, sums}
    minutes = Map.merge(before, added, fn _name, sums, [sum] -> Enum.take([sum | recent(sums, minute)], @kept) end)

    if map_size(minutes) <= most,
      do: minutes,
      else: minutes |> Enum.sort_by(fn {_name, [newest | _]} -> -elem(newest, 0) end) |> Enum.take(most) |> Map.new()
  end

  @doc "Those of one function that are still kept in a minute, the oldest first."
  @spec of(t, name :: String.t(), minute :: integer) :: [sample]
  def of(minutes, name, minute), do: minutes |> Map.get(name, []) |> recent(minute) |> Enum.reverse()

  defp recent(sums, minute), do: Enum.take_while(sums, &(elem(&1, 0) > minute - @kept))

  defp sum(samples, minute, tick) do
    case Enum.take_while(samples, &(elem(&1, 0) > tick)) do
      [] -> nil
      samples -> {minute, total(samples, 1), total(samples, 2), total(samples, 3), latencies(samples)}
    end
  end

  defp total(samples, element), do: samples |> Enum.map(&elem(&1, element)) |> Enum.sum()

  defp latencies(samples) do
    for {_tick, _calls, _errors, _cpu_us, latencies} <- samples, {bucket, calls} <- unpack(latencies), reduce: %{} do
      sums -> Map.update(sums, bucket, calls, &(&1 + calls))
    end
    |> Enum.sort()
    |> pack()
  end
end
