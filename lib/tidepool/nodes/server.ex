defmodule Tidepool.Nodes.Server do
  @moduledoc """
  Answers what other nodes ask, each question by a process of its own, so that none waits for another.

  A new message between nodes is one module with these callbacks. It is started as `{Tidepool.Nodes.Server, {module, argument}}`, and
  asked by `Tidepool.Nodes.Ask.ask(module.protocol(), node, question, timeout)`.
  """

  use GenServer

  alias Tidepool.Namespaces.Turns
  alias Tidepool.Nodes.{Protocol, Requests}

  # How long it waits for one of them at its end.
  @last_ms 200
  # An answer of more bytes keeps a link busy.
  @long 65_536

  @doc "Who is asked, and how."
  @callback protocol :: Protocol.t()

  @doc "Names of nodes that are known beside those of the cluster: see `Tidepool.Nodes.Requests.new/2`."
  @callback more :: [String.t() | node]

  @doc "Is it a question of this protocol? Whatever a node may send: what is used of it is of its type."
  @callback question?(term) :: boolean

  @doc "How many bytes a question brings that counts against the protocol's bound."
  @callback bytes(question :: term) :: non_neg_integer

  @doc "The namespace that a question is asked for, which shares the protocol's bounds with others; `nil` where it is for none."
  @callback namespace(question :: term) :: String.t() | nil

  @doc """
  The answer to a question of a node, by a process of its own. `deadline` is in ms of the VM's monotonic time, and `argument` what the server
  was started with.
  """
  @callback answer(question :: term, node, deadline :: integer | :infinity, argument :: term) :: term

  @doc """
  The function that a question is about, whose answer may be large. Such answers have as many bytes as the protocol's bound, which has to
  say what is told where there is no room (`:no_room`).
  """
  @callback about(question :: term) :: String.t() | nil

  @doc "The function in a turn of whose namespace a long answer goes (`Tidepool.Namespaces.Turns`); `nil` where it waits for none."
  @callback turn(question :: term) :: String.t() | nil

  @optional_callbacks bytes: 1, namespace: 1, about: 1, turn: 1

  @doc false
  def child_spec({module, _argument} = start),
    do: %{id: module, start: {__MODULE__, :start_link, [start]}}

  @doc false
  def start_link({module, argument}),
    do: GenServer.start_link(__MODULE__, {module, argument}, name: module.protocol().server)

  @impl true
  def init({module, argument}) do
    # So that what is being done is answered before its end.
    Process.flag(:trap_exit, true)
    callbacks = [namespace: nil, bytes: 0, about: nil, turn: nil]
    share = for {callback, without} <- callbacks, do: share(module, callback, without)
    {:ok, {module, argument, share, Requests.new(module.protocol(), &module.more/0)}}
  end

  defp share(module, callback, without) do
    if function_exported?(module, callback, 1),
      do: &apply(module, callback, [&1]),
      else: fn _question -> without end
  end

  @impl true
  def handle_call({:hold, bytes}, from, state),
    do: {:noreply, put_elem(state, 3, Requests.hold(elem(state, 3), from, bytes))}

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, reason}, state),
    do: {:noreply, put_elem(state, 3, Requests.ended(elem(state, 3), pid, reason))}

  def handle_info(message, {module, _argument, _shares, requests} = state) do
    case Requests.take(requests, message) do
      {:ok, %{question: question} = request, requests} ->
        state = put_elem(state, 3, requests)

        requests =
          if module.question?(question), do: begin(state, request), else: Requests.unreadable(requests, request)

        {:noreply, put_elem(state, 3, requests)}

      {:ignored, requests} ->
        {:noreply, put_elem(state, 3, requests)}

      :other ->
        {:noreply, state}
    end
  end

  @impl true
  def terminate(_reason, {_module, _argument, _shares, requests}), do: Requests.drain(requests, @last_ms)

  defp begin({module, argument, share, requests}, %{question: question} = request) do
    [namespace, bytes, about, turn] = for one <- share, do: one.(question)
    Requests.begin(requests, request, {namespace, bytes, about}, done(module, argument, {about, turn}, request))
  end

  defp done(module, argument, of, %{to: to, left: left, question: question}) do
    deadline = if left == :infinity, do: :infinity, else: System.monotonic_time(:millisecond) + left

    fn ->
      reply(module.protocol(), {to, deadline}, of, module.answer(question, Protocol.asker(to), deadline, argument))
    end
  end

  defp reply(protocol, {to, _deadline}, {nil, nil}, answer), do: Requests.reply(protocol, to, answer)

  defp reply(protocol, {to, deadline}, {about, turn}, answer) do
    bytes = :erlang.external_size(answer)

    cond do
      about != nil and Requests.large?(bytes) and not hold?(protocol, bytes, deadline) ->
        Requests.reply(protocol, to, protocol.refused.(:no_room))

      turn != nil and bytes > @long ->
        link = {:links, Protocol.asker(to)}
        {:ok, :ok} = Turns.run(link, turn, :infinity, fn -> Requests.reply(protocol, to, answer) end, :always)

      true ->
        Requests.reply(protocol, to, answer)
    end
  end

  # Once nobody waits for the answer, it waits for no room, either: its process ends, and leaves its place.
  defp hold?(protocol, bytes, deadline) do
    GenServer.call(protocol.server, {:hold, bytes}, left(deadline))
  catch
    :exit, {:timeout, _call} -> false
    # It ends, and waits for what is being done.
    :exit, _ended -> true
  end

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)
end
