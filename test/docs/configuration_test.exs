Code.require_file("markdown.exs", __DIR__)
Code.require_file("settings.exs", __DIR__)

defmodule Tidepool.Docs.ConfigurationTest do
  use ExUnit.Case, async: true

  alias Tidepool.Docs.{Markdown, Settings}

  @document "docs/configuration.md"

  test "every setting and limit is documented as its schema has it" do
    text = File.read!(@document)
    how = "mix run --no-start -r test/docs/settings.exs -e 'Tidepool.Docs.Settings.print()'"

    for schema <- [Tidepool.Config.Schema.settings(), Tidepool.Limits.schema(), Tidepool.Trace.Settings.schema()] do
      table = Settings.table(schema)
      assert String.contains?(text, table), "#{@document} should have this table, as printed by #{how}:\n\n#{table}"
    end
  end

  test "every variable that runtime.exs reads is documented, with the setting that it sets" do
    source = File.read!("config/runtime.exs")
    pairs = Regex.scan(~r/(\w+): (?:integer\.|System\.get_env)\("(\w+)"\)/, source, capture: :all_but_first)
    assert length(pairs) >= 5
    rows = for [variable, setting | _more] <- Markdown.rows(@document), do: {variable, setting}

    for [setting, variable] <- pairs do
      assert {_variable, what} = Enum.find(rows, &(match?({"`" <> _, _}, &1) && elem(&1, 0) == "`#{variable}`"))
      assert what =~ "`#{setting}`"
    end
  end

  test "every setting that is no number has a variable in the table, but those of who starts the node" do
    rows = for ["`" <> variable, what | _more] <- Markdown.rows(@document), variable =~ ~r/\A(TIDEPOOL|OTEL)_/, do: what

    for {name, spec} <- Tidepool.Config.Schema.settings(),
        name not in [:server, :standalone],
        not match?({:integer, _least, _most}, spec[:type]),
        do: assert(Enum.any?(rows, &(&1 =~ "`#{name}`")), "no variable for #{name}")
  end

  test "every variable that the scripts, releases and the tool take is documented" do
    scripts =
      ~w(bin/{guests,setup,start,test} bin/support/*.sh rel/env.sh.eex guests/builder/*.py native/tidepool_cli/src/cli.rs)
      |> Enum.flat_map(&Path.wildcard/1)
      |> Enum.map_join(&File.read!/1)

    variables = Regex.scan(~r/\b(CI|TIDEPOOL_\w+|XDG_CACHE_HOME|CARGO_TARGET_DIR)\b/, scripts) |> Enum.map(&hd/1)
    text = File.read!(@document)
    for known <- ~w(CI TIDEPOOL_CERTS TIDEPOOL_TOOLCHAINS), do: assert(known in variables)

    # What `bin/tidepool run` passes on to itself.
    for variable <- Enum.uniq(variables),
        not String.starts_with?(variable, "TIDEPOOL_RUN"),
        do: assert(text =~ variable, "#{variable} is not in #{@document}")
  end
end
