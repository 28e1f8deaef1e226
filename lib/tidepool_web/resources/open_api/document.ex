defmodule TidepoolWeb.Resources.OpenApi.Document do
  @moduledoc """
  The document, from the rows of the edge's table, and from what `TidepoolWeb.Resources.OpenApi.Operations` says of each.
  """

  alias Tidepool.{Config, Native}
  alias TidepoolWeb.Resources.OpenApi.{Operations, Paths, Schemas}

  @description """
  WebAssembly functions on the Erlang VM. Errors are JSON with a reason to match on; the message is for people, and may change.
  An operation says which scope a token needs for it, where one is needed.
  """

  # What the edge serves by itself: method, path, scope, and whether it takes the token.
  @own [
    {"POST", "/deploy", :deploy, true},
    {"GET", "/call/:function", :call, :as_calls},
    {"POST", "/call/:function", :call, :as_calls},
    {"GET", "/call/:function/:operation", :call, :as_calls},
    {"POST", "/call/:function/:operation", :call, :as_calls},
    {"GET", "/health", nil, false}
  ]

  @doc "Makes the document of an edge that is about to start, once: what `text/0` has from then on."
  @spec publish([map]) :: :ok
  def publish(endpoints), do: :persistent_term.put(__MODULE__, endpoints |> make() |> Native.json_encode())

  @doc "The document, as JSON."
  @spec text :: binary
  def text, do: :persistent_term.get(__MODULE__)

  @doc "The document for an edge whose table has these rows (`TidepoolWeb.Router.endpoints/1`)."
  @spec make([map]) :: map
  def make(endpoints) do
    %{
      openapi: "3.1.0",
      info: %{
        title: "Tidepool",
        version: to_string(Application.spec(:tidepool, :vsn)),
        description: @description,
        license: %{name: "Apache-2.0", identifier: "Apache-2.0"}
      },
      # The node that has answered.
      servers: [%{url: "/"}],
      tags: Operations.tags(),
      paths: Paths.make(own() ++ endpoints, Config.get(:token) != nil),
      components: %{
        schemas: Schemas.all(),
        responses: Paths.responses(),
        securitySchemes: %{
          bearer: %{
            type: :http,
            scheme: :bearer,
            description: "A token of the node, or one that was made by `POST /tokens`."
          }
        }
      }
    }
  end

  @doc "Rows of what the edge serves by itself."
  @spec own :: [map]
  def own do
    for {method, path, scope, guarded} <- @own do
      guarded = if guarded == :as_calls, do: Config.get(:calls) == :token, else: guarded
      %{method: method, path: path, scope: scope && to_string(scope), guarded: guarded}
    end
  end
end
