Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.LinksTest do
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown

  test "every link within the documentation leads to a file, and to a heading in it" do
    assert length(Markdown.documents()) > 5

    broken =
      for document <- Markdown.documents(), link <- Markdown.links(document), not leads_somewhere?(document, link) do
        "#{document}: #{link}"
      end

    assert broken == []
  end

  defp leads_somewhere?(document, link) do
    [file | anchor] = String.split(link, "#")
    target = if file == "", do: document, else: document |> Path.dirname() |> Path.join(file)
    File.exists?(target) and Enum.all?(anchor, &(&1 in Markdown.anchors(target)))
  end

  test "every document of docs/ is linked from the README" do
    links = Markdown.links("README.md")
    assert Enum.reject(Path.wildcard("docs/*.md"), &(&1 in links)) == []
  end
end
