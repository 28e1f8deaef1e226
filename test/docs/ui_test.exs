Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.UiTest do
  # What docs/ui.md says of the page is about this one.
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown

  @document "docs/ui.md"

  # As the page names them in its addresses, and at its head.
  defp pages do
    [_all, list] = Regex.run(~r/^const pages = \[(.*?)^\];/ms, File.read!("priv/ui/app.mjs"))
    Regex.scan(~r/^  \["(\w+)", "([^"]+)"/m, list, capture: :all_but_first)
  end

  test "each part of the page is described, and shown by a picture of its own" do
    rows = Enum.map(Markdown.rows(@document), &hd/1)
    pictures = for "ui/" <> picture <- Markdown.links(@document), do: Path.basename(picture, ".png")
    assert length(pages()) > 7

    for [name, title] <- pages() do
      assert title in rows
      assert name in pictures
    end

    assert Enum.sort(pictures) == Enum.sort(for file <- Path.wildcard("docs/ui/*"), do: Path.basename(file, ".png"))
  end

  test "pictures are small, and what they are called" do
    for file <- Path.wildcard("docs/ui/*.png") do
      assert <<0x89, "PNG\r\n", 0x1A, "\n", _rest::binary>> = image = File.read!(file)
      assert byte_size(image) < 200_000, file
    end
  end
end
