defmodule Tidepool.Error.Reason do
  @moduledoc """
  Every reason that an error can have, as `native/tidepool_errors/errors.tsv` has them, of which the native library and the command
  line tool make theirs, too. Its head says what its columns are; types, lists, documentation and answers follow from it.

  What a deploy is refused for is up to whoever deploys, so that its answer has 422 whatever the reason has elsewhere, unless the
  reason is one of *anywhere*: then it says the same there.
  """

  @file_of_all Path.expand("../../../native/tidepool_errors/errors.tsv", __DIR__)
  @external_resource @file_of_all

  rows =
    for line <- @file_of_all |> File.read!() |> String.split("\n", trim: true),
        not String.starts_with?(line, "#"),
        do: String.split(line, "\t")

  # {status, whether a deploy that is refused has it, too}
  status = fn written ->
    case Integer.parse(written) do
      {status, ""} -> {status, false}
      {status, "!"} -> {status, true}
    end
  end

  atoms = fn text -> text |> String.split() |> Enum.map(&String.to_atom/1) end

  # {reason, kind, status, retry}
  kinds =
    for [name, written, retry] <- rows, [reason, kind] = String.split(name, ":") do
      {String.to_atom(reason), String.to_atom(kind), status.(written), String.to_atom(retry)}
    end

  # {reason, of what, marks, names of members, meaning}
  table =
    for [name, of, _status, _retry, _outcome, marks, _exit, details, meaning, _hint] <- rows do
      reason = String.to_atom(name)
      of_reason = for {^reason, kind, _status, _retry} <- kinds, do: "`#{inspect(kind)}`"
      meaning = if of_reason == [], do: meaning, else: "#{meaning}: #{Enum.join(of_reason, ", ")}"
      {reason, atoms.(of), atoms.(marks), String.split(details), meaning}
    end

  @table table
  @kinds Enum.group_by(kinds, &elem(&1, 0), &elem(&1, 1))
  @marks Map.new(table, fn {reason, _of, marks, _details, _meaning} -> {reason, marks} end)

  of_words =
    for [name, _of, written, retry | _more] <- rows,
        written != "-",
        do: {String.to_atom(name), {status.(written), String.to_atom(retry)}}

  of_kinds = for {reason, kind, status, retry} <- kinds, do: {{reason, kind}, {status, retry}}

  # By reasons as they are told of: words, and `{word, kind}`.
  @answers Map.new(of_words ++ of_kinds)

  union = fn names -> Enum.reduce(Enum.reverse(names), fn name, rest -> {:|, [], [name, rest]} end) end

  words =
    for {reason, of, _marks, _details, _meaning} <- @table,
        of != [:edge],
        not is_map_key(@kinds, reason),
        do: reason

  for {reason, kinds} <- @kinds do
    @typedoc "The kinds of `:#{reason}`."
    @type unquote({reason, [], []}) :: unquote(union.(kinds))
  end

  pairs = for {reason, _kinds} <- @kinds, do: {reason, {reason, [], []}}

  @type t :: unquote(union.(words ++ pairs))

  @typedoc """
  When the same may go otherwise: in a second or so, once the node has what it lacks, once another version is deployed, or not as long
  as the question is the same.
  """
  @type retry :: :soon | :later | :deploy | :never

  @typedoc """
  What else holds for a reason: a call that fails with it has a line in the log, what it says of the host is not for guests, no guest has
  run, there was no instance to be had, or an alert asks for deploys that end so.
  """
  @type mark :: :logged | :private | :unbegun | :no_room | :watched

  @typedoc """
  What an error is told of: a call, a deploy, another node that is to be forgotten, a guest's process, a token that is made or revoked, the start of this node, or a
  request that the edge refuses by itself.
  """
  @type subject :: :call | :deploy | :node | :process | :actor | :token | :start | :edge

  @doc "What there are errors of."
  @spec subjects() :: [subject]
  def subjects, do: [:call, :deploy, :node, :process, :actor, :token, :start, :edge]

  @doc "All reasons as words, those that are told with a kind among them, that are told of this."
  @spec all(subject) :: [atom]
  def all(subject), do: for({reason, of, _marks, _details, _meaning} <- @table, subject in of, do: reason)

  @doc "What an answer with this reason may tell beside its reason, message, function and, of a deploy, its step: names of members."
  @spec details(atom) :: [String.t()]
  def details(word), do: for({^word, _of, _marks, details, _meaning} <- @table, detail <- details, do: detail)

  @doc "The kinds of a reason that is told of as `{word, kind}`; none of others."
  @spec kinds(atom) :: [atom]
  def kinds(word), do: Map.get(@kinds, word, [])

  # Of a reason that a newer node has told.
  @unknown Map.fetch!(@answers, :internal)

  @doc "The status of an answer with this reason; `refused?`: that of a deploy. A reason that this version does not know has that of `:internal`."
  @spec status(t, refused? :: boolean) :: 400..599
  def status(reason, refused?) do
    {{status, anywhere?}, _retry} = Map.get(@answers, reason, @unknown)
    if refused? and not anywhere?, do: 422, else: status
  end

  @doc "When the same may go otherwise; of a reason that this version does not know that is never known."
  @spec retry(t) :: retry
  def retry(reason) do
    case @answers do
      %{^reason => {_status, retry}} -> retry
      %{} -> :never
    end
  end

  @doc "Whether this holds for a reason."
  @spec is?(t, mark) :: boolean
  def is?(reason, mark), do: mark in Map.get(@marks, word(reason), [])

  @doc "The reason as one word, as in metrics and logs: that of `{:trap, kind}` is `trap`."
  @spec word(t) :: atom
  def word({word, _kind}), do: word
  def word(word), do: word

  @doc "The reasons that are told of this, with what they mean, as a table in Markdown."
  @spec documented(subject) :: String.t()
  def documented(subject) do
    rows =
      for {reason, of, _marks, _details, meaning} <- @table,
          subject in of,
          do: "| `#{spelled(reason)}` | #{meaning} |\n"

    Enum.join(["| reason | meaning |\n", "| --- | --- |\n" | rows])
  end

  defp spelled(reason) when is_map_key(@kinds, reason), do: "{#{inspect(reason)}, kind}"
  defp spelled(reason), do: inspect(reason)
end
