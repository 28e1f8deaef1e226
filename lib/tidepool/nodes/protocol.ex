defmodule Tidepool.Nodes.Protocol do
  @moduledoc """
  What two nodes say to each other about one matter: who is asked, by which version, and in which form.

  A protocol is a value that its module makes once. `Tidepool.Nodes.Ask` asks by it, and `Tidepool.Nodes.Requests` takes what was asked;
  nobody else looks at versions, at nodes that are not known, or at bounds. These are the forms, as plain terms:

  | form | question | answer |
  | --- | --- | --- |
  | `:timed` | `{tag, version, ref, left_ms \\| :infinity, question}` | `{tag, ref, answer}` |
  | `:from` | `{tag, version, pid, ref, question}` | `{tag, ref, answer}`, to the pid |

  `ref` is an alias of the asker, which ends when that waits no longer: what comes later is dropped. Protocols that are new are `:timed`.
  The other form is one that nodes of before speak, and stays as it is for these. In `:from` a node of before answers to
  the pid, so that an answer which is late comes to it: an asker by that form drops what it does not know.
  """

  @enforce_keys [:server, :tag, :version, :what]
  defstruct @enforce_keys ++
              [form: :timed, begun?: false, at_once: 20_000, waiting: 0, bytes: :infinity, refused: nil]

  @typedoc """
  - `server`: what is asked on a node is registered as this. A part of the protocol, as `tag`, `version` and `form` are.
  - `what`: what nodes ask for, as the log says it.
  - `begun?`: `:begun` is said before anything is done, so that an asker knows what a node that is lost has not read.
  - `at_once`, `waiting`, `bytes`: questions that are being done at once, those that wait for that, and bytes that all of them bring, and
    as many of large answers about functions until these have gone.
  - `refused`: the answer to a question that is not done since there are too many (`:busy`), whose answer there is no room for (`:no_room`), or
    that whoever did it failed at (`:failed`). Without it there is none.
  """
  @type t :: %__MODULE__{
          server: atom,
          tag: atom,
          version: pos_integer,
          what: String.t(),
          form: :timed | :from,
          begun?: boolean,
          at_once: pos_integer,
          waiting: non_neg_integer,
          bytes: pos_integer | :infinity,
          refused: (:busy | :no_room | :failed -> answer :: term) | nil
        }

  @typedoc "Whom an answer goes to."
  @type to :: reference | {pid, reference}

  @doc "A question as it is sent. `left` is in ms, and is said in the form `:timed` only."
  @spec question(t, to, left :: timeout, term) :: tuple
  def question(%{form: :timed} = protocol, ref, left, question),
    do: {protocol.tag, protocol.version, ref, left, question}

  def question(%{form: :from} = protocol, {pid, ref}, _left, question),
    do: {protocol.tag, protocol.version, pid, ref, question}

  @doc "What was asked, by whom, and which time is left; `:none` when that is no question of this protocol, whatever its version."
  @spec read(t, term) :: {to, version :: term, left :: term, question :: term} | :none
  def read(%{tag: tag, form: :timed}, {tag, version, ref, left, question}) when is_reference(ref),
    do: {ref, version, left, question}

  def read(%{tag: tag, form: :from}, {tag, version, pid, ref, question}) when is_pid(pid) and is_reference(ref),
    do: {{pid, ref}, version, :infinity, question}

  def read(_protocol, _other), do: :none

  @doc "Which node asks."
  @spec asker(to) :: node
  def asker({one, _other}), do: node(one)
  def asker(one), do: node(one)

  @doc "An answer as it is sent, and to whom."
  @spec answer(t, to, term) :: {reference | pid, tuple}
  def answer(%{form: :timed, tag: tag}, ref, answer), do: {ref, {tag, ref, answer}}
  def answer(%{form: :from, tag: tag}, {pid, ref}, answer), do: {pid, {tag, ref, answer}}

  @doc "Is it a time that a question has left?"
  @spec time?(term) :: boolean
  def time?(left), do: left == :infinity or (is_integer(left) and left in 0..0xFFFF_FFFF)
end
