defmodule Tidepool.Error.Reason do
  @moduledoc """
  Every reason that an error can have, as `native/tidepool_http/src/message/errors.tsv` has them, which the edge reads, too: what it is
  told of, the status of its answer over HTTP, what else its answer may tell, and what it means. Types, documentation and answers
  follow from that.

  What a deploy is refused for is up to whoever deploys, so that its answer has 422 whatever the reason has elsewhere, unless the
  reason is one of *anywhere*: then it says the same there.
  """

  @traps [
    :unreachable,
    :memory_out_of_bounds,
    :table_out_of_bounds,
    :indirect_call_to_null,
    :bad_signature,
    :integer_overflow,
    :integer_division_by_zero,
    :bad_conversion_to_integer,
    :stack_overflow,
    :bad_pointer,
    :exit,
    :other
  ]

  # Those whose answers don't have 500.
  @limits [
    memory: 500,
    table: 500,
    cpu_time: 504,
    payload: 413,
    reply: 500,
    depth: 500,
    total_memory: 500,
    messages: 500
  ]

  @file_of_all Path.expand("../../../native/tidepool_http/src/message/errors.tsv", __DIR__)
  @external_resource @file_of_all

  # {reason, of what, status, names of members, meaning}
  table =
    for line <- @file_of_all |> File.read!() |> String.split("\n", trim: true), not String.starts_with?(line, "#") do
      [reason, of, status, details, meaning] = String.split(line, "\t")

      status =
        case Integer.parse(status) do
          {status, "!"} -> {:anywhere, status}
          {status, ""} -> status
        end

      kinds = %{"trap" => @traps, "limit" => Keyword.keys(@limits)} |> Map.get(reason, []) |> Enum.map(&"`:#{&1}`")
      meaning = if kinds == [], do: meaning, else: "#{meaning}: #{Enum.join(kinds, ", ")}"
      of = for subject <- String.split(of), do: String.to_atom(subject)
      {String.to_atom(reason), of, status, String.split(details), meaning}
    end

  @table table

  @rows Map.new(@table, fn {reason, of, status, _details, _meaning} -> {reason, {of, status}} end)

  union = fn names -> Enum.reduce(Enum.reverse(names), fn name, rest -> {:|, [], [name, rest]} end) end

  words =
    for {reason, of, _status, _details, _meaning} <- @table, of != [:edge], reason not in [:trap, :limit], do: reason

  @type trap :: unquote(union.(@traps))
  @type limit :: unquote(union.(Keyword.keys(@limits)))
  @type t :: unquote(union.(words)) | {:trap, trap} | {:limit, limit}

  @typedoc """
  What an error is told of: a call, a deploy, another node that is to be forgotten, a guest's process, a token that is made or revoked, the start of this node, or a
  request that the edge refuses by itself.
  """
  @type subject :: :call | :deploy | :node | :process | :actor | :token | :start | :edge

  @doc "What there are errors of."
  @spec subjects() :: [subject]
  def subjects, do: [:call, :deploy, :node, :process, :actor, :token, :start, :edge]

  @doc "All reasons as words, those of `{:trap, kind}` and `{:limit, limit}` among them, that are told of this."
  @spec all(subject) :: [atom]
  def all(subject), do: for({reason, of, _status, _details, _meaning} <- @table, subject in of, do: reason)

  @doc "What an answer with this reason may tell beside its reason, message, function and, of a deploy, its step: names of members."
  @spec details(atom) :: [String.t()]
  def details(word), do: for({^word, _of, _status, details, _meaning} <- @table, detail <- details, do: detail)

  @doc "The status of an answer with this reason; `refused?`: that of a deploy."
  @spec status(t, refused? :: boolean) :: 400..599
  def status(reason, refused?) do
    case {reason, refused?} do
      {_reason, true} -> refused(word(reason))
      {{:limit, limit}, false} -> Keyword.fetch!(@limits, limit)
      {_reason, false} -> elsewhere(word(reason))
    end
  end

  defp refused(word), do: with({:anywhere, status} <- own(word), do: status, else: (_other -> 422))
  defp elsewhere(word), do: with({:anywhere, status} <- own(word), do: status)
  defp own(word), do: @rows |> Map.fetch!(word) |> elem(1)

  @doc "The reason as one word, as in metrics and logs: that of `{:trap, kind}` is `trap`."
  @spec word(t) :: atom
  def word({word, _kind}), do: word
  def word(word), do: word

  @doc "The reasons that are told of this, with what they mean, as a table in Markdown."
  @spec documented(subject) :: String.t()
  def documented(subject) do
    rows =
      for {reason, of, _status, _details, meaning} <- @table,
          subject in of,
          do: "| `#{spelled(reason)}` | #{meaning} |\n"

    Enum.join(["| reason | meaning |\n", "| --- | --- |\n" | rows])
  end

  defp spelled(:trap), do: "{:trap, kind}"
  defp spelled(:limit), do: "{:limit, limit}"
  defp spelled(reason), do: inspect(reason)
end
