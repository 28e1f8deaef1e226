defmodule TidepoolWeb.Router do
  @moduledoc """
  The table of all resources. The edge has it from the start, and asks nobody about a request that it does not have.
  """

  alias TidepoolWeb.Resource

  alias TidepoolWeb.Resources.{
    Actors,
    Audit,
    Cluster,
    DeployOptions,
    Events,
    Figures,
    Functions,
    Metrics,
    Node,
    Page,
    Processes,
    Session,
    Tokens,
    Tool
  }

  @resources [
    Functions,
    Processes,
    Actors,
    Cluster,
    Events,
    Metrics,
    Figures,
    DeployOptions,
    Node,
    Session,
    Page,
    Tokens,
    Audit,
    Tool
  ]

  @options [scope: nil, guarded: false, observes: false, query: false, headers: [], body: :nothing, places: nil]

  @doc "The modules of all resources."
  @spec resources :: [module]
  def resources, do: @resources

  @doc "The rows of the edge's table: the routes of these resources, with all that holds for each."
  @spec endpoints([module]) :: [map]
  def endpoints(resources \\ @resources) do
    for resource <- resources, {method, path, options} <- resource.routes() do
      options = Keyword.validate!(options, @options)
      guarded? = method != "GET" or options[:guarded]
      # Who forgets to say it keeps all others out.
      scope = to_string(options[:scope] || :admin)
      row = %{handler: resource, method: method, path: path, guarded: guarded?, scope: scope}
      options |> Map.new() |> Map.merge(row)
    end
  end

  @doc "The answer of a resource to a request that the edge has let in."
  @spec serve(module, Resource.request()) :: Resource.answer()
  def serve(resource, request), do: resource.serve(request.method, request.path, request)
end
