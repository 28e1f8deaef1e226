defmodule Tidepool.Actor.Activation.Guest do
  @moduledoc """
  The host functions of actors: `:actor`, by which guests call them, which is a built-in as others (`Tidepool.Host.Builtin`), and the
  ones by which a guest that is an actor keeps values and sets its alarm, `tidepool`/`kv` and `tidepool`/`alarm`. Numbers in payloads are little-endian, as in a guest's memory.
  """

  alias Tidepool.{Actor, Error, Host}
  alias Tidepool.Actor.Alarm
  alias Tidepool.Actor.Activation.Guest.{Changes, Values}
  alias Tidepool.Host.{Builtin, Call}

  @doc "Registers them, and the built-in if the setting `:builtins` names it."
  @spec register([atom]) :: :ok
  def register(builtins) do
    if :actor in builtins, do: Host.register({"tidepool", "actor", :_}, {__MODULE__, :call}, run: :inline)
    # What is a guest's own needs no setting.
    Host.register_kept({"tidepool", "kv", :_}, {__MODULE__, :kv})
    Host.register_kept({"tidepool", "alarm", :_}, {__MODULE__, :alarm})
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
  @spec kv(Call.t(), Changes.t() | nil) :: {Host.result() | :timeout, Changes.t() | nil}
  def kv(call, changes), do: own(call, changes, &kv/3)

  @doc false
  @spec alarm(Call.t(), Changes.t() | nil) :: {Host.result() | :timeout, Changes.t() | nil}
  def alarm(call, changes), do: own(call, changes, &alarm/3)

  defp own(call, nil, _serve), do: {refused(call, "this is for guests that are actors"), nil}

  defp own(%Call{operation: operation, payload: payload} = call, changes, serve) do
    case serve.(operation, payload, %{changes | until: call.deadline}) do
      {:ok, reply, changes} -> {{:ok, reply}, Changes.saw(changes, byte_size(payload) + byte_size(reply))}
      {:error, why} -> {refused(call, why), changes}
    end
  rescue
    # No turn to read has come within the call's time, which is over with that.
    error in Error ->
      if error.reason == :timeout, do: {:timeout, changes}, else: reraise(error, __STACKTRACE__)
  end

  defp refused(%Call{namespace: namespace, operation: operation}, why),
    do: {:error, "#{namespace} #{operation}: #{why}"}

  defp kv("get", key, changes) do
    with {:ok, value, changes} <- Values.get(changes, key),
         do: {:ok, if(value, do: <<1, value::binary>>, else: ""), changes}
  end

  defp kv("put", <<size::little-16, key::binary-size(size), value::binary>>, changes) do
    with {:ok, changes} <- Values.put(changes, key, value), do: {:ok, "", changes}
  end

  defp kv("delete", key, changes) do
    with {:ok, changes} <- Values.delete(changes, key), do: {:ok, "", changes}
  end

  defp kv(
         "list",
         <<a::little-16, prefix::binary-size(a), b::little-16, after_key::binary-size(b), limit::little-32>>,
         changes
       ) do
    values = Values.list(changes, prefix, after_key, limit)
    {:ok, values |> Enum.map(&row/1) |> IO.iodata_to_binary(), changes}
  end

  defp kv(operation, _payload, _turn) when operation in ["put", "list"],
    do: {:error, "the payload has to be as docs/actors.md says"}

  defp kv(_operation, _payload, _turn), do: {:error, "it is get, put, delete or list"}

  defp alarm("set", text, changes) do
    with {:ok, alarm} <- Alarm.read(text, Alarm.now(), changes.rung?),
         do: {:ok, "#{alarm.at}", %{changes | alarm: {:set, alarm}}}
  end

  defp alarm("clear", "", changes), do: {:ok, "", %{changes | alarm: {:set, nil}}}
  defp alarm("get", "", changes), do: {:ok, shown(changes.alarm), changes}
  defp alarm(operation, _more, _turn) when operation in ["clear", "get"], do: {:error, "it has no payload"}
  defp alarm(_operation, _payload, _turn), do: {:error, "it is set, clear or get"}

  defp shown({:set, alarm}), do: shown(alarm)
  defp shown(%Alarm{due: due} = alarm) when due != nil, do: "#{alarm.at}\n#{alarm.operation}"
  defp shown(_none_or_failed), do: ""

  defp row({key, value}), do: [<<byte_size(key)::little-16>>, key, <<byte_size(value)::little-32>>, value]
end
