Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.TroubleshootingTest do
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown
  alias Tidepool.Error.Reason

  @document "docs/troubleshooting.md"
  @again [soon: "in a second", later: "later", deploy: "after a deploy", never: "no"]

  # `{reason, meaning, what to do, again}`
  defp documented do
    [_before, section] = String.split(File.read!(@document), "\n## By reason\n", parts: 2)

    for row <- Regex.scan(~r/^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$/m, section, capture: :all_but_first),
        do: List.to_tuple(row)
  end

  # As the one table of errors has them.
  defp reasons do
    for line <- "native/tidepool_errors/errors.tsv" |> File.read!() |> String.split("\n", trim: true),
        not String.starts_with?(line, "#"),
        [name, _of, _status, _retry, _outcome, _marks, _exit, _members, meaning | _hint] <- [String.split(line, "\t")],
        do: {name, meaning}
  end

  defp again(name) do
    reason = String.to_existing_atom(name)

    case Enum.group_by(Reason.kinds(reason), &Reason.retry({reason, &1})) do
      none when none == %{} -> @again[Reason.retry(reason)]
      one when map_size(one) == 1 -> @again[one |> Map.keys() |> hd()]
      several -> Map.new(several, fn {retry, kinds} -> {@again[retry], Enum.map(kinds, &to_string/1)} end)
    end
  end

  # As `in a second for `a`, `b`; later for `c``.
  defp read(text) do
    case String.split(text, " for ") do
      [word] ->
        word

      _several ->
        for part <- String.split(text, "; "), into: %{} do
          [word, kinds] = String.split(part, " for ")
          {word, ~r/`(\w+)`/ |> Regex.scan(kinds, capture: :all_but_first) |> List.flatten()}
        end
    end
  end

  test "every reason of the table of errors has its row, with its meaning, and no other has one" do
    rows = for {reason, meaning, _what, _again} <- documented(), do: {reason, meaning}
    assert Enum.sort(rows) == Enum.sort(reasons())
  end

  test "each row says what to do, and whether to ask again, as clients are told" do
    Code.ensure_loaded!(Reason)

    for {reason, _meaning, what, again} <- documented() do
      assert what =~ ~r/\A[A-Z].*\.\z/, reason
      assert {reason, read(again)} == {reason, again(reason)}
    end
  end

  test "settings and variables that it names are there" do
    text = File.read!(@document)
    known = Tidepool.Config.Variables.known()
    # An example of a slip.
    variables = ~r/\bTIDEPOOL_[A-Z_]+\b/ |> Regex.scan(text) |> List.flatten() |> Enum.uniq()
    assert variables -- known == ["TIDEPOOL_TOKENS"]
    assert "TIDEPOOL_SEEDS" in variables
    # Reasons, anchors and rows are held by the tests of links.
    assert length(Markdown.rows(@document)) > 100
  end
end
