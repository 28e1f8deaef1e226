defmodule Tidepool.Actor.Replication.Queries do
  @moduledoc """
  Questions of nodes about what they have of actors, and this node's answers (`Tidepool.Nodes.Server`), `{:ok, answer}` or `:error`:

  - `{:copy, class, name}`: all of an actor that is the asker's by now. If it is awake here, it is put to sleep first.
  - `{:offer, class, [{name, vector}]}`: which of these actors, in states with these vectors, this node wants: of each `:want`, `:have`,
    `{:gone, vector}` when it was deleted since, or `:damaged`.
  - `{:list, class, from, limit}`: records of a class that are here.
  - `{:module, sha256}`: one that is kept with the records, or deployed.
  """

  @behaviour Tidepool.Nodes.Server

  alias Tidepool.{Catalog, Native}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.VersionVector
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Actor.Replication.{Merge, Replica}
  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Nodes.{Ask, Protocol, Server}

  @most_offered 1_000

  @doc false
  def child_spec(ring), do: Server.child_spec({__MODULE__, ring})

  @impl true
  def protocol do
    %Protocol{
      # What older nodes ask.
      server: :"Elixir.Tidepool.Actor.Copies.Answers",
      tag: :tidepool_copies,
      version: 1,
      what: "copies of actors",
      form: :plain,
      refused: &__MODULE__.refused/1
    }
  end

  @doc false
  def refused(_why), do: :again

  @doc """
  What another node answers, within `ms`; `:error` when it does not, or can't, and `:again` when it may in a moment: no process answers there
  now, or too many ask.
  """
  @spec ask(node :: String.t(), question :: tuple, ms :: non_neg_integer) :: {:ok, answer :: term} | :error | :again
  def ask(node, question, ms) do
    case Ask.ask(protocol(), String.to_atom(node), question, ms) do
      {:ok, answer} -> answer
      {:error, reason} when reason in [:gone, :lost] -> :again
      {:error, _timeout_or_version} -> :error
    end
  end

  @impl true
  def more, do: Shards.nodes()

  @impl true
  def answer(question, asker, _deadline, ring), do: found(question, asker, ring)

  defp found({:module, sha256}, _asker, _ring) do
    with {:ok, records} <- Journal.existing(), wasm when wasm != nil <- Replica.module(records, sha256) do
      {:ok, wasm}
    else
      _none -> with {:error, _missing} <- BlobStore.fetch(Catalog.blobs(), sha256), do: :error
    end
  end

  defp found(question, asker, ring) do
    case Journal.existing() do
      {:ok, records} -> found(question, asker, ring, records)
      :none -> {:ok, nothing(question)}
      {:error, _error} -> :error
    end
  end

  # This node may not have heard yet that the asker is there.
  defp found({:copy, class, name}, asker, ring, records) do
    ring.know(asker)
    whole = if match?({:away, _node}, Shards.place(class, name)), do: &Merge.handed/3, else: &Replica.whole/3
    with {:error, _error} <- whole.(records, class, name), do: :error
  end

  defp found({:offer, class, offered}, _asker, _ring, records) do
    answers =
      for {name, vector} <- offered do
        case Replica.head(records, class, name) do
          {:ok, nil} -> :want
          {:ok, %{kind: kind, vector: own}} -> wanted(VersionVector.compare(vector, own), kind, own)
          # It is damaged, and stays so until it is deleted.
          {:error, _error} -> :damaged
        end
      end

    {:ok, answers}
  end

  defp found({:list, class, from, limit}, _asker, _ring, records) do
    case Native.list_records(records, class, from, limit) do
      {:ok, rows, next} -> {:ok, {rows, next}}
      {:error, _kind, _message} -> :error
    end
  end

  defp wanted(:before, :gone, own), do: {:gone, own}
  defp wanted(compared, _kind, _own), do: if(compared in [:after, :apart], do: :want, else: :have)

  defp nothing({:copy, _class, _name}), do: nil
  defp nothing({:offer, _class, offered}), do: Enum.map(offered, fn _one -> :want end)
  defp nothing({:list, _class, _from, _limit}), do: {[], nil}

  @impl true
  def question?({:copy, class, name}), do: is_binary(class) and is_binary(name)
  def question?({:module, sha256}), do: BlobStore.sha256?(sha256)

  def question?({:list, class, from, limit}),
    do: is_binary(class) and (from == nil or is_binary(from)) and is_integer(limit) and limit > 0

  def question?({:offer, class, offered}) when is_list(offered) do
    is_binary(class) and not List.improper?(offered) and length(offered) <= @most_offered and
      Enum.all?(offered, fn one ->
        match?({name, _mark} when is_binary(name), one) and VersionVector.valid?(elem(one, 1))
      end)
  end

  def question?(_other), do: false
end
