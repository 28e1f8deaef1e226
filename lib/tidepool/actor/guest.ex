defmodule Tidepool.Actor.Guest do
  @moduledoc """
  The host functions of actors: `:actor`, by which guests call them, which is a built-in as others (`Tidepool.Host.Builtin`), and the
  ones by which a guest that is an actor keeps values and sets its alarm, `tidepool`/`kv` and `tidepool`/`alarm`. Numbers in payloads are little-endian, as in a guest's memory.
  """

  alias Tidepool.{Actor, Host}
  alias Tidepool.Actor.Alarm
  alias Tidepool.Actor.Guest.{Turn, Values}
  alias Tidepool.Host.{Builtin, Call}

  @doc "Registers them, and the built-in if the setting `:builtins` names it."
  @spec register([atom]) :: :ok
  def register(builtins) do
    if :actor in builtins, do: Host.register({"tidepool", "actor", :_}, {__MODULE__, :call}, run: :inline)
    # What is a guest's own needs no setting.
    Host.register({"tidepool", "kv", :_}, {__MODULE__, :kv}, run: :inline)
    Host.register({"tidepool", "alarm", :_}, {__MODULE__, :alarm}, run: :inline)
  end

  @doc false
  @spec call(Call.t()) :: Host.result()
  def call(%Call{operation: target, payload: payload} = call) do
    case Regex.run(~r"\A([^/]+)/(.+)/([^/]+)\z"s, target) do
      [_all, class, name, operation] ->
        # As in paths.
        class = String.replace(class, ["%2F", "%2f"], "/")

        with :ok <- Builtin.reach(call, class),
             do: class |> Actor.call(name, operation, payload) |> Builtin.answer(target)

      nil ->
        {:error, "#{target}: an actor is called as CLASS/NAME/OPERATION"}
    end
  end

  @doc false
  @spec kv(Call.t()) :: Host.result()
  def kv(call), do: own(call, &kv/3)

  @doc false
  @spec alarm(Call.t()) :: Host.result()
  def alarm(call), do: own(call, &alarm/3)

  defp own(%Call{namespace: namespace, operation: operation, payload: payload} = call, serve) do
    with {:ok, turn} <- Turn.of(call), {:ok, reply, turn} <- serve.(operation, payload, turn) do
      Turn.put(turn, byte_size(payload) + byte_size(reply))
      {:ok, reply}
    else
      {:error, why} -> {:error, "#{namespace} #{operation}: #{why}"}
    end
  end

  defp kv("get", key, turn) do
    with {:ok, value, turn} <- Values.get(turn, key), do: {:ok, if(value, do: <<1, value::binary>>, else: ""), turn}
  end

  defp kv("put", <<size::little-16, key::binary-size(size), value::binary>>, turn) do
    with {:ok, turn} <- Values.put(turn, key, value), do: {:ok, "", turn}
  end

  defp kv("delete", key, turn) do
    with {:ok, turn} <- Values.delete(turn, key), do: {:ok, "", turn}
  end

  defp kv(
         "list",
         <<a::little-16, prefix::binary-size(a), b::little-16, after_key::binary-size(b), limit::little-32>>,
         turn
       ) do
    values = Values.list(turn, prefix, after_key, limit)
    {:ok, values |> Enum.map(&row/1) |> IO.iodata_to_binary(), turn}
  end

  defp kv(operation, _payload, _turn) when operation in ["put", "list"],
    do: {:error, "the payload has to be as docs/actors.md says"}

  defp kv(_operation, _payload, _turn), do: {:error, "it is get, put, delete or list"}

  defp alarm("set", text, turn) do
    with {:ok, alarm} <- Alarm.read(text, Alarm.now(), turn.rung?),
         do: {:ok, "#{alarm.at}", %{turn | alarm: {:set, alarm}}}
  end

  defp alarm("clear", "", turn), do: {:ok, "", %{turn | alarm: {:set, nil}}}
  defp alarm("get", "", turn), do: {:ok, shown(turn.alarm), turn}
  defp alarm(operation, _more, _turn) when operation in ["clear", "get"], do: {:error, "it has no payload"}
  defp alarm(_operation, _payload, _turn), do: {:error, "it is set, clear or get"}

  defp shown({:set, alarm}), do: shown(alarm)
  defp shown(%Alarm{due: due} = alarm) when due != nil, do: "#{alarm.at}\n#{alarm.operation}"
  defp shown(_none_or_failed), do: ""

  defp row({key, value}), do: [<<byte_size(key)::little-16>>, key, <<byte_size(value)::little-32>>, value]
end
