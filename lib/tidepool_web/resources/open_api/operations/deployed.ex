defmodule TidepoolWeb.Resources.OpenApi.Operations.Deployed do
  @moduledoc "What the document says of deploys, functions, calls and recordings."

  import TidepoolWeb.Resources.OpenApi.Schema

  alias Tidepool.Deploy
  alias Tidepool.Function.{Fields, Spec}
  alias TidepoolWeb.Resources.OpenApi.Operations
  alias TidepoolWeb.Resources.OpenApi.Schemas.Functions

  @json "application/json"

  @doc "All rows, by method and path."
  @spec rows :: [{{method :: String.t(), path :: String.t()}, Operations.t()}]
  def rows, do: functions() ++ calls() ++ recordings()

  defp functions do
    [
      {{"POST", "/deploy"},
       %{
         id: "deploy",
         tag: "functions",
         summary: "Deploys a module.",
         doc: "A name that exists gets the next version. A deploy that is refused changes nothing.",
         query: query(Spec.of_request()),
         body: {"multipart/form-data", Functions.form(Deploy.schema()), true},
         answers: [deployed(201, "A version was made."), deployed(200, "The newest version is this already.")],
         errors: [:deploy]
       }},
      {{"GET", "/functions"},
       %{
         id: "listFunctions",
         tag: "functions",
         summary: "Lists what is deployed.",
         query: [label: said(list(text()), "Those that have this label, `KEY:VALUE` or `KEY`."), namespace: namespace()],
         answers: [{200, json(:Functions), "The functions, by name."}]
       }},
      {{"GET", "/functions/:function"},
       %{
         id: "getFunction",
         tag: "functions",
         summary: "Tells of one function.",
         answers: [{200, json(:Function), "The function."}],
         errors: [:call]
       }},
      {{"DELETE", "/functions/:function"},
       %{
         id: "removeFunction",
         tag: "functions",
         summary: "Removes a function.",
         answers: [{200, {@json, object(removed: text())}, "It is removed; calls in flight finish."}],
         errors: [:call]
       }},
      {{"GET", "/functions/:function/wasm"},
       %{
         id: "getModule",
         tag: "functions",
         summary: "Downloads the newest version's module.",
         answers: [{200, {"application/wasm", any()}, "The module, with its SHA-256 as `ETag`."}],
         errors: [:call]
       }},
      {{"GET", "/functions/:function/versions"},
       %{
         id: "listVersions",
         tag: "functions",
         summary: "Lists the versions that are kept.",
         answers: [{200, json(:Versions), "The versions, newest first."}],
         errors: [:call]
       }},
      {{"POST", "/functions/:function/rollback"},
       %{
         id: "rollBack",
         tag: "functions",
         summary: "Makes a version that was replaced the newest one again.",
         query: [
           {:version, said(integer(1), "Which one; by default the one before the newest.")} | query(Spec.of_request())
         ],
         answers: [deployed(201, "A version was made."), deployed(200, "The newest version is this already.")],
         errors: [:deploy]
       }},
      {{"GET", "/functions/:function/logs"},
       %{
         id: "listLines",
         tag: "functions",
         summary: "Lists what a function printed last on this node.",
         query: recent(500),
         answers: [{200, json(:Lines), "The lines, oldest first."}],
         errors: [:call]
       }},
      {{"GET", "/functions/:function/failures"},
       %{
         id: "listFailures",
         tag: "functions",
         summary: "Lists with what a function's calls failed last on this node.",
         query: recent(50),
         answers: [{200, json(:Failures), "The failures, oldest first."}],
         errors: [:call]
       }}
    ]
  end

  defp calls do
    paths = [
      {"/call/:function", "", "its default operation"},
      {"/call/:function/:operation", "Operation", "an operation"}
    ]

    tools() ++ for({path, name, which} <- paths, method <- ["GET", "POST"], do: call(method, path, name, which))
  end

  defp call(method, path, name, which) do
    about = %{
      id: if(method == "GET", do: "ask", else: "call") <> name,
      tag: "calls",
      summary: "Calls a function with #{which}.",
      doc:
        "A function that handles HTTP gets the request as it is, of any method and with any path below this one, and answers it.",
      answers: [{200, {["text/plain", "application/octet-stream", @json], any()}, "The reply of the guest."}],
      errors: [:call]
    }

    {{method, path}, Map.merge(about, payload(method))}
  end

  defp tools do
    version = {"mcp-protocol-version", "The version of the protocol."}
    session = {"mcp-session-id", "The id that `initialize` told, in versions that have sessions."}

    [
      {{"POST", "/mcp"},
       %{
         id: "askTools",
         tag: "calls",
         summary: "Takes a message of the Model Context Protocol.",
         doc: "It lists the exports that are tools, calls them, and cancels calls.",
         headers: [
           version,
           session,
           {"mcp-method", "The method of the message, of version 2026-07-28."},
           {"mcp-name", "The name of the tool that is called, of version 2026-07-28."}
         ],
         body: {@json, any(), true},
         answers: [
           {200, {[@json, "text/event-stream"], any()},
            "The answer, as JSON-RPC has it; or a stream that ends with it, where progress is told."},
           {202, nil, "The message needs no answer."}
         ]
       }},
      {{"GET", "/mcp"},
       %{
         id: "listenToTools",
         tag: "calls",
         summary: "Tells when tools change, to clients of versions of the protocol that have sessions.",
         headers: [version, session],
         answers: [{200, {"text/event-stream", text()}, "Notifications, until the client hangs up."}]
       }}
    ]
  end

  defp payload("GET"), do: %{query: [payload: said(text(), "The payload.")]}
  defp payload("POST"), do: %{body: {"application/octet-stream", any(), false}}

  defp recordings do
    [
      {{"GET", "/recordings"},
       %{
         id: "listRecordings",
         tag: "recordings",
         summary: "Lists the calls that were recorded on this node.",
         query: [
           function: said(text(), "Those of this function."),
           limit: said(of_type({:integer, 1, 1_000}), "How many at most.")
         ],
         answers: [{200, json(:Recordings), "The recordings, newest first."}]
       }},
      {{"GET", "/recordings/:id"},
       %{
         id: "getRecording",
         tag: "recordings",
         summary: "Downloads a recording.",
         answers: [{200, {"application/octet-stream", any()}, "The recording, as a file."}],
         errors: [:node]
       }},
      {{"DELETE", "/recordings/:id"},
       %{
         id: "deleteRecording",
         tag: "recordings",
         summary: "Deletes a recording.",
         answers: [{200, {@json, object(deleted: text())}, "It is deleted."}],
         errors: [:node]
       }},
      {{"POST", "/replay"},
       %{
         id: "replay",
         tag: "recordings",
         summary: "Runs a recorded call again.",
         body:
           {@json,
            object(
              [recording: said(text(), "The recording, in Base64.")],
              module: said(text(), "The module, in Base64, where this node does not have it."),
              against: said(boolean(), "Whether the module is another version of the one that was called.")
            ), true},
         answers: [{200, json(:Replay), "What the call came to."}],
         errors: [:node, :deploy]
       }}
    ]
  end

  defp deployed(status, text), do: {status, json(:Deployed), text}
  defp json(name), do: {@json, ref(name)}
  defp query(options), do: for({name, spec} <- options, do: {name, parameter(spec)})

  # What has members is JSON, as a text.
  defp parameter(spec) do
    case spec[:type] do
      {:keyword, _schema} -> said(text(), "#{spec[:doc]} As text: #{Fields.notation(spec)}.")
      _type -> asked(spec)
    end
  end

  defp namespace, do: said(text(), "Those of this namespace.")

  defp recent(most) do
    [
      after: said(integer(), "Those that came after this position."),
      limit: said(of_type({:integer, 1, most}), "How many at most.")
    ]
  end
end
