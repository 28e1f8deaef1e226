defmodule TidepoolWeb.Resources.OpenApi.Operations.Guests do
  @moduledoc "What the document says of processes and actors."

  import TidepoolWeb.Resources.OpenApi.Schema

  alias TidepoolWeb.Resources.OpenApi.Operations

  @json "application/json"

  @doc "All rows, by method and path."
  @spec rows :: [{{method :: String.t(), path :: String.t()}, Operations.t()}]
  def rows, do: processes() ++ actors()

  defp processes do
    [
      {{"GET", "/processes"},
       %{
         id: "listProcesses",
         tag: "guests",
         summary: "Lists the processes of guests on this node.",
         query: [
           function: said(text(), "Those of this function."),
           namespace: said(text(), "Those of this namespace.")
         ],
         answers: [{200, json(:Processes), "The processes, 1,000 at most."}]
       }},
      {{"POST", "/processes/:function"},
       %{
         id: "startProgram",
         tag: "guests",
         summary: "Starts a program of processes.",
         body: {@json, start(), false},
         answers: [{201, json(:Process), "Its first process."}],
         errors: [:call, :process]
       }},
      {{"GET", "/processes/:process"},
       %{
         id: "getProcess",
         tag: "guests",
         summary: "Tells of one process.",
         answers: [{200, json(:Process), "The process."}],
         errors: [:process]
       }},
      {{"DELETE", "/processes/:process"},
       %{
         id: "killProcess",
         tag: "guests",
         summary: "Kills a process.",
         answers: [{200, {@json, object(killed: text())}, "It has ended."}],
         errors: [:process]
       }},
      {{"POST", "/processes/:process/upgrade"},
       %{
         id: "upgradeProgram",
         tag: "guests",
         summary: "Asks a program to go on as the newest version.",
         answers: [
           {202, {@json, object(asked: text(), from: integer(1), to: integer(1))}, "It is asked; the program decides."}
         ],
         errors: [:process]
       }}
    ]
  end

  defp start do
    object([],
      args: said(list(text()), "The arguments after the first one, which is the function's name."),
      env: said(named(text()), "The environment."),
      entry: said(text(), "The export to run; `_start` by default."),
      cpu_time: said(integer(1), "How long each process may compute, in ms."),
      total_cpu_time: said(integer(1), "How long all of them together may, in ms.")
    )
  end

  defp actors do
    [
      {{"GET", "/actors/:class"},
       %{
         id: "listActors",
         tag: "guests",
         summary: "Lists the actors of a class that are kept.",
         query: [from: said(text(), "Where to go on: the `next` of the list before.")],
         answers: [{200, json(:Actors), "The actors, 1,000 at most."}],
         errors: [:call, :actor]
       }},
      {{"GET", "/actors/:class/:name"},
       %{
         id: "getActor",
         tag: "guests",
         summary: "Tells of one actor.",
         answers: [{200, json(:Actor), "The actor."}],
         errors: [:call, :actor]
       }},
      {{"DELETE", "/actors/:class/:name"},
       %{
         id: "deleteActor",
         tag: "guests",
         summary: "Ends an actor, and all that is kept of it.",
         answers: [{200, {@json, object(deleted: object(class: text(), name: text()))}, "It is deleted."}],
         errors: [:call, :actor]
       }},
      {{"POST", "/actors/:class/:name/:operation"},
       %{
         id: "callActor",
         tag: "guests",
         summary: "Calls an actor.",
         query: [create: said(boolean(), "Whether the call may make the actor; `true` by default.")],
         headers: [
           {"idempotency-key", "1 to 128 bytes of text: a call that was answered with this key is not done again."}
         ],
         body: {"application/octet-stream", any(), false},
         answers: [{200, {["text/plain", "application/octet-stream", @json], any()}, "The reply of the guest."}],
         errors: [:call, :actor]
       }}
    ]
  end

  defp json(name), do: {@json, ref(name)}
end
