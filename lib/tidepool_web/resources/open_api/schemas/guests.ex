defmodule TidepoolWeb.Resources.OpenApi.Schemas.Guests do
  @moduledoc "Schemas of what guests do: their processes, actors, lines, failures and recordings."

  import TidepoolWeb.Resources.OpenApi.Schema

  alias TidepoolWeb.Resources.OpenApi.Schemas.Errors

  @doc "All of them, by name."
  @spec all :: [{atom, map}]
  def all, do: processes() ++ actors() ++ recent() ++ recordings()

  defp processes do
    [
      Processes: object([processes: list(ref(:Process))], omitted: said(integer(1), "How many more there are.")),
      Process:
        object(
          [
            id: said(nullable(text()), "Null of one that was over at once."),
            function: text(),
            node: text(),
            state: text()
          ],
          version: integer(1),
          entry: text(),
          message_queue: integer(),
          message_bytes: integer(),
          memory: integer(),
          cpu_us: integer(),
          links: list(text()),
          links_omitted: said(integer(1), "How many more there are."),
          current_function: nullable(text()),
          stack: nullable(list(text()))
        )
    ]
  end

  defp actors do
    alarm = object(at: integer(), operation: text(), due: nullable(integer()), tries: integer(), failed: boolean())

    [
      Actors:
        object(
          actors: list(object(name: text(), writes: integer(), bytes: integer(), awake: boolean())),
          next: said(nullable(text()), "Where the next list begins.")
        ),
      Actor:
        object(
          [
            class: text(),
            name: text(),
            node: text(),
            awake: boolean(),
            tier: one_of([:live, :frozen, :disk]),
            stayed: nullable(object(version: integer(1), why: text())),
            bytes: integer(),
            alarm: nullable(alarm),
            last_error: nullable(object(reason: text(), message: text(), at: integer())),
            version: integer(1),
            sha256: text(),
            created_at: integer(),
            writes: integer(),
            value_bytes: integer()
          ],
          waiting: integer(),
          calls: integer()
        )
    ]
  end

  defp recent do
    place = [position: integer(), at_ms: integer(), function: nullable(text()), version: integer()]
    answer = [name: text(), position: integer(), missed: nullable(integer())]

    line = [
      stream: one_of([:console, :stdout, :stderr]),
      level: one_of([:info, :warning]),
      text: text(),
      dropped: integer()
    ]

    members = Keyword.merge(Errors.optional(), payload_base64: text())

    [
      Lines: object([{:lines, list(ref(:Line))} | answer]),
      Line: object(place ++ line),
      Failures: object([{:failures, list(ref(:Failure))} | answer]),
      Failure: object(place ++ Errors.required() ++ [operation: nullable(text())], members)
    ]
  end

  defp recordings do
    outcome = named(any())

    [
      Recordings: object(node: text(), recordings: list(ref(:Recording))),
      Recording:
        object([id: text(), bytes: integer()],
          damaged: text(),
          function: text(),
          version: integer(),
          sha256: nullable(text()),
          at: integer(),
          operation: nullable(text()),
          payload_bytes: integer(),
          calls: integer(1),
          redacted: boolean(),
          reason: text(),
          message: text()
        ),
      Replay:
        object(
          [
            verdict: text(),
            function: text(),
            version: integer(),
            exact: boolean(),
            deterministic: boolean(),
            calls: integer()
          ],
          recorded: outcome,
          replayed: outcome,
          parted: nullable(outcome),
          last: nullable(outcome),
          log: list(outcome)
        )
    ]
  end
end
