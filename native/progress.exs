defmodule Tidepool.Native.Progress do
  @moduledoc """
  How far a build of the native library is, from what cargo tells of each crate that is done, and how long the rest will take.

  `costs.tsv` beside this file has the seconds that each crate takes one core. What cargo has compiled in this build, and the time
  since its beginning, say how fast this machine is. An estimate is told once it holds: when the last ones came to about the same
  end, each nearer than the one before. No process, no clock: times are handed in, in milliseconds.
  """

  @costs Path.expand("costs.tsv", __DIR__)
  # What a crate costs that the table does not have.
  @least 0.3
  # Seconds of compiling before this machine's speed is believed.
  @warm 20.0
  # How many estimates in a row have to agree, and how far the whole time may be apart in them.
  @agreeing 3
  @apart 1.2

  @enforce_keys [:costs, :left, :cores, :began]
  defstruct [:costs, :left, :cores, :began, :of, done: 0.0, crates: MapSet.new(), estimates: []]

  @opaque t :: %__MODULE__{
            costs: %{String.t() => [float]},
            left: float,
            cores: pos_integer,
            began: integer,
            of: pos_integer | nil,
            done: float,
            crates: MapSet.t(String.t()),
            estimates: [{whole :: number, left :: number}]
          }

  @doc "A build that begins at `now` on so many cores, `of` so many crates, if that is known."
  @spec new(pos_integer, integer, pos_integer | nil) :: t
  def new(cores, now, of \\ nil) do
    costs = table()
    left = costs |> Map.values() |> List.flatten() |> Enum.sum()
    %__MODULE__{costs: costs, left: left, cores: cores, began: now, of: of}
  end

  @doc "How many crates there are in a tree of cargo's, as `cargo tree --prefix none` writes it; `nil` where that is none."
  @spec crates(String.t()) :: pos_integer | nil
  def crates(tree) do
    case Regex.scan(~r/^([\w-]+ v\d\S*)/m, tree, capture: :all_but_first) |> Enum.uniq() |> length() do
      0 -> nil
      count -> count
    end
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
    case Regex.run(~r{"reason":"compiler-artifact","package_id":"([^"]*[/#]([\w-]+)[#@][^"]*)"}, line) do
      [_all, id, name] -> {:crate, build |> done(name, line =~ ~s("fresh":true)) |> counted(id, line)}
      nil -> {:crate, build}
    end
  end

  def line(_build, _line), do: :other

  defp done(build, name, fresh?) do
    {cost, costs} = take(build.costs, name)
    done = if fresh?, do: build.done, else: build.done + max(cost, @least)
    %{build | costs: costs, left: max(build.left - cost, 0.0), done: done}
  end

  # A crate's own program that runs before it is built is not yet the crate.
  defp counted(build, id, line) do
    if line =~ ~s("kind":["custom-build"]), do: build, else: %{build | crates: MapSet.put(build.crates, id)}
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

  @doc "The same as a line for people, and the build after it was told."
  @spec told(t, integer) :: {String.t(), t}
  def told(build, now) do
    {_percent, left} = now(build, now)
    elapsed = div(now - build.began, 1000)
    build = %{build | estimates: Enum.take([{elapsed + left, left} | build.estimates], @agreeing)}
    of = if build.of, do: " of #{max(build.of, MapSet.size(build.crates))}", else: ""
    estimate = if holds?(build), do: ", about #{about(left)} left", else: ""
    {"after #{time(elapsed)}: crate #{MapSet.size(build.crates)}#{of}#{estimate}", build}
  end

  defp holds?(build) do
    {wholes, lefts} = Enum.unzip(build.estimates)
    agree? = length(wholes) == @agreeing and Enum.max(wholes) <= @apart * Enum.min(wholes)
    build.done >= @warm and agree? and lefts == Enum.sort(lefts) and lefts == Enum.uniq(lefts)
  end

  defp time(seconds) when seconds < 60, do: "#{seconds} s"
  defp time(seconds), do: "#{div(seconds, 60)} min #{rem(seconds, 60)} s"

  defp about(seconds) when seconds < 90, do: "#{10 * max(1, round(seconds / 10))} s"
  defp about(seconds), do: "#{round(seconds / 60)} min"
end
