defmodule TidepoolWeb.Resources.OpenApi.Operations do
  @moduledoc """
  What the document says of each route, beside what the edge's table has of it.

  A row has the `id` of the operation, its `tag`, a `summary`, and its `answers`: `{status, what, description}` with a type and a schema, or
  `nil` for no body. It may have a `doc`, parameters of the `query` with their schemas, `headers`, a `body` as `{type, schema, required?}`,
  and the subjects of its `errors` (`t:Tidepool.Error.Reason.subject/0`).
  """

  alias TidepoolWeb.Resources.OpenApi.Operations.{Deployed, Guests, Node, Pages}

  @type what :: {type :: String.t() | [String.t()], schema :: map} | nil

  @type t :: %{
          required(:id) => String.t(),
          required(:tag) => String.t(),
          required(:summary) => String.t(),
          required(:answers) => [{status :: pos_integer, what, description :: String.t()}],
          optional(:doc) => String.t(),
          optional(:query) => [{atom | String.t(), map}],
          optional(:headers) => [{String.t(), String.t()}],
          optional(:body) => {type :: String.t(), schema :: map, required? :: boolean},
          optional(:errors) => [Tidepool.Error.Reason.subject()]
        }

  @tags [
    functions: "What is deployed.",
    calls: "Calls of functions, and tools for models.",
    guests: "Processes and actors.",
    recordings: "Calls that were recorded, and replays.",
    access: "Tokens, sessions, and who has changed what.",
    node: "This node, its figures and its cluster.",
    pages: "What people read."
  ]

  @doc "All groups of operations, with what they are about."
  @spec tags :: [%{name: atom, description: String.t()}]
  def tags, do: for({name, description} <- @tags, do: %{name: name, description: description})

  @doc "All rows, by method and path."
  @spec all :: %{{method :: String.t(), path :: String.t()} => t}
  def all, do: Map.new(Deployed.rows() ++ Guests.rows() ++ Node.rows() ++ Pages.rows())

  @doc "What is said of a route. One that nothing is said of is told by its method and path alone."
  @spec of(%{{String.t(), String.t()} => t}, method :: String.t(), path :: String.t()) :: t
  def of(all, method, path) do
    name = "#{method} #{path}"
    Map.get(all, {method, path}, %{id: name, tag: "node", summary: name, answers: [{200, nil, "the answer"}]})
  end
end
