Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.OperationsTest do
  use Tidepool.Case, async: true

  alias Tidepool.Docs.Markdown

  test "the list of metrics is that of /metrics" do
    name = deploy!("rust", "hello_world")
    assert {:ok, _reply} = Tidepool.call(name, "hello")
    {200, _headers, text} = curl("/metrics")

    types = Regex.scan(~r/^# TYPE (\S+) (\S+)$/m, text, capture: :all_but_first)
    served = for [name, type] <- types, do: if(type == "counter", do: name <> "_total", else: name)

    documented =
      for [metrics, _what] <- Markdown.rows("docs/operations.md"),
          [_code, name] <- Regex.scan(~r/`((?:tidepool|beam)_\w+)`/, metrics),
          do: name

    assert Enum.sort(documented) == Enum.sort(served)
  end

  test "the table of the log's lines is that of the code: events, levels and metadata" do
    documented =
      for ["`" <> event, level, _when, keys] <- Markdown.rows("docs/operations.md"),
          event in ["deployed`", "removed`", "changed`", "refused`", "failed`"] or keys =~ "`tidepool_function`" do
        {String.trim(event, "`"), level, keys |> String.split(", ") |> Enum.map(&String.trim(&1, "`"))}
      end

    known = for {event, {level, keys}} <- Tidepool.Log.events(), do: {"#{event}", "#{level}", Enum.map(keys, &"#{&1}")}
    assert documented == known
  end

  test "metadata of the log has no key of Elixir's own, and each key is documented" do
    text = File.read!("docs/operations.md")

    keys =
      for file <- Path.wildcard("lib/**/*.ex"),
          source = File.read!(file),
          source =~ "Logger.",
          [key] <- Regex.scan(~r/\b(tidepool_(?:function|version|\w+)): /, source, capture: :all_but_first),
          do: key

    assert "tidepool_stream" in keys
    for key <- Enum.uniq(keys), do: assert(text =~ "`#{key}`", "#{key} is not documented")
  end

  test "every outcome of a call is documented, and no other" do
    {outcomes, _bounds, _functions} = Tidepool.Native.figures(Tidepool.Engine.runtime())
    assert "ok" in outcomes
    [row] = for [metrics, what] <- Markdown.rows("docs/operations.md"), metrics =~ "`tidepool_calls_total`", do: what
    assert [["function"], ["reason"] | documented] = Regex.scan(~r/`(\w+)`/, row, capture: :all_but_first)
    assert Enum.sort(List.flatten(documented)) == Enum.sort(outcomes)
  end
end
