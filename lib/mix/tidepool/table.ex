defmodule Tidepool.Mix.Table do
  @moduledoc "Tables that tasks print. What is in them others have said."

  alias Tidepool.Error.Terminal

  @doc """
  Rows below their heads, each column as wide as it needs to be; nothing where there are no rows.

      iex> Tidepool.Mix.Table.of(["NODE", "VOTES"], [["a@host", "yes"], ["b", "no"]])
      "NODE    VOTES\\na@host  yes\\nb       no"

      iex> Tidepool.Mix.Table.of(["NODE"], [])
      ""
  """
  @spec of([String.t()], [[String.t()]]) :: String.t()
  def of(_heads, []), do: ""

  def of(heads, rows) do
    rows = [heads | for(row <- rows, do: Enum.map(row, &Terminal.line/1))]
    widths = for column <- Enum.zip(rows), do: column |> Tuple.to_list() |> Enum.map(&String.length/1) |> Enum.max()

    Enum.map_join(rows, "\n", fn row ->
      row
      |> Enum.zip(widths)
      |> Enum.map_join("  ", fn {cell, width} -> String.pad_trailing(cell, width) end)
      |> String.trim_trailing()
    end)
  end
end
