defmodule Tidepool.GrowthTable do
  @moduledoc "The tables of docs/growth.md."

  # What the first cells of their heads are.
  @heads ["what grows", "what is shared", "what is kept"]

  @doc "The rows of the table below a heading, each as its cells."
  @spec rows(String.t()) :: [[String.t()]]
  def rows(heading) do
    [_before, behind] = "docs/growth.md" |> File.read!() |> String.split("\n## #{heading}\n")
    [section | _others] = String.split(behind, "\n## ")

    for "| " <> row <- String.split(section, "\n"),
        cells = row |> String.trim_trailing("|") |> String.split("|") |> Enum.map(&String.trim/1),
        hd(cells) not in ["---" | @heads],
        do: cells
  end
end
