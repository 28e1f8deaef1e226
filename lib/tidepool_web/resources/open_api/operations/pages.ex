defmodule TidepoolWeb.Resources.OpenApi.Operations.Pages do
  @moduledoc "What the document says of the page, the book, the tool and itself."

  import TidepoolWeb.Resources.OpenApi.Schema

  alias TidepoolWeb.Resources.OpenApi.Operations

  @doc "All rows, by method and path."
  @spec rows :: [{{method :: String.t(), path :: String.t()}, Operations.t()}]
  def rows do
    leads("/", "leadToPage", "the page") ++
      leads("/ui", "leadFromUi", "the page") ++
      leads("/docs", "leadToBook", "the book") ++
      files("/ui", "Page", "the page") ++
      files("/docs", "Book", "the book") ++
      [
        {{"GET", "/cli/tidepool"},
         row("getTool", "Downloads the command line tool.", [
           {200, {"application/octet-stream", any()}, "The program."}
         ])},
        {{"GET", "/openapi.json"},
         row("getDocument", "Has this document.", [
           {200, {"application/json", object(openapi: text(), info: named(any()), paths: named(any()))},
            "The document."}
         ])}
      ]
  end

  defp leads(path, id, where) do
    [{{"GET", path}, row(id, "Leads to #{where}.", [{302, nil, "`Location` says where it is."}])}]
  end

  defp files(path, name, what) do
    answers = [{200, {"*/*", any()}, "The file."}, {304, nil, "The client has it as it is."}]

    for {rest, id} <- [{"/", "get#{name}"}, {"/:file", "get#{name}File"}, {"/:folder/:file", "get#{name}FileIn"}] do
      {{"GET", path <> rest}, row(id, "Has a file of #{what}.", answers)}
    end
  end

  defp row(id, summary, answers), do: %{id: id, tag: "pages", summary: summary, answers: answers}
end
