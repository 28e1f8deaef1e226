defmodule Tidepool.Host.Registry do
  @moduledoc """
  The host handlers, each a persistent term: a host call finds its own without a copy or a lock.

  This process is the only writer. Handlers outlive it, and go when the application stops. Adding one is cheap;
  replacing or removing one makes the VM look through all processes, as it is with persistent terms.
  """

  use GenServer

  alias Tidepool.Host

  @type entry :: {:fun, fun} | {:mfa, module, atom} | {:process, GenServer.name() | pid}

  @doc false
  def start_link(builtins), do: GenServer.start_link(__MODULE__, builtins, name: __MODULE__)

  @doc "Sets the handler of a target."
  @spec put(Host.target(), entry) :: :ok
  def put(target, entry), do: GenServer.call(__MODULE__, {:put, target, entry})

  @doc "Removes the handler of a target."
  @spec delete(Host.target()) :: :ok
  def delete(target), do: GenServer.call(__MODULE__, {:delete, target})

  @doc "The most specific handler that matches, or `nil`."
  @spec lookup(binary, binary, binary) :: entry | nil
  def lookup(binding, namespace, operation) do
    # Most applications name all three, so the exact target is tried before the list of patterns is even made.
    find({binding, namespace, operation}) ||
      Enum.find_value(
        [
          {binding, namespace, :_},
          {binding, :_, operation},
          {binding, :_, :_},
          {:_, namespace, operation},
          {:_, namespace, :_},
          {:_, :_, operation},
          {:_, :_, :_}
        ],
        &find/1
      )
  end

  defp find(target), do: :persistent_term.get({__MODULE__, target}, nil)

  @doc false
  # For the application's end.
  @spec clear :: :ok
  def clear do
    for {{__MODULE__, _target} = key, _entry} <- :persistent_term.get(), do: :persistent_term.erase(key)
    :ok
  end

  @impl true
  def init(builtins) do
    for {target, entry} <- Host.Builtin.entries(builtins), do: :persistent_term.put({__MODULE__, target}, entry)
    {:ok, nil}
  end

  @impl true
  def handle_call({:put, target, entry}, _from, state) do
    :persistent_term.put({__MODULE__, target}, entry)
    {:reply, :ok, state}
  end

  def handle_call({:delete, target}, _from, state) do
    :persistent_term.erase({__MODULE__, target})
    {:reply, :ok, state}
  end
end
