Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.LinesTest do
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown

  @most 100

  # The change log has an entry in a line; tables, code and points that are a link can't be broken.
  test "lines of text end before the 101st character, so that a change of a word is a change of a line" do
    long =
      for document <- Markdown.documents(),
          document != "CHANGELOG.md",
          line <- document |> Markdown.prose() |> String.split("\n"),
          String.length(line) > @most,
          not (line =~ ~r/^(\||    |\s*- \[)/),
          do: "#{document}: #{line}"

    assert long == []
  end
end
