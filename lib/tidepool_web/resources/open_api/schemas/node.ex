defmodule TidepoolWeb.Resources.OpenApi.Schemas.Node do
  @moduledoc "Schemas of the node, of its figures and its cluster, and of who has access."

  import TidepoolWeb.Resources.OpenApi.Schema

  alias Tidepool.Tokens.Token

  @doc "All of them, by name."
  @spec all :: [{atom, map}]
  def all, do: of_node() ++ cluster() ++ figures() ++ access()

  defp of_node do
    counts = [live: integer(), idle: integer(), queued: integer()]
    engine = object([{:max, integer(1)} | counts])

    [
      Health:
        object(
          status: one_of([:ok, :store_stopped, :catching_up]),
          node: text(),
          functions: integer(),
          functions_unavailable: integer(),
          instances: object(counts),
          engines: ref(:Engines),
          compiles: object(queued: integer()),
          waiting: named(integer()),
          shared: named(object(held: integer(), max: integer())),
          full: named(integer())
        ),
      Joining: object(status: one_of([:joining]), node: text()),
      Engines: object(fast: engine, dense: engine),
      Node:
        object(
          node: text(),
          tidepool: text(),
          elixir: text(),
          otp: text(),
          uptime_s: integer(),
          machine: object(memory: integer(), cores: integer(1)),
          beam: object(memory: named(integer()), processes: integer(), run_queue: integer(), schedulers: integer(1)),
          engines: ref(:Engines),
          edge: named(integer()),
          settings: list(object(name: text(), value: text(), default: boolean(), doc: text()))
        )
    ]
  end

  defp cluster do
    node = [
      name: text(),
      links: list(text()),
      functions_pending: nullable(integer()),
      catalog: one_of([:same, :other, :unknown]),
      skew_ms: nullable(%{type: :integer})
    ]

    function = [name: text(), version: integer(1), sha256: text(), ready: list(text()), pending: list(text())]
    fetched = [name: text(), version: integer(1), size: integer(), state: text(), attempts: integer()]

    [
      Cluster:
        object(
          node: text(),
          distributed: boolean(),
          nodes: list(object(node)),
          lost: list(text()),
          apart: list(text()),
          withheld: list(text()),
          functions: list(object(function)),
          fetching: list(object(fetched)),
          actors: nullable(named(any())),
          members: nullable(list(text()))
        ),
      Members:
        object(
          members:
            list(
              object(
                node: text(),
                votes: boolean(),
                leads: boolean(),
                answers: boolean(),
                lacks: nullable(integer()),
                problem: nullable(text())
              )
            )
        ),
      MemberChange: object([], add: text(), remove: text(), replace: text())
    ]
  end

  defp figures do
    counted = [
      calls: integer(),
      errors: integer(),
      latency_us: number(),
      cpu_us: number(),
      peak_memory: integer(),
      live: integer(),
      memory: integer(),
      idle: integer(),
      queued: integer(),
      dropped_lines: integer()
    ]

    late = [
      per_s: number(),
      failing: number(),
      p50_us: nullable(number()),
      p99_us: nullable(number()),
      ticks: list(integer())
    ]

    one = [
      reasons: named(integer()),
      bounds_us: list(number()),
      versions:
        list(
          object(
            [version: integer(1)],
            counted ++ [reasons: named(integer())] ++ Keyword.take(late, [:p50_us, :p99_us])
          )
        ),
      history: list(sample(:ticks_ago)),
      kept_ticks: integer(1),
      minutes: list(sample(:minutes_ago)),
      kept_minutes: integer(1)
    ]

    name = [name: text(), version: integer(1)]

    [
      Figures: object(tick_ms: integer(1), functions: list(object(name, counted ++ late))),
      FunctionFigures: object([{:tick_ms, integer(1)} | name], counted ++ late ++ one)
    ]
  end

  defp sample(ago) do
    object([{ago, integer()}, calls: integer(), errors: integer(), cpu_us: integer(), latencies: list(list(integer()))])
  end

  defp access do
    scopes = list(one_of(Token.scopes()))

    token = [
      name: text(),
      scopes: scopes,
      functions: said(text(), "The functions that it is for: a name, or the beginning of some with `*` at its end."),
      grants: said(list(text()), "What it may grant functions that it deploys."),
      expires_at: time(),
      made_at: time(),
      made_by: text()
    ]

    change = [
      id: integer(1),
      at: time(),
      action: text(),
      name: nullable(text()),
      version: nullable(integer()),
      token: nullable(text()),
      peer: nullable(text()),
      ref: nullable(text()),
      left_out: integer()
    ]

    may = [name: text(), scopes: scopes, functions: text(), expires_at: nullable(time())]

    [
      Token: object(token),
      NewToken: object([{:secret, said(text(), "It is told this once.")} | token]),
      Audit: object(node: text(), entries: list(object(change)), next: nullable(integer(1))),
      Session:
        object(
          [
            token: said(boolean(), "Whether the node has one."),
            calls: said(one_of([:open, :token]), "Whether calls take one."),
            signed_in: boolean()
          ],
          may: object(may),
          key: said(text(), "What is sent in the header `x-tidepool` beside the cookie.")
        )
    ]
  end
end
