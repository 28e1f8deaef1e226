Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.SecurityTest do
  # docs/security.md: what it says that tests show is shown by tests of these names.
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown

  @document "docs/security.md"

  test "every guard names tests that exist, and every attacker has guards" do
    sections = @document |> File.read!() |> String.split(~r/^## /m)
    attackers = Enum.filter(sections, &String.starts_with?(&1, "A "))
    assert length(attackers) == 5

    for section <- attackers do
      # Behind the table's head and rule: what is guarded, by what, and the tests.
      [_head, _rule | rows] = Regex.scan(~r/^\|.*$/m, section) |> List.flatten()
      assert rows != []

      for row <- rows do
        tests = row |> String.split(" | ") |> List.last() |> Markdown.named()
        assert tests != [], "no test is named for: #{row}"

        for [title, target] <- tests,
            file = Path.relative_to_cwd(Path.expand(target, "docs")),
            do: assert(Markdown.test?(file, title), "#{file} has no test #{inspect(title)}")
      end
    end
  end
end
