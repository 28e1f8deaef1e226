# Makes in a folder what mdBook makes the book of. Run by bin/book.
for file <- ["api.exs", "pages.exs"], do: Code.require_file(file, __DIR__)

alias Tidepool.Book.{Api, Pages}

[folder] = System.argv()

write = fn path, text ->
  path = Path.join(folder, path)
  File.mkdir_p!(Path.dirname(path))
  File.write!(path, text)
end

pages = Pages.documents()

files =
  for document <- ["docs/SUMMARY.md" | pages], {text, files} = Pages.page(document, pages), reduce: %{} do
    all ->
      if document != "docs/SUMMARY.md", do: write.(Path.join("src", Pages.name(document)), text)

      Map.merge(all, Map.new(files), fn name, one, other ->
        if one != other, do: raise("#{one} and #{other} would both be #{name}"), else: one
      end)
  end

for {name, file} <- files, do: write.(Path.join("src", name), File.read!(file))

api = Api.pages()
path = fn title -> "api/#{String.replace(title, " ", "-")}.md" end
for {title, text} <- api, do: write.(Path.join("src", path.(title)), Pages.named(text))

{summary, _files} = Pages.page("docs/SUMMARY.md", pages)
chapters = for {title, _text} <- api, do: "- [#{title}](#{path.(title)})\n"
write.("src/SUMMARY.md", [summary, "\n# Elixir\n\n", chapters])

write.("book.toml", File.read!("docs/book.toml"))
write.("theme/favicon.svg", File.read!("priv/ui/icon.svg"))
# Those of the system do, and weigh nothing.
write.("theme/fonts/fonts.css", "/* none */\n")

write.("theme/book.css", """
.nav-wrapper::after { content: ""; display: block; clear: both; }
.left { text-align: left; } .center { text-align: center; } .right { text-align: right; }
.content img { max-width: 100%; }
""")
