defmodule TidepoolWeb.Resources.OpenApi.Operations.Node do
  @moduledoc "What the document says of the node, its figures, its cluster, and who has access."

  import TidepoolWeb.Resources.OpenApi.Schema

  alias Tidepool.{Audit, Tokens}
  alias TidepoolWeb.Resources.OpenApi.Operations

  @json "application/json"

  @doc "All rows, by method and path."
  @spec rows :: [{{method :: String.t(), path :: String.t()}, Operations.t()}]
  def rows, do: of_node() ++ figures() ++ tokens() ++ session()

  defp of_node do
    [
      {{"GET", "/health"},
       %{
         id: "health",
         tag: "node",
         summary: "Tells whether this node is to be sent requests.",
         answers: [
           {200, json(:Health), "It is."},
           {503, {@json, %{oneOf: [ref(:Health), ref(:Joining), ref(:Error)]}},
            "It joins its cluster, can't write its actors, has yet to get what other members have of them, or is about to " <>
              "stop (`draining`)."}
         ]
       }},
      {{"GET", "/node"},
       %{
         id: "getNode",
         tag: "node",
         summary: "Tells of this node: what it runs on, and its settings without secrets.",
         answers: [{200, json(:Node), "The node."}]
       }},
      {{"GET", "/deploy/options"},
       %{
         id: "listOptions",
         tag: "functions",
         summary: "Lists what a deploy may say, with this node's defaults.",
         answers: [{200, json(:Options), "The fields of the form, and the parameters of the query."}]
       }},
      {{"GET", "/cluster"},
       %{
         id: "getCluster",
         tag: "node",
         summary: "Tells of the cluster, as this node sees it.",
         answers: [{200, json(:Cluster), "The cluster."}]
       }},
      {{"DELETE", "/cluster/nodes/:node"},
       %{
         id: "forgetNode",
         tag: "node",
         summary: "Has the cluster forget a node that is lost for good.",
         answers: [{200, {@json, object(forgotten: text())}, "It is forgotten."}],
         errors: [:node]
       }},
      {{"GET", "/members"},
       %{
         id: "listMembers",
         tag: "node",
         summary: "Tells of the nodes that keep actors together.",
         answers: [{200, json(:Members), "The members."}],
         errors: [:actor]
       }},
      {{"POST", "/members"},
       %{
         id: "changeMembers",
         tag: "node",
         summary:
           "Adds one of the nodes that keep actors together, removes one, or has one replaced whose folder is lost.",
         body: {@json, ref(:MemberChange), true},
         answers: [{200, json(:Members), "The members by now."}],
         errors: [:node, :actor, :token]
       }}
    ]
  end

  defp figures do
    [
      {{"GET", "/figures"},
       %{
         id: "listFigures",
         tag: "node",
         summary: "Tells what the calls of each function come to on this node.",
         query: [namespace: said(text(), "Those of this namespace.")],
         answers: [{200, json(:Figures), "The figures, by name."}]
       }},
      {{"GET", "/figures/:function"},
       %{
         id: "getFigures",
         tag: "node",
         summary: "Tells what the calls of one function come to, with its last ten minutes and six hours.",
         answers: [{200, json(:FunctionFigures), "The figures."}],
         errors: [:call]
       }},
      {{"GET", "/metrics"},
       %{
         id: "metrics",
         tag: "node",
         summary: "Has the metrics of this node, for Prometheus.",
         answers: [{200, {"application/openmetrics-text", text()}, "OpenMetrics text."}]
       }},
      {{"GET", "/events"},
       %{
         id: "events",
         tag: "node",
         summary: "Tells what changes on this node, as it happens.",
         query: [
           topics:
             said(
               text(),
               "With commas between: `functions`, `logs:NAME`, `logs`, `failures:NAME`, `failures`, `figures`."
             ),
           last: said(integer(), "How many lines and failures that there are the stream begins with.")
         ],
         headers: [{"last-event-id", "The id of the last event that this client has had."}],
         answers: [{200, {"text/event-stream", text()}, "Server-sent events, until the client hangs up."}]
       }}
    ]
  end

  defp tokens do
    [
      {{"GET", "/tokens"},
       %{
         id: "listTokens",
         tag: "access",
         summary: "Lists the tokens beside the node's own.",
         answers: [{200, {@json, object(tokens: list(ref(:Token)))}, "The tokens, by name."}]
       }},
      {{"POST", "/tokens"},
       %{
         id: "makeToken",
         tag: "access",
         summary: "Makes a token.",
         body: {@json, token(), true},
         answers: [{201, json(:NewToken), "The token, with its secret this once."}],
         errors: [:token]
       }},
      {{"DELETE", "/tokens/:token"},
       %{
         id: "revokeToken",
         tag: "access",
         summary: "Revokes a token, on all nodes.",
         query: [children: said(boolean(), "Whether those that it has made are revoked as well.")],
         answers: [{200, {@json, object(revoked: text(), also: list(text()), left: list(text()))}, "It is revoked."}],
         errors: [:token]
       }},
      {{"GET", "/audit"},
       %{
         id: "listChanges",
         tag: "access",
         summary: "Lists what was changed by way of this node, and by whom.",
         query: [
           limit: said(of_type({:integer, 1, Audit.most()}), "How many at most."),
           before: said(integer(1), "Those before the one with this `id`."),
           since: said(time(), "Those that are not older: seconds since 1970."),
           name: said(text(), "Those of this name, or with `*` at its end of all that begin so.")
         ],
         answers: [{200, json(:Audit), "The changes, newest first."}]
       }}
    ]
  end

  # The types of lists are told by checks.
  defp token do
    [name: name, scopes: scopes] =
      for {key, spec} <- Keyword.take(Tokens.schema(), [:name, :scopes]), do: {key, spec[:doc]}

    others = for {key, spec} <- Tokens.schema(), key in [:functions, :expires_in], do: {key, of_option(spec)}
    grants = said(list(text()), Tokens.schema()[:grants][:doc])
    scopes = said(list(one_of(Tokens.Token.scopes())), scopes)
    object([name: said(text(), name), scopes: scopes], [{:grants, grants} | others])
  end

  defp session do
    [
      {{"GET", "/session"},
       %{
         id: "getSession",
         tag: "access",
         summary: "Tells whether the node has a token, and what a request may do that has one.",
         answers: [{200, json(:Session), "Who asks."}]
       }},
      {{"POST", "/session"},
       %{
         id: "signIn",
         tag: "access",
         summary: "Signs a browser in.",
         answers: [
           {201, json(:Session), "A session, with a cookie and its key."},
           {200, json(:Session), "The node has no token."}
         ]
       }},
      {{"DELETE", "/session"},
       %{
         id: "signOut",
         tag: "access",
         summary: "Signs a browser out.",
         answers: [{200, json(:Session), "The session has ended."}]
       }}
    ]
  end

  defp json(name), do: {@json, ref(name)}
end
