defmodule Tidepool.Actor.Journal.Listing do
  @moduledoc """
  What is written of the actors of a class, and of buckets, as the records of this node have it. A node that keeps none asks another one the
  same questions (`Tidepool.Actor.Ownership.Directory`).
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.Record
  alias Tidepool.Namespaces.Turns

  @page 1_000

  @typedoc """
  Actors from a name on, `limit` at most; how many there are; and buckets from a name on, with what their entries count.
  """
  @type question ::
          {:list, class :: String.t(), from :: String.t() | nil, limit :: pos_integer}
          | {:count, class :: String.t(), most :: pos_integer}
          | {:buckets, class :: String.t(), from :: String.t() | nil}

  @typedoc "Rows, and the name from which the next ones are; or a number, `:more` being more than `most`."
  @type found ::
          {:ok, [row], next :: String.t() | nil}
          | {:ok, [{bucket :: String.t(), bytes :: non_neg_integer | :damaged}], next :: String.t() | nil}
          | {:ok, non_neg_integer | :more}

  @type row :: {name :: String.t(), writes :: pos_integer, alarm_at :: integer | nil, bytes :: non_neg_integer}

  @doc """
  Is it such a question?

      iex> alias Tidepool.Actor.Journal.Listing
      iex> for question <- [{:list, "room", nil, 5}, {:count, "room", 5}, {:buckets, ":keyvalue", "a"}], do: Listing.question?(question)
      [true, true, true]
      iex> for question <- [{:list, "room", :a, 5}, {:list, "room", nil, 0}, {:count, nil, 5}, :all], do: Listing.question?(question)
      [false, false, false, false]
  """
  @spec question?(term) :: boolean
  def question?({:list, class, from, limit}), do: is_binary(class) and from?(from) and is_integer(limit) and limit > 0
  def question?({:count, class, most}), do: is_binary(class) and is_integer(most) and most > 0
  def question?({:buckets, class, from}), do: is_binary(class) and from?(from)
  def question?(_other), do: false

  defp from?(from), do: from == nil or is_binary(from)

  @doc "The answer, for which a turn to read is waited for until then."
  @spec read(question, Turns.until()) :: found | {:error, Error.t()}
  def read({:list, class, from, limit}, until), do: page(class, until, &Native.list_records(&1, class, from, limit))

  def read({:count, class, most}, until) do
    with {:ok, rows, next} <- read({:list, class, nil, most}, until), do: {:ok, if(next, do: :more, else: length(rows))}
  end

  def read({:buckets, class, from}, until) do
    with {:ok, heads, next} <- page(class, until, &Native.record_heads(&1, class, from, @page)),
         do: {:ok, for({name, head} <- heads, do: {name, value_bytes(head, class, name)}), next}
  end

  defp page(class, until, read) do
    case Journal.existing() do
      {:ok, records} -> Journal.reading(class, until, fn -> read.(records) end)
      :none -> {:ok, [], nil}
      {:error, error} -> {:error, error}
    end
  end

  defp value_bytes(nil, _class, _name), do: :damaged

  defp value_bytes(head, class, name),
    do: with({:ok, record} <- Record.read(head, class, name), do: record.value_bytes, else: (_newer -> :damaged))
end
