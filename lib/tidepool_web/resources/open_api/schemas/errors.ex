defmodule TidepoolWeb.Resources.OpenApi.Schemas.Errors do
  @moduledoc "Schemas of errors, from the one table of their reasons."

  import TidepoolWeb.Resources.OpenApi.Schema

  alias Tidepool.Error.Reason

  @steps [:options, :fetch, :size, :compile, :start, :verify, :store, :spread]

  @doc "All of them, by name."
  @spec all :: [{atom, map}]
  def all do
    [
      Error: object(error: ref(:Problem)),
      Problem: object(required(), optional()),
      Reason: one_of(Enum.map(words(), &to_string/1)),
      Frame:
        object(
          [function: nullable(text()), index: integer(), offset: nullable(integer())],
          file: text(),
          line: integer()
        )
    ]
  end

  defp words, do: Reason.subjects() |> Enum.flat_map(&Reason.all/1) |> Enum.uniq()

  @doc "The members of an error that each has."
  @spec required :: keyword(map)
  def required, do: [reason: ref(:Reason), message: said(text(), "For people; it may change.")]

  @doc "The members that an error may have, each with those of its reason."
  @spec optional :: keyword(map)
  def optional do
    [
      function: said(nullable(text()), "The function that it is about."),
      step: said(one_of(@steps), "Of a deploy that was refused: the step that failed."),
      exit_code: integer(),
      value: any(),
      exports: list(text()),
      path: %{type: [:string, :integer]},
      trap: one_of(Reason.kinds(:trap)),
      limit: one_of(Reason.kinds(:limit)),
      quota: one_of(Reason.kinds(:quota)),
      backtrace: list(ref(:Frame)),
      console: list(text()),
      allowed: integer(),
      unit: text(),
      namespace: text(),
      retry_after_s: integer(),
      export: text(),
      expected: text(),
      found: text(),
      import: text(),
      route: text(),
      owner: text(),
      version: nullable(integer(1)),
      kept: list(integer(1)),
      registry: text(),
      recording: text(),
      verdict: text(),
      ready: list(text()),
      pending: list(text()),
      field: text(),
      known: list(text()),
      limit_bytes: integer(),
      limit_ms: integer(),
      chain: list(any()),
      method: text(),
      scope: text(),
      token: nullable(text()),
      grant: text(),
      host: text(),
      segment: text(),
      parameter: text()
    ]
  end
end
