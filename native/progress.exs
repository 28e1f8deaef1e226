defmodule Tidepool.Native.Progress do
  @moduledoc """
  How far a build of the native library is, from what cargo tells of each crate that is done, and how long the rest will take.

  `costs.tsv` beside this file has the seconds that each crate takes one core. What cargo has compiled in this build, and the time
  since its beginning, say how fast this machine is. No process, no clock: times are handed in, in milliseconds.
  """

  @costs Path.expand("costs.tsv", __DIR__)
  # What a crate costs that the table does not have.
  @least 0.3
  # Seconds of compiling before this machine's speed is believed.
  @warm 20.0

  @enforce_keys [:costs, :left, :cores, :began]
  defstruct [:costs, :left, :cores, :began, done: 0.0]

  @opaque t :: %__MODULE__{
            costs: %{String.t() => [float]},
            left: float,
            cores: pos_integer,
            began: integer,
            done: float
          }

  @doc "A build that begins at `now` on so many cores."
  @spec new(pos_integer, integer) :: t
  def new(cores, now) do
    costs = table()
    %__MODULE__{costs: costs, left: costs |> Map.values() |> List.flatten() |> Enum.sum(), cores: cores, began: now}
  end

  @doc "What the table has: for each crate the seconds of each of its versions and builds, the longest first."
  @spec table() :: %{String.t() => [float]}
  def table do
    for line <- File.stream!(@costs), not String.starts_with?(line, "#"), reduce: %{} do
      costs ->
        [name, seconds] = line |> String.trim_trailing() |> String.split("\t")
        Map.update(costs, name, [String.to_float(seconds)], &Enum.sort([String.to_float(seconds) | &1], :desc))
    end
  end

  @doc """
  The build after a line of cargo's: `{:crate, build}` when it told of a crate that is done, and `:other` for what it writes for
  people.
  """
  @spec line(t, String.t()) :: {:crate, t} | :other
  def line(build, ~s({"reason":) <> _rest = line) do
    case Regex.run(~r{"reason":"compiler-artifact","package_id":"[^"]*[/#]([\w-]+)[#@][^"]*"}, line) do
      [_all, name] -> {:crate, done(build, name, line =~ ~s("fresh":true))}
      nil -> {:crate, build}
    end
  end

  def line(_build, _line), do: :other

  defp done(build, name, fresh?) do
    {cost, costs} = take(build.costs, name)
    done = if fresh?, do: build.done, else: build.done + max(cost, @least)
    %{build | costs: costs, left: max(build.left - cost, 0.0), done: done}
  end

  defp take(costs, name) do
    case costs do
      %{^name => [cost | others]} -> {cost, %{costs | name => others}}
      _none -> {0.0, costs}
    end
  end

  @doc "How much is compiled, in percent of what this build began with, and how many seconds the rest will take."
  @spec now(t, integer) :: {0..100, non_neg_integer}
  def now(build, now) do
    elapsed = max(now - build.began, 1) / 1000
    # Seconds of compiling in a second.
    speed = if build.done < @warm, do: build.cores, else: build.done / elapsed
    {round(100 * build.done / max(build.done + build.left, @least)), round(build.left / speed)}
  end

  @doc "The same as a line for people."
  @spec told(t, integer) :: String.t()
  def told(build, now) do
    {percent, seconds} = now(build, now)
    "#{String.pad_leading("#{percent}", 3)} % compiled, #{rest(seconds)} left"
  end

  defp rest(seconds) when seconds < 90, do: "about #{10 * max(1, round(seconds / 10))} s"
  defp rest(seconds), do: "about #{round(seconds / 60)} min"
end
