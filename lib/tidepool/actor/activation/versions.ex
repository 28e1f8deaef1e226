defmodule Tidepool.Actor.Activation.Versions do
  @moduledoc """
  What becomes of an actor when its class is deployed anew with another module: what the deploy says (`versions`), when the actor is
  woken or called next, and before that call.

  With `:migrate` the old module saves what it has by its operation `actor_save`, and the new one loads it by its operation
  `actor_load`; both are waPC operations, for any guest has those, in whatever language, and callers may not call them. Of a component they
  are the exports `actor-save`, which returns the state, and `actor-load`, which takes the version and the state. That is one
  change of the record, with the values that both have changed. What fails leaves the actor as it was, on the module that it had, and
  is not tried again for that version.

  A record has the stamp of the deploy that has decided, and an earlier one decides no more: a node that has not heard of the later one
  serves the actor as it is.
  """

  alias Tidepool.{Error, Execution, Native}
  alias Tidepool.Actor.Activation
  alias Tidepool.Actor.Activation.Guest.Changes
  alias Tidepool.Actor.Activation.{Activity, Modules, State}
  alias Tidepool.Actor.Journal.Record
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Error.Reason
  alias Tidepool.Function.Actors
  alias Tidepool.Host.Nesting

  @doc "As `Tidepool.Actor.Activation.loaded/2`, on the version that it is to be on."
  @spec loaded(State.t(), create :: boolean) :: {:ok, State.t()} | {:error, Error.t(), State.t()}
  def loaded(state, create) do
    with {:ok, state} <- Activation.loaded(state, create) do
      if state.decided == state.deployed, do: {:ok, state}, else: decide(state, create)
    end
  end

  defp decide(%{record: record, options: %{versions: rule}} = state, create) do
    with {:ok, class, stamp} <- Modules.deployed(state.class) do
      cond do
        # Deployed again since it was loaded.
        class.version != state.deployed -> loaded(state, create)
        # A later one has decided, of which this node may not have heard; or it was this one.
        record.deploy != nil and stamp <= record.deploy -> {:ok, %{state | decided: class.version}}
        rule == :pin or class.sha256 == record.sha256 -> stays(%{state | decided: class.version}, stamp)
        true -> go_over(rule, state)
      end
    else
      {:error, error} -> {:error, error, state}
    end
  end

  # Other nodes, which have it next, may not have heard of this deploy.
  defp stays(state, stamp) do
    state = %{state | record: %{state.record | deploy: stamp}}
    if Shards.shared?(), do: noted(State.write(state, [], :kept)), else: {:ok, state}
  end

  defp noted({:ok, state}), do: {:ok, state}
  defp noted({{:error, error}, state}), do: {:error, error, state}

  defp go_over(rule, %{deployed: version} = state) do
    with {:ok, {%{version: ^version} = function, native}, stamp} <- Modules.newest(state.class),
         {:ok, owned} <- own(native, state) do
      record = %{state.record | sha256: function.sha256, version: version, deploy: stamp, stayed: nil}
      go_over(rule, %{state | decided: version}, record, owned)
    else
      {:ok, _deployed_again, _stamp} -> loaded(state, false)
      {:error, error} -> {:error, error, state}
    end
  end

  defp own(native, state) do
    with {:error, reason, message, details} <- Native.own(native, nil),
         do: {:error, Error.new(reason, message, state.class, details)}
  end

  defp go_over(:kv, state, record, owned), do: switched(state, record, owned, [])

  defp go_over(:reset, state, record, owned),
    do: switched(%{state | known: %{}}, Record.new(record, record.deploy), owned, [], :reset)

  defp go_over(:migrate, state, record, owned) do
    Nesting.put_actors([{state.class, state.name}])

    {handed_over, saved_bytes} =
      with {{:ok, saved}, changes} <-
             ask(state, state.owned, Actors.save(kind(state.owned)), "", Changes.new(state, nil)) do
        {operation, payload} = load(kind(owned), state.record.version, saved)
        {ask(state, owned, operation, payload, changes), 2 * byte_size(saved)}
      else
        refused -> {refused, 0}
      end

    Nesting.put_actors([])
    state = %{state | activity: Activity.saw(state.activity, saved_bytes)}

    case handed_over do
      {{:ok, _reply}, changes} ->
        {record, values} = Changes.kept(changes, record)
        state = %{state | known: Changes.known(changes, state.known, true)}
        switched(state, %{record | alarm: Changes.alarm(changes)}, owned, values)

      {{:error, error}, _changes} ->
        not_switched(state, record, error)
    end
  end

  # A component has the state as the value that the other one has returned, which is JSON here.
  defp load(:component, version, saved), do: {Actors.load(:component), "[#{version},#{saved}]"}
  defp load(:module, version, saved), do: {Actors.load(:module), "#{version}\n#{saved}"}

  defp kind(owned) do
    typed? = &match?({_name, :function, {_interface, _function}, _params, _result, _uncallable}, &1)
    if Enum.any?(Native.owned_exports(owned), typed?), do: :component, else: :module
  end

  defp ask(state, owned, operation, payload, changes) do
    owned
    |> Native.call_owned(operation, payload, 1, :infinity)
    |> Execution.go_on(state.class, operation, {1, nil, false}, changes)
  end

  # One change of the record. When that fails, all is as it was before.
  defp switched(state, record, owned, values, image \\ :replaced) do
    with {:ok, state} <- State.write(%{state | record: record, owned: owned}, values, image),
         %{owned: ^owned} = state <- State.await_writes(state) do
      {:ok, state}
    else
      {{:error, error}, state} ->
        {:error, error, %{state | decided: nil}}

      state ->
        {:error, Error.new(:no_store, "the new version of the actor could not be written", state.class),
         %{state | decided: nil}}
    end
  end

  # What passes says nothing of what the modules make of it.
  defp not_switched(state, record, error) do
    if Reason.retry(error.reason) in [:soon, :later], do: later(state, error), else: stayed(state, record, error)
  end

  defp stayed(state, %{version: version, deploy: stamp}, error) do
    why = "can't go over to version #{version}, and stays on #{state.record.version}: #{error.message}"
    State.warn(state, why)

    # What was called to save may have changed its memory.
    with {:ok, state} <- Activation.loaded(State.forget(state), false),
         record = %{state.record | deploy: stamp, stayed: {version, Record.shortened(why)}},
         {:ok, state} <- State.write(%{state | record: record}, [], :kept) do
      {:ok, state}
    else
      {:error, error, state} -> {:error, error, state}
      {{:error, error}, state} -> {:error, error, state}
    end
  end

  defp later(state, error), do: {:error, error, State.forget(%{state | decided: nil})}
end
