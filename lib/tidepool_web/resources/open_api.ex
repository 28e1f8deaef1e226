defmodule TidepoolWeb.Resources.OpenApi do
  @moduledoc """
  What this node serves over HTTP, as an OpenAPI document, for tools that make clients and tests of one.

  It is public, as health is: it describes routes and names no function.
  """

  @behaviour TidepoolWeb.Resource

  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resources.OpenApi.Document

  @impl true
  def routes, do: [{"GET", "/openapi.json", scope: :read, public: true}]

  @impl true
  def serve("GET", ["openapi.json"], _request), do: Reply.encoded(Document.text())
end
