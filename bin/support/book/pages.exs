defmodule Tidepool.Book.Pages do
  @moduledoc """
  The documents of the project as pages of a book: those that `docs/SUMMARY.md` names, with links that lead somewhere in it.

  A link to another page goes there; one to a file that guests or operators use goes to a copy of it, in `files/`;
  of one to other sources its text is left, as a reader of the book may have none.
  """

  @summary "docs/SUMMARY.md"
  @copied ["guests/", "ops/"]
  # What code is in, that mdBook's highlighting does not know, as the nearest that it knows.
  @languages %{"elixir" => "ruby", "zig" => "plaintext", "text" => "plaintext"}

  @doc "The documents of the book, as paths in the project."
  def documents do
    for [_link, target] <- Regex.scan(~r/\]\(([^)]+)\)/, File.read!(@summary)), do: Path.join("docs", target) |> plain()
  end

  @doc "The book's name for a document."
  def name("docs/" <> document), do: name(document)
  def name(document), do: String.replace(document, ~r/\bREADME\.md$/, "index.md")

  @doc "A document as it is in the book, with what has to be there beside it: `{text, [{path in the book, path in the project}]}`."
  def page(document, pages) do
    text = File.read!(document)
    links = for [link, _title, target] <- Regex.scan(link(), text), link != target, do: target
    files = for target <- links, {:file, file, name} <- [leads(document, target, pages)], uniq: true, do: {name, file}
    {text |> linked(document, pages) |> named(), files}
  end

  # Code is left as it is.
  defp link, do: ~r/^ *```.*?^ *```$|`[^`\n]*`(?!\])|\[((?:`[^`]*`|[^\[\]`])*)\]\(([^)\s]+)\)/ms

  defp linked(text, document, pages) do
    Regex.replace(link(), text, fn
      all, "", "" ->
        all

      _all, title, target ->
        case leads(document, target, pages) do
          :elsewhere -> "[#{title}](#{target})"
          :nowhere -> title
          {:page, name, anchor} -> "[#{title}](#{beside(document, name)}#{anchor})"
          {:file, _file, name} -> "[#{title}](#{beside(document, name)})"
        end
    end)
  end

  defp leads(document, target, pages) do
    [path | anchor] = String.split(target, "#", parts: 2)
    file = document |> Path.dirname() |> Path.join(path) |> plain()
    anchor = Enum.map_join(anchor, &("#" <> &1))

    cond do
      target =~ ~r/^[a-z]+:/ ->
        :elsewhere

      path == "" ->
        {:page, name(document), anchor}

      file in pages ->
        {:page, name(file), anchor}

      Path.extname(file) in [".png", ".svg"] ->
        {:file, file, name(file)}

      Path.extname(file) != ".md" and String.starts_with?(file, @copied) and File.regular?(file) ->
        {:file, file, "files/" <> Path.basename(file)}

      true ->
        :nowhere
    end
  end

  defp beside(document, name) do
    up = document |> name() |> Path.dirname() |> Path.split() |> Enum.reject(&(&1 == "."))
    Path.join(Enum.map(up, fn _folder -> ".." end) ++ [name])
  end

  # Without `..`, relative to the project.
  defp plain(path), do: path |> Path.expand() |> Path.relative_to_cwd()

  @doc "The text with languages of code that mdBook knows."
  def named(text) do
    Regex.replace(~r/^( *```)(\w+)$/m, text, fn _all, fence, language ->
      fence <> Map.get(@languages, language, language)
    end)
  end
end
