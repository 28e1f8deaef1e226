defmodule Tidepool.Host.Nesting do
  @moduledoc """
  What the calls of this process are nested in: how deep that is, until when it has time, and its caller's context. It is
  in the process dictionary from the first host call of the call around them to that call's end. And the actors that wait for
  them.
  """

  @key __MODULE__
  @actors {__MODULE__, :actors}

  @typedoc "The deadline is in ms of the VM's monotonic time."
  @type t :: {depth :: pos_integer, deadline :: integer, context :: term}

  @doc "That of this process, or `nil` outside of all calls."
  @spec get :: t | nil
  def get, do: Process.get(@key)

  @doc "Sets it, and returns what was there; `nil` removes it."
  @spec put(t | nil) :: t | nil
  def put(nil), do: Process.delete(@key)
  def put(nesting), do: Process.put(@key, nesting)

  @typedoc "An actor, by its class and name."
  @type actor :: {class :: String.t(), name :: String.t()}

  @doc "The actors that wait for what this process does, the nearest first."
  @spec actors :: [actor]
  def actors, do: Process.get(@actors, [])

  @doc "Sets them."
  @spec put_actors([actor]) :: :ok
  def put_actors(actors) do
    if actors == [], do: Process.delete(@actors), else: Process.put(@actors, actors)
    :ok
  end
end
