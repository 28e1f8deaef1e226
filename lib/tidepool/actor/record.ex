defmodule Tidepool.Actor.Record do
  @moduledoc """
  What is kept of an actor beside its image: the module that the image is of, the answers to its last requests that had an id,
  and how much its values are.

  Answers and values are both values of the store, with keys that begin otherwise: no value is an answer.
  """

  alias Tidepool.Error

  # Ids of requests whose answers are kept.
  @answers 64
  # Records of 1 have no values.
  @format 2

  @enforce_keys [:sha256, :version, :created_at]
  defstruct @enforce_keys ++ [requests: [], value_bytes: 0]

  @typedoc """
  `sha256` is of the module that the actor runs, `version` was that of its class when it began to, `created_at` in ms since 1970;
  `requests` are ids, the latest first; `value_bytes` is the sum of its values and their keys.
  """
  @type t :: %__MODULE__{
          sha256: String.t(),
          version: pos_integer,
          created_at: integer,
          requests: [String.t()],
          value_bytes: non_neg_integer
        }

  @doc "As bytes."
  @spec write(t) :: binary
  def write(%__MODULE__{} = record) do
    :erlang.term_to_binary(
      {@format, record.sha256, record.version, record.created_at, record.requests, record.value_bytes}
    )
  end

  @doc "Of an actor's bytes. An error says that a later version wrote them."
  @spec read(binary, class :: String.t(), name :: String.t()) :: {:ok, t} | {:error, Error.t()}
  def read(bytes, class, name) do
    with :error <- read(bytes) do
      message = "a later version of Tidepool wrote the record of #{class}/#{name}: start that one"
      {:error, Error.new(:no_store, message, class)}
    end
  end

  defp read(bytes) do
    case :erlang.binary_to_term(bytes, [:safe]) do
      {1, sha256, version, created_at, requests} ->
        {:ok, %__MODULE__{sha256: sha256, version: version, created_at: created_at, requests: requests}}

      {@format, sha256, version, created_at, requests, value_bytes} ->
        {:ok,
         %__MODULE__{
           sha256: sha256,
           version: version,
           created_at: created_at,
           requests: requests,
           value_bytes: value_bytes
         }}

      _later ->
        :error
    end
  rescue
    ArgumentError -> :error
  end

  @doc "With the answer to one request more, and what becomes of the values that answers are kept as."
  @spec answered(t, String.t() | nil, binary) :: {t, [{key :: binary, binary | nil}]}
  def answered(record, nil, _reply), do: {record, []}

  def answered(record, request_id, reply) do
    {kept, gone} = Enum.split([request_id | record.requests], @answers)
    {%{record | requests: kept}, [{key(request_id), reply} | for(old <- gone, do: {key(old), nil})]}
  end

  @doc "The key of the value that an answer is kept as."
  @spec key(request_id :: String.t()) :: binary
  def key(request_id), do: "answer/" <> request_id
end
