defmodule Tidepool.Error.Reason do
  @moduledoc """
  Every reason that an error can have, as `native/tidepool_http/src/message/errors.tsv` has them, which the edge reads, too: what it is
  told of, the status of its answer over HTTP, what else its answer may tell, and what it means. Types, documentation and answers
  follow from that.

  What a deploy is refused for is up to whoever deploys, so that its answer has 422 whatever the reason has elsewhere, unless the
  reason is one of *anywhere*: then it says the same there.
  """

  @file_of_all Path.expand("../../../native/tidepool_http/src/message/errors.tsv", __DIR__)
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

  # {reason, kind, status}
  kinds =
    for [name, _of, written] <- rows, [reason, kind] = String.split(name, ":") do
      {String.to_atom(reason), String.to_atom(kind), status.(written)}
    end

  # {reason, of what, names of members, meaning}
  table =
    for [name, of, _written, details, meaning] <- rows, reason = String.to_atom(name) do
      of_reason = for {^reason, kind, _status} <- kinds, do: "`#{inspect(kind)}`"
      meaning = if of_reason == [], do: meaning, else: "#{meaning}: #{Enum.join(of_reason, ", ")}"
      {reason, Enum.map(String.split(of), &String.to_atom/1), String.split(details), meaning}
    end

  @table table
  @kinds Enum.group_by(kinds, &elem(&1, 0), &elem(&1, 1))

  of_words =
    for [name, _of, written, _details, _meaning] <- rows, written != "-", do: {String.to_atom(name), status.(written)}

  of_kinds = for {reason, kind, status} <- kinds, do: {{reason, kind}, status}

  # By reasons as they are told of: words, and `{word, kind}`.
  @statuses Map.new(of_words ++ of_kinds)

  union = fn names -> Enum.reduce(Enum.reverse(names), fn name, rest -> {:|, [], [name, rest]} end) end

  words =
    for {reason, of, _details, _meaning} <- @table,
        of != [:edge],
        not is_map_key(@kinds, reason),
        do: reason

  @type trap :: unquote(union.(@kinds.trap))
  @type limit :: unquote(union.(@kinds.limit))
  @type quota :: unquote(union.(@kinds.quota))
  @type t :: unquote(union.(words)) | {:trap, trap} | {:limit, limit} | {:quota, quota}

  @typedoc """
  What an error is told of: a call, a deploy, another node that is to be forgotten, a guest's process, a token that is made or revoked, the start of this node, or a
  request that the edge refuses by itself.
  """
  @type subject :: :call | :deploy | :node | :process | :actor | :token | :start | :edge

  @doc "What there are errors of."
  @spec subjects() :: [subject]
  def subjects, do: [:call, :deploy, :node, :process, :actor, :token, :start, :edge]

  @doc "All reasons as words, those of `{:trap, kind}`, `{:limit, limit}` and `{:quota, quota}` among them, that are told of this."
  @spec all(subject) :: [atom]
  def all(subject), do: for({reason, of, _details, _meaning} <- @table, subject in of, do: reason)

  @doc "What an answer with this reason may tell beside its reason, message, function and, of a deploy, its step: names of members."
  @spec details(atom) :: [String.t()]
  def details(word), do: for({^word, _of, details, _meaning} <- @table, detail <- details, do: detail)

  @doc "The kinds of a reason that is told of as `{word, kind}`; none of others."
  @spec kinds(atom) :: [atom]
  def kinds(word), do: Map.get(@kinds, word, [])

  @doc "The status of an answer with this reason; `refused?`: that of a deploy."
  @spec status(t, refused? :: boolean) :: 400..599
  def status(reason, refused?) do
    {status, anywhere?} = Map.fetch!(@statuses, reason)
    if refused? and not anywhere?, do: 422, else: status
  end

  @doc "The reason as one word, as in metrics and logs: that of `{:trap, kind}` is `trap`."
  @spec word(t) :: atom
  def word({word, _kind}), do: word
  def word(word), do: word

  @doc "The reasons that are told of this, with what they mean, as a table in Markdown."
  @spec documented(subject) :: String.t()
  def documented(subject) do
    rows =
      for {reason, of, _details, meaning} <- @table,
          subject in of,
          do: "| `#{spelled(reason)}` | #{meaning} |\n"

    Enum.join(["| reason | meaning |\n", "| --- | --- |\n" | rows])
  end

  defp spelled(:trap), do: "{:trap, kind}"
  defp spelled(:limit), do: "{:limit, limit}"
  defp spelled(:quota), do: "{:quota, quota}"
  defp spelled(reason), do: inspect(reason)
end
