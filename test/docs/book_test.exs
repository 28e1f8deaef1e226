Code.require_file("markdown.exs", __DIR__)
for file <- ["api.exs", "pages.exs"], do: Code.require_file("../../bin/support/book/#{file}", __DIR__)

defmodule Tidepool.Docs.BookTest do
  # The book as bin/book makes it. How it is served is in test/tidepool_web/book_test.exs, what browsers show in test/browser.
  use ExUnit.Case, async: true

  alias Tidepool.Book
  alias Tidepool.Docs.Markdown

  setup_all do
    folder = Book.build!()
    pages = for file <- Path.wildcard(folder <> "/**/*.html"), do: {Path.relative_to(file, folder), File.read!(file)}
    %{folder: folder, pages: Map.new(pages)}
  end

  defp attributes(text, name), do: for([_all, value] <- Regex.scan(~r/\s#{name}="([^"]*)"/, text), do: value)

  test "every document for readers is in the book, once", %{pages: pages} do
    documents = Book.Pages.documents()
    assert Enum.uniq(documents) == documents
    there = Path.wildcard("docs/**/*.md") ++ ~w(README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md)
    assert Enum.sort(documents) == Enum.sort(there -- ["docs/SUMMARY.md"])
    for document <- documents, do: assert(pages[Path.rootname(Book.Pages.name(document)) <> ".html"], document)
  end

  test "every link within the book leads to a file of it, and to a place in that", %{folder: folder, pages: pages} do
    places = Map.new(pages, fn {page, text} -> {page, MapSet.new(attributes(text, "id"))} end)

    links =
      for {page, text} <- pages,
          link <- attributes(text, "href") ++ attributes(text, "src"),
          not (link =~ ~r/^[a-z]+:/),
          do: {page, link |> String.replace("&amp;", "&") |> URI.decode()}

    assert length(links) > 1_000

    broken =
      for {page, link} <- links, [path | anchor] = String.split(link, "#", parts: 2) do
        target =
          if path == "",
            do: page,
            else: page |> Path.dirname() |> Path.join(path) |> Path.expand("/") |> Path.relative_to("/")

        unless File.regular?(Path.join(folder, target)) and Enum.all?(anchor, &(&1 in places[target])),
          do: "#{page}: #{link}"
      end

    assert Enum.reject(broken, &is_nil/1) == []
  end

  test "pages have no script and no style within them, and load nothing from elsewhere", %{pages: pages} do
    for {page, text} <- pages do
      refute text =~ ~r/<script(?![^>]* src=)/, page
      refute text =~ ~r/<style|<[^<>]* (style|on[a-z]+)=/, page

      loaded =
        attributes(text, "src") ++
          for [link] <- Regex.scan(~r/<link [^>]*>/, text), href <- attributes(link, "href"), do: href

      assert Enum.filter(loaded, &(&1 =~ ~r{^([a-z]+:)?//|^[a-z]+:})) == [], page
    end
  end

  test "every module and task that the documents use has a page with all that is documented of it", %{pages: pages} do
    used =
      for document <- Book.Pages.documents(),
          {"elixir", text, _line} <- Markdown.blocks(document),
          [name] <- Regex.scan(~r/\bTidepool(?:\.[A-Z]\w*)*(?=\.[a-z])/, text),
          uniq: true,
          do: name

    assert length(used) > 5

    for name <- used do
      assert text = pages["api/#{name}.html"], "#{name} has no page"
      {:docs_v1, _line, _language, _format, _doc, _metadata, members} = Code.fetch_docs(Module.concat([name]))

      for {{:function, function, _arity}, _line, _signature, %{}, _about} <- members,
          function != :child_spec,
          do: assert(text =~ ~r/<h3[^>]*><a[^>]*><code>#{Regex.escape(to_string(function))}\(/, "#{name}.#{function}")
    end

    for task <- Path.wildcard("lib/mix/tasks/*.ex"),
        do: assert(pages["api/mix-#{Path.rootname(Path.basename(task))}.html"])
  end
end
