defmodule Tidepool.Actor.Copies.Answers do
  @moduledoc """
  Questions of nodes about what they have of actors, and this node's answers, each by a process of its own:

      {:tidepool_copies, version, ref, question}, and {ref, {:ok, answer} | :error}

  - `{:copy, class, name}`: all of an actor that is the asker's by now. If it is awake here, it is put to sleep first.
  - `{:offer, class, [{name, mark}]}`: which of these actors, in states with these marks, this node wants: of each `:want`, `:have`,
    `{:gone, mark}` when it was deleted since, or `:damaged`.
  - `{:list, class, from, limit}`: records of a class that are here.
  - `{:module, sha256}`: one that is kept with the records, or deployed.
  """

  use GenServer

  alias Tidepool.{Catalog, Native}
  alias Tidepool.Actor.Store
  alias Tidepool.Actor.Copies.{Kept, Mark, Merge}
  alias Tidepool.Actor.Owner.Shards
  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Process.Asked

  # A part of the protocol.
  @version 1
  @most_offered 1_000

  @doc false
  def start_link(ring), do: GenServer.start_link(__MODULE__, ring, name: __MODULE__)

  @doc "What another node answers, within `ms`; `:error` when it does not, or can't."
  @spec ask(node :: String.t(), question :: tuple, ms :: non_neg_integer) :: {:ok, answer :: term} | :error
  def ask(node, question, ms) do
    server = {__MODULE__, String.to_atom(node)}
    ref = :erlang.monitor(:process, server, alias: :reply_demonitor)
    :erlang.send(server, {:tidepool_copies, @version, ref, question}, [:noconnect])

    receive do
      {^ref, answer} -> answer
      {:DOWN, ^ref, :process, _server, _reason} -> :error
    after
      ms ->
        Process.demonitor(ref, [:flush])

        receive do
          {^ref, answer} -> answer
        after
          0 -> :error
        end
    end
  end

  @impl true
  def init(ring), do: {:ok, {ring, Asked.new("copies of actors", @version)}}

  @impl true
  def handle_info({:tidepool_copies, version, ref, question}, {ring, admitted}) when is_reference(ref) do
    case Asked.admit(admitted, node(ref), version, &Shards.nodes/0) do
      {:ok, admitted} ->
        if question?(question) do
          spawn(fn -> :erlang.send(ref, {ref, answer(question, node(ref), ring)}, [:noconnect]) end)
          {:noreply, {ring, admitted}}
        else
          {:noreply, {ring, Asked.unreadable(admitted, node(ref))}}
        end

      {:ignore, admitted} ->
        {:noreply, {ring, admitted}}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp answer({:module, sha256}, _asker, _ring) do
    with {:ok, records} <- Store.existing(), wasm when wasm != nil <- Kept.module(records, sha256) do
      {:ok, wasm}
    else
      _none -> with {:error, _missing} <- BlobStore.fetch(Catalog.blobs(), sha256), do: :error
    end
  end

  defp answer(question, asker, ring) do
    case Store.existing() do
      {:ok, records} -> answer(question, asker, ring, records)
      :none -> {:ok, nothing(question)}
      {:error, _error} -> :error
    end
  end

  # This node may not have heard yet that the asker is there.
  defp answer({:copy, class, name}, asker, ring, records) do
    ring.know(asker)
    whole = if match?({:away, _node}, Shards.place(class, name)), do: &Merge.handed/3, else: &Kept.whole/3
    with {:error, _error} <- whole.(records, class, name), do: :error
  end

  defp answer({:offer, class, offered}, _asker, _ring, records) do
    answers =
      for {name, mark} <- offered do
        case Kept.head(records, class, name) do
          {:ok, nil} -> :want
          {:ok, %{kind: kind, mark: own}} -> wanted(Mark.compare(mark, own), kind, own)
          # It is damaged, and stays so until somebody deletes it.
          {:error, _error} -> :damaged
        end
      end

    {:ok, answers}
  end

  defp answer({:list, class, from, limit}, _asker, _ring, records) do
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

  defp question?({:copy, class, name}), do: is_binary(class) and is_binary(name)
  defp question?({:module, sha256}), do: BlobStore.sha256?(sha256)

  defp question?({:list, class, from, limit}),
    do: is_binary(class) and (from == nil or is_binary(from)) and is_integer(limit) and limit > 0

  defp question?({:offer, class, offered}) when is_list(offered) do
    is_binary(class) and not List.improper?(offered) and length(offered) <= @most_offered and
      Enum.all?(offered, fn one -> match?({name, _mark} when is_binary(name), one) and Mark.valid?(elem(one, 1)) end)
  end

  defp question?(_other), do: false
end
