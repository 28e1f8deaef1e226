defmodule Tidepool.Host.Registry do
  @moduledoc """
  The host handlers, each a persistent term: a host call finds its own without a copy or a lock.

  A handler may be for the functions of a namespace alone. As long as there is none of that kind, nobody asks which namespace a
  function is in.

  This process is the only writer. Handlers outlive it, and go when the application stops. Adding one is cheap;
  replacing or removing one makes the VM look through all processes, as it is with persistent terms.
  """

  use GenServer

  alias Tidepool.Host
  alias Tidepool.Host.{Target, TestHandlers}
  alias Tidepool.Namespaces.Name

  @typedoc """
  `{:testing, entry}`: a test may have a handler of its own; see `Tidepool.Host.TestHandlers`. `{:kept, function}`: one of the node's own,
  which gets what the call's driver keeps, as `Tidepool.Host.register_kept/2` says.
  """
  @type entry ::
          {(Host.Call.t() -> term) | {module, atom}, run :: :timed | :inline | :isolated}
          | {:process, GenServer.name() | pid, message :: :invoke_callback | :call}
          | {:kept, {module, atom}}
          | {:testing, entry | nil}

  @doc "Starts it, with these handlers of targets."
  @spec start_link([{Host.target(), entry}]) :: GenServer.on_start()
  def start_link(entries), do: GenServer.start_link(__MODULE__, entries, name: __MODULE__)

  @doc "Sets the handler of a target, for all functions or those of a namespace."
  @spec put(Host.target(), namespace :: String.t() | nil, entry) :: :ok
  def put(target, namespace, entry), do: GenServer.call(__MODULE__, {:put, key(namespace, target), entry})

  @doc "Removes the handler of a target that is for all functions, or for those of a namespace."
  @spec delete(Host.target(), namespace :: String.t() | nil) :: :ok
  def delete(target, namespace), do: GenServer.call(__MODULE__, {:delete, key(namespace, target)})

  defp key(nil, target), do: target
  defp key(namespace, target), do: {namespace, target}

  @doc "Makes ready for the handlers of tests, until the application stops."
  @spec test :: :ok
  def test, do: GenServer.call(__MODULE__, :test)

  @doc "The most specific handler that matches, of those for a function's namespace and then of those for all; or `nil`."
  @spec lookup(function :: String.t(), binary, binary, binary) :: entry | nil
  def lookup(function, binding, namespace, operation) do
    own(function, binding, namespace, operation) || lookup(binding, namespace, operation)
  end

  defp own(function, binding, namespace, operation) do
    with true <- :persistent_term.get(__MODULE__, false), own when own != nil <- Name.of(function) do
      binding |> Target.matched(namespace, operation) |> Enum.find_value(&find({own, &1}))
    else
      _none -> nil
    end
  end

  defp lookup(binding, namespace, operation) do
    # Most applications name all three, so the exact target is tried before the list of patterns is even made.
    find({binding, namespace, operation}) ||
      binding |> Target.matched(namespace, operation) |> tl() |> Enum.find_value(&find/1)
  end

  defp find(target), do: :persistent_term.get({__MODULE__, target}, nil)

  @doc false
  # For the application's end.
  @spec clear :: :ok
  def clear do
    for {{__MODULE__, _target} = key, _entry} <- :persistent_term.get(), do: :persistent_term.erase(key)
    :persistent_term.erase(__MODULE__)
    :ok
  end

  @impl true
  def init(entries) do
    for {target, entry} <- entries, do: store(target, entry)
    {:ok, %{testing?: false}}
  end

  @impl true
  def handle_call({:put, target, entry}, _from, state) do
    # Set before the first of them is there, and then for good.
    if match?({_namespace, _target}, target), do: :persistent_term.put(__MODULE__, true)
    store(target, if(state.testing?, do: {:testing, entry}, else: entry))
    {:reply, :ok, state}
  end

  # Calls that nobody else has a handler for ask the tests as well.
  def handle_call({:delete, {:_, :_, :_} = target}, _from, %{testing?: true} = state) do
    store(target, {:testing, nil})
    {:reply, :ok, state}
  end

  def handle_call({:delete, target}, _from, state) do
    :persistent_term.erase({__MODULE__, target})
    {:reply, :ok, state}
  end

  def handle_call(:test, _from, %{testing?: true} = state), do: {:reply, :ok, state}

  def handle_call(:test, _from, state) do
    TestHandlers.create()
    if find({:_, :_, :_}) == nil, do: store({:_, :_, :_}, nil)

    for {{__MODULE__, target}, entry} <- :persistent_term.get(), not match?({:testing, _entry}, entry) do
      store(target, {:testing, entry})
    end

    {:reply, :ok, %{state | testing?: true}}
  end

  defp store(target, entry), do: :persistent_term.put({__MODULE__, target}, entry)
end
