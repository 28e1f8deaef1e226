defmodule TidepoolWeb.Router do
  @moduledoc """
  The table of all resources. The edge has it from the start, and answers a request that is not in it by itself.
  """

  alias Tidepool.Config
  alias Tidepool.Function.Fields
  alias TidepoolWeb.{Reply, Resource}

  alias TidepoolWeb.Resources.{
    Actors,
    Audit,
    Book,
    Cluster,
    DeployOptions,
    Events,
    Figures,
    Functions,
    Mcp,
    Metrics,
    Node,
    OpenApi,
    Page,
    Processes,
    Session,
    Tokens,
    Tool
  }

  @resources [
    Functions,
    Functions.Recent,
    Functions.Recordings,
    Functions.Replay,
    Processes,
    Actors,
    Cluster,
    Cluster.Members,
    Events,
    Metrics,
    Figures,
    DeployOptions,
    OpenApi,
    Node,
    Session,
    Page,
    Book,
    Tokens,
    Audit,
    Tool,
    Mcp
  ]

  @options [
    scope: nil,
    guarded: false,
    public: false,
    selects: false,
    observes: false,
    query: false,
    headers: [],
    body: :nothing,
    places: nil,
    deploys: false
  ]

  # What tells of functions, however many there are, and says nothing of its places.
  @read_places 64

  @doc "The modules of all resources."
  @spec resources :: [module]
  def resources, do: @resources

  @doc "The rows of the edge's table: the routes of these resources, with all that holds for each."
  @spec endpoints([module]) :: [map]
  def endpoints(resources \\ @resources) do
    closed? = Config.get(:reads) == :token

    for resource <- resources, {method, path, options} <- resource.routes() do
      options = Keyword.validate!(options, @options)
      guarded? = guarded?(method, options, closed?)
      # Who forgets to say it keeps all others out.
      scope = options[:scope] || :admin
      scope = if scope != :any, do: to_string(scope)
      # Those that a route does not have come here to be refused.
      query? = options[:query] != :ignored
      places = options[:places] || if(options[:scope] == :read and not options[:public], do: @read_places)
      row = %{handler: resource, method: method, path: path, guarded: guarded?, scope: scope, query: query?}
      row = Map.put(row, :places, places)
      options |> Keyword.delete(:public) |> Map.new() |> Map.merge(row)
    end
  end

  defp guarded?(method, options, closed?) do
    case options[:guarded] do
      # Whoever may call is told of what there is to be called.
      :as_calls -> closed? or Config.get(:calls) == :token
      guarded? -> method != "GET" or guarded? or (closed? and not options[:public])
    end
  end

  @doc "The answer of a resource to a request that the edge has let in."
  @spec serve(module, Resource.request()) :: Resource.answer()
  def serve(resource, %{query: []} = request), do: resource.serve(request.method, request.path, request)

  def serve(resource, %{query: [{parameter, _text} | _more]} = request) do
    if parameters?(resource, request) do
      resource.serve(request.method, request.path, request)
    else
      {:error, error} = Fields.unknown("parameter", parameter, [])
      Reply.error(error)
    end
  end

  defp parameters?(resource, %{method: method, path: segments}) do
    Enum.any?(resource.routes(), fn {of, path, options} ->
      of == method and options[:query] == true and meant?(path |> String.split("/") |> tl(), segments)
    end)
  end

  defp meant?(wanted, given) do
    length(wanted) == length(given) and
      Enum.all?(Enum.zip(wanted, given), fn {wanted, given} -> wanted == given or String.starts_with?(wanted, ":") end)
  end
end
