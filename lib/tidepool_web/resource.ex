defmodule TidepoolWeb.Resource do
  @moduledoc """
  What the edge serves beside calls, deploys and health: a module for each resource, which says what there is of it and
  answers requests for that. `TidepoolWeb.Router` lists them all.

      defmodule TidepoolWeb.Resources.Tide do
        @behaviour TidepoolWeb.Resource

        @impl true
        def routes do
          [{"GET", "/tides/:tide", scope: :read}, {"PUT", "/tides/:tide", scope: :admin, body: {:whole, 1_024}}]
        end

        @impl true
        def serve("GET", ["tides", tide], _request), do: Reply.json(200, %{tide: tide})
        def serve("PUT", ["tides", tide], request), do: …
      end

  A request is served by a process of its own. By then the edge has seen to all of this:

  - whom the request is for (`Host`), and that path and method are among the routes; a `HEAD` comes as a `GET`, and its body is
    kept back;
  - that path and query are percent-encoded UTF-8; both come decoded;
  - for what is guarded, that a token vouches for it which may do that, or without one that no other site's page asks. It is told who asked, as the `origin`;
  - the size and the pace of the body, and that requests, their bodies and their answers leave others their share.

  When the client hangs up before there is an answer, the process is killed; when the process ends without one, the client is
  told. An answer that goes on, and a body that comes in pieces, are `TidepoolWeb.Stream`s.
  """

  alias TidepoolWeb.{Reply, Stream}

  @typedoc """
  A method, a path, and what holds for it. Segments of the path with a colon stand for any that is not empty; a route for `GET`
  answers `HEAD` as well. Options:

  - `:scope`: what a token has to be for, `:read`, `:call`, `:deploy` or `:admin`, where the route is guarded. A token may be for
    some functions alone: a segment `:function` or `:class` of the path is the name of the one that a request is about, and routes
    without are for tokens of all functions. With `:any` it is for every token.
  - `:guarded`: whether it takes the token, as changes do. Every method but `GET` is guarded, and this may say so of a `GET`. With
    `:as_calls` it is guarded where calls or lists are, whatever its method, and looks at the `Origin` by itself.
  - `:public`: whether it tells nothing of functions and their calls, so that the setting `reads` does not guard it.
  - `:selects`: whether it answers with what its caller may see (`Tidepool.Tokens.Access.sees?/2`), so that tokens for some functions are
    let in.
  - `:observes`: it tells how the node is, and is served when the node has too much else to do. Default `false`.
  - `:query`: whether it has parameters, for `TidepoolWeb.Resource.Parameters`. Without (`false`, the default) any is refused, and with
    `:ignored` none is looked at.
  - `:headers`: names of the headers that it looks at, in lower case. Default none.
  - `:body`: `:nothing` (the default); `{:whole, bytes}`; `:payload`, a whole one that is the payload of a call of the function or class
    in the path, and may be as large as that takes; or `{:pieces, bytes}`, for `TidepoolWeb.Stream.read/1`. Bytes are the most that
    may come in all.
  - `:deploys`: it has a module compiled, and takes one of the places that deploys have. Default `false`.
  - `:places`: how many requests of it there may be at once; a client gets no more of them than it leaves to others, and 503
    beyond. Default: 64 where the scope is `:read` and it is not public, else those that there are for all requests.
  """
  @type route :: {method :: String.t(), path :: String.t(), keyword}

  @typedoc "A request. Headers are in lower case; of several with one name it is the first."
  @type request :: %{
          method: String.t(),
          path: [String.t()],
          query: [{String.t(), String.t()}],
          headers: [{String.t(), binary}],
          body: nil | binary | Stream.body(),
          origin: Tidepool.Catalog.Origin.t()
        }

  @typedoc "An answer, or the head of one that a function writes as it goes on."
  @type answer ::
          Reply.t()
          | {:stream, 200..599, Reply.type(), [{String.t(), String.t()}], (Stream.t() -> term)}

  @doc "What there is."
  @callback routes :: [route]

  @doc "Answers a request for one of the routes: its method, the segments of its path, and all that came."
  @callback serve(method :: String.t(), path :: [String.t()], request) :: answer
end
