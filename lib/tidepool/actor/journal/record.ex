defmodule Tidepool.Actor.Journal.Record do
  @moduledoc """
  What is kept of an actor beside its image: the module that the image is of, the answers to its last requests that had an id,
  how much its values are, and its alarm.

  Answers and values are both values of the store, with keys that begin otherwise: no value is an answer.
  """

  alias Tidepool.{Error, Function}
  alias Tidepool.Actor.Alarm
  alias Tidepool.Actor.Journal.VersionVector
  alias Tidepool.Catalog.Clock

  # Ids of requests whose answers are kept.
  @answers 64
  # What keys in the store begin with.
  @answer "answer/"
  @value "value/"
  # Of an error's message.
  @message_bytes 1_024
  # Records of 1 have no more than answers.
  @format 2

  @enforce_keys [:sha256, :version, :created_at]
  defstruct @enforce_keys ++
              [deploy: nil, requests: [], value_bytes: 0, alarm: nil, last_error: nil, stayed: nil, vector: %{}]

  @typedoc """
  `sha256` is of the module that the actor runs, `version` was that of its class when it began to, `created_at` in ms since 1970;
  `deploy` is the stamp of the last deploy that has said what becomes of it, so that no earlier one does so afterwards on a node that
  has not heard of that yet; `requests` are ids, the latest first; `value_bytes` is the sum of its values and their keys; `stayed` says
  to which version it could not go over. `vector` is for an import alone: releases before wrote of which nodes' writes a state is made, where
  nodes had copies of each other's actors. It is read, and not written again: what is written from now on is another state.
  """
  @type t :: %__MODULE__{
          sha256: String.t(),
          version: pos_integer,
          created_at: integer,
          deploy: Clock.stamp() | nil,
          requests: [String.t()],
          value_bytes: non_neg_integer,
          alarm: Alarm.t() | nil,
          last_error: last_error | nil,
          stayed: {version :: pos_integer, why :: String.t()} | nil,
          vector: VersionVector.t()
        }

  @typedoc "`at` in ms since 1970."
  @type last_error :: {reason :: String.t(), message :: String.t(), at :: integer}

  @doc "Of an actor that begins, on this module."
  @spec new(Function.t() | t, Clock.stamp() | nil) :: t
  def new(%{sha256: sha256, version: version}, stamp) do
    created_at = System.system_time(:millisecond)
    %__MODULE__{sha256: sha256, version: version, created_at: created_at, deploy: stamp}
  end

  @doc "As bytes."
  @spec write(t) :: binary
  def write(%__MODULE__{} = record) do
    more = %{
      deploy: record.deploy,
      value_bytes: record.value_bytes,
      alarm: alarm(record.alarm),
      last_error: record.last_error,
      stayed: record.stayed
    }

    more = Map.reject(more, fn {_key, value} -> value in [nil, 0, %{}] end)
    :erlang.term_to_binary({@format, record.sha256, record.version, record.created_at, record.requests, more})
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
        {:ok, record(sha256, version, created_at, requests, %{})}

      {@format, sha256, version, created_at, requests, more} ->
        {:ok, record(sha256, version, created_at, requests, more)}

      _later ->
        :error
    end
  rescue
    ArgumentError -> :error
  end

  defp record(sha256, version, created_at, requests, more) do
    %__MODULE__{
      sha256: sha256,
      version: version,
      created_at: created_at,
      deploy: more[:deploy],
      requests: requests,
      value_bytes: Map.get(more, :value_bytes, 0),
      alarm: alarm(more[:alarm]),
      last_error: more[:last_error],
      stayed: more[:stayed],
      vector: vector(more[:mark])
    }
  end

  # A file may have anything.
  defp vector(mark), do: if(VersionVector.valid?(mark), do: mark, else: VersionVector.none())

  # As a tuple, and back.
  defp alarm(nil), do: nil
  defp alarm(%Alarm{at: at, operation: operation, due: due, tries: tries}), do: {at, operation, due, tries}
  defp alarm({at, operation, due, tries}), do: %Alarm{at: at, operation: operation, due: due, tries: tries}

  @doc "What is shown of an actor by its record."
  @spec shown(t) :: map
  def shown(%__MODULE__{} = record) do
    record
    |> Map.take([:version, :sha256, :created_at, :value_bytes])
    |> Map.put(:alarm, record.alarm && Alarm.shown(record.alarm))
    |> Map.put(:last_error, shown_error(record.last_error))
    |> Map.put(:stayed, shown_stay(record.stayed))
  end

  defp shown_error(nil), do: nil
  defp shown_error({reason, message, at}), do: %{reason: reason, message: message, at: at}

  defp shown_stay(nil), do: nil
  defp shown_stay({version, why}), do: %{version: version, why: why}

  @doc "An error that a call has ended with, as it is kept."
  @spec error(Error.t()) :: last_error
  def error(error) do
    {Error.reason(error), shortened(error.message), System.system_time(:millisecond)}
  end

  @doc "What of a message is kept."
  @spec shortened(String.t()) :: String.t()
  def shortened(message), do: binary_part(message, 0, min(byte_size(message), @message_bytes))

  @doc "With the answer to one request more, and what becomes of the values that answers are kept as."
  @spec answered(t, String.t() | nil, binary) :: {t, [{key :: binary, binary | nil}]}
  def answered(record, nil, _reply), do: {record, []}

  def answered(record, request_id, reply) do
    {kept, gone} = Enum.split([request_id | record.requests], @answers)
    {%{record | requests: kept}, [{key(request_id), reply} | for(old <- gone, do: {key(old), nil})]}
  end

  @doc "The key of the value that an answer is kept as."
  @spec key(request_id :: String.t()) :: binary
  def key(request_id), do: @answer <> request_id

  @doc "The key in the store of a guest's value, or what those begin with that begin with it."
  @spec value_key(key :: binary) :: binary
  def value_key(key), do: @value <> key

  @doc "The key that it is to the guest."
  @spec guest_key(binary) :: key :: binary
  def guest_key(@value <> key), do: key
end
