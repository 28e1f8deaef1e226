Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.ProductionTest do
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown

  # Variables of Erlang, of releases and of OpenTelemetry that the pages name.
  @others ~w(ERL_ZFLAGS RELEASE_COOKIE RELEASE_NODE OTEL_EXPORTER_OTLP_ENDPOINT)

  for document <- ["docs/production.md", "docs/phoenix.md", "docs/versions.md", "docs/glossary.md"] do
    test "variables, settings and functions that #{document} names are there" do
      text = File.read!(unquote(document))
      variables = ~r/\b(?:TIDEPOOL|RELEASE|OTEL|ERL)_[A-Z_]+\b/ |> Regex.scan(text) |> List.flatten() |> Enum.uniq()
      assert variables -- (Tidepool.Config.Variables.known() ++ @others) == []

      for [_all, module, function] <- Regex.scan(~r/\b(Tidepool(?:\.[A-Z]\w+)*)\.([a-z_]+[?!]?)\(/, text) do
        module = Module.concat([module])
        Code.ensure_loaded!(module)
        assert Enum.any?(module.__info__(:functions), fn {name, _arity} -> "#{name}" == function end)
      end
    end
  end

  test "each line to check names a command, a setting or a variable, and leads to the page that explains it" do
    points = File.read!("docs/production.md") |> String.split("\n- [ ] ") |> tl()
    assert length(points) > 40

    for point <- points do
      [point | _next_section] = String.split(point, "\n\n")
      assert point =~ "`" or point =~ "NTP", point
      assert point =~ "](" or point =~ "/health", point
    end
  end

  test "settings that stand alone in the checklist are settings or limits" do
    known =
      for schema <- [Tidepool.Config.Schema.settings(), Tidepool.Limits.schema()],
          key <- Keyword.keys(schema),
          do: to_string(key)

    named = ~r/`(max_\w+|total_\w+)`/ |> Regex.scan(File.read!("docs/production.md"), capture: :all_but_first)
    assert named != []
    assert List.flatten(named) -- known == []
  end

  test "commands of the tool that the checklist has are documented, with their options" do
    tool = File.read!("docs/cli.md")
    commands = ~r/`tidepool (\w+(?: \w+)?) ([^`]*)`/ |> Regex.scan(File.read!("docs/production.md"))
    assert length(commands) > 1

    for [_all, command, rest] <- commands do
      assert Enum.any?([command, command |> String.split() |> hd()], &(tool =~ "| `#{&1} "))
      for [option] <- Regex.scan(~r/--[a-z-]+/, rest), do: assert(tool =~ "`#{option}`", option)
    end
  end

  test "every word of the glossary leads to the page that explains it" do
    entries =
      "docs/glossary.md"
      |> Markdown.prose()
      |> String.split("\n\n")
      |> Enum.filter(&String.starts_with?(&1, "**"))

    assert length(entries) > 40
    for entry <- entries, do: assert(entry =~ ~r/\]\(/, entry)
    words = for entry <- entries, [_all, word] <- [Regex.run(~r/\A\*\*(.+?)\.\*\*/, entry)], do: word
    assert Enum.uniq(words) == words
  end
end
