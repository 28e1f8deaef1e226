defmodule Tidepool.Slowest do
  @moduledoc """
  A formatter for ExUnit that says where the time of a whole run went: the slowest tests and files, and how long those took that run
  alone. Nothing of a run of a few files.

  ExUnit's own `--slowest` has all tests run one after the other.
  """

  use GenServer

  # Of fewer files nobody asks.
  @least_files 20
  @shown_tests 15
  @shown_files 100

  @impl true
  def init(_options), do: {:ok, %{tests: [], files: %{}, alone_us: 0}}

  @impl true
  def handle_cast({:test_finished, %ExUnit.Test{time: us, tags: tags} = test}, state) do
    file = Path.relative_to_cwd(tags.file)
    files = Map.update(state.files, file, us, &(&1 + us))
    alone_us = if tags.async, do: state.alone_us, else: state.alone_us + us

    {:noreply,
     %{state | tests: [{us, "#{test.name}, #{file}:#{tags.line}"} | state.tests], files: files, alone_us: alone_us}}
  end

  def handle_cast({:suite_finished, _times}, %{files: files} = state) when map_size(files) >= @least_files do
    IO.puts(
      "\n\nTop #{@shown_tests} slowest tests, after #{seconds(state.alone_us)} of tests that run alone:\n" <>
        rows(state.tests, @shown_tests) <> "of files:\n" <> rows(for({file, us} <- files, do: {us, file}), @shown_files)
    )

    {:noreply, state}
  end

  def handle_cast(_event, state), do: {:noreply, state}

  defp rows(rows, most) do
    for {us, name} <- rows |> Enum.filter(fn {us, _name} -> us > 0 end) |> Enum.sort(:desc) |> Enum.take(most),
        into: "",
        do: "  #{seconds(us)}  #{name}\n"
  end

  defp seconds(us), do: "#{Float.round(us / 1_000_000, 1)} s"
end
