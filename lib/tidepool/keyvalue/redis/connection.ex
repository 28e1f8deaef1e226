defmodule Tidepool.Keyvalue.Redis.Connection do
  @moduledoc """
  One connection to the Redis of the setting `keyvalue`, which many processes ask at a time: what they ask is sent on at once, and
  answers come in its order.

  It connects when somebody asks, by a process of its own: those who ask meanwhile wait for that, a second at most. While the server can't be
  reached, they are told so, and it is tried again when the last try is a moment ago.

  Each namespace has some requests under way on it. Who asked may have ended, and what the server has been asked has not.
  """

  use GenServer

  require Logger

  alias Tidepool.Config
  alias Tidepool.Keyvalue.Redis.{Address, Protocol}
  alias Tidepool.Outgoing.Socket

  # Between two tries, in ms.
  @pause_ms 200
  # How long one may take, in ms, where the setting is not less.
  @connect_ms 1_000
  # Who waits for an answer, at most, and those of a namespace.
  @most_waiting 1_000
  @most_of_one 16
  @away "the store can't be reached"

  @doc false
  def child_spec(name), do: %{id: name, start: {__MODULE__, :start_link, [name]}}

  @doc false
  def start_link(name), do: GenServer.start_link(__MODULE__, [], name: name)

  @doc "What the server answers to a command of a namespace's; or a sentence. Who asks is ended when that takes too long."
  @spec command(GenServer.name(), space :: String.t() | nil, [binary]) ::
          {:ok, term} | {:refused, String.t()} | {:error, String.t()}
  def command(name, space, words), do: GenServer.call(name, {:command, space, Protocol.command(words)}, :infinity)

  @impl true
  def init(_none), do: {:ok, closed(%{tried: nil, told?: false, looking?: false})}

  # Without a socket, and nobody waits: neither for an answer (`waiting`), nor to be sent (`unsent`).
  defp closed(state) do
    none = %{socket: nil, connecting: nil, part: Protocol.start(), heard: now()}
    state |> Map.merge(none) |> Map.merge(%{waiting: :queue.new(), unsent: [], count: 0, spaces: %{}})
  end

  @impl true
  def handle_call({:command, space, bytes}, {pid, _tag} = from, state) do
    case room(state, space) do
      :ok ->
        if Process.alive?(pid),
          do: {:noreply, ask(counted(state, space), {from, space}, bytes)},
          else: {:noreply, state}

      text ->
        {:reply, {:error, text}, state}
    end
  end

  defp room(%{socket: nil, connecting: nil, tried: tried} = state, _space) when tried != nil,
    do: if(now() - tried < @pause_ms, do: @away, else: room(%{state | tried: nil}, nil))

  defp room(%{count: count}, _space) when count >= @most_waiting,
    do: "busy: the store has #{@most_waiting} requests to answer before this one"

  defp room(%{spaces: spaces}, space) when :erlang.map_get(space, spaces) >= @most_of_one,
    do: "busy: the store has #{@most_of_one} requests of this namespace to answer before this one"

  defp room(_state, _space), do: :ok

  defp counted(state, space),
    do: %{state | count: state.count + 1, spaces: Map.update(state.spaces, space, 1, &(&1 + 1))}

  defp ask(%{socket: nil} = state, who, bytes), do: connecting(%{state | unsent: [{who, bytes} | state.unsent]})

  defp ask(state, {_from, space} = who, bytes) do
    case send_to(state.socket, bytes) do
      :ok ->
        # Silence begins when there is something to say.
        heard = if :queue.is_empty(state.waiting), do: now(), else: state.heard
        look_later(%{state | heard: heard, waiting: :queue.in(who, state.waiting)})

      # One that the server has closed may be found out by what is sent. It has not been done: another connection is asked.
      {:error, _reason} ->
        state |> left("it has closed the connection") |> counted(space) |> ask(who, bytes)
    end
  end

  defp connecting(%{connecting: nil} = state) do
    # Its end is the answer. One that fails otherwise is a server that can't be reached, too.
    {_pid, monitor} = spawn_monitor(__MODULE__, :end_connected, [self()])
    %{state | connecting: monitor}
  end

  defp connecting(state), do: state

  @doc false
  @spec end_connected(connection :: pid) :: no_return
  def end_connected(connection), do: exit(connect(connection))

  defp connect(connection) do
    {_module, options} = Config.get(:keyvalue)
    {:ok, address} = Address.read(options[:url])
    timeout = min(Config.get(:keyvalue_timeout), @connect_ms)

    with {:ok, {transport, socket} = opened} <- open(address, timeout),
         :ok <- greet(opened, Address.greeting(address), timeout),
         :ok <- transport.controlling_process(socket, connection),
         do: {:ok, opened}
  end

  defp open(address, timeout) do
    options = [
      :binary,
      active: false,
      nodelay: true,
      keepalive: true,
      buffer: 65_536,
      send_timeout: Config.get(:keyvalue_timeout),
      send_timeout_close: true
    ]

    Socket.connect(address.host, address.port, address.tls?, options, now() + timeout)
  end

  defp greet(_socket, [], _timeout), do: :ok

  defp greet(socket, [words | rest], timeout) do
    with :ok <- send_to(socket, Protocol.command(words)), :ok <- greeted(socket, Protocol.start(), timeout) do
      greet(socket, rest, timeout)
    else
      error ->
        close(socket)
        error
    end
  end

  defp greeted({transport, socket} = connection, part, timeout) do
    with {:ok, bytes} <- transport.recv(socket, 0, timeout) do
      case Protocol.read(part, bytes) do
        {:ok, [{:error, text}], _part} -> {:error, text}
        {:ok, [_welcome], _part} -> :ok
        {:ok, [], part} -> greeted(connection, part, timeout)
        _other -> {:error, "what answers is no Redis"}
      end
    end
  end

  @impl true
  def handle_info({:DOWN, monitor, :process, _pid, {:ok, socket}}, %{connecting: monitor} = state) do
    if state.told?, do: Logger.info("the Redis of the setting `keyvalue` answers again")
    set(socket, active: :once)
    state = %{state | socket: socket, connecting: nil, tried: nil, told?: false}
    {:noreply, state.unsent |> Enum.reverse() |> Enum.reduce(%{state | unsent: []}, &send_first(&2, &1))}
  end

  def handle_info({:DOWN, monitor, :process, _pid, why}, %{connecting: monitor} = state),
    do: {:noreply, away(state, why)}

  def handle_info({kind, socket, bytes}, %{socket: {_transport, socket}} = state) when kind in [:tcp, :ssl] do
    with {:ok, answers, part} <- Protocol.read(state.part, bytes),
         %{} = state <- Enum.reduce_while(answers, %{state | part: part, heard: now()}, &answered/2) do
      set(state.socket, active: :once)
      {:noreply, state}
    else
      :error -> {:noreply, left(state, "what answers is no Redis")}
    end
  end

  def handle_info({kind, socket}, %{socket: {_transport, socket}} = state) when kind in [:tcp_closed, :ssl_closed],
    do: {:noreply, left(state, "it has closed the connection")}

  def handle_info({kind, socket, _reason}, %{socket: {_transport, socket}} = state)
      when kind in [:tcp_error, :ssl_error],
      do: {:noreply, left(state, "its connection has failed")}

  def handle_info(:look, state) do
    state = %{state | looking?: false}
    silent = now() - state.heard

    cond do
      :queue.is_empty(state.waiting) -> {:noreply, state}
      silent >= Config.get(:keyvalue_timeout) -> {:noreply, left(state, "it has said nothing for #{silent} ms")}
      true -> {:noreply, look_later(state)}
    end
  end

  # Of a connection that was left.
  def handle_info(_other, state), do: {:noreply, state}

  # Who waited for the connection. It may be closed again after the first of them.
  defp send_first(%{socket: nil} = state, {{from, _space}, _bytes}) do
    GenServer.reply(from, {:error, @away})
    state
  end

  defp send_first(state, {{{pid, _tag}, space} = who, bytes}) do
    cond do
      not Process.alive?(pid) -> over(state, space)
      send_to(state.socket, bytes) == :ok -> look_later(%{state | heard: now(), waiting: :queue.in(who, state.waiting)})
      true -> state |> left("it has closed the connection") |> send_first({who, bytes})
    end
  end

  # Whether the server has been silent for too long, since its last byte. One look at a time is to come.
  defp look_later(%{looking?: true} = state), do: state

  defp look_later(state) do
    Process.send_after(self(), :look, max(Config.get(:keyvalue_timeout) - (now() - state.heard), 1))
    %{state | looking?: true}
  end

  defp answered(answer, state) do
    case :queue.out(state.waiting) do
      {{:value, {from, space}}, waiting} ->
        GenServer.reply(from, told(answer))
        {:cont, over(%{state | waiting: waiting}, space)}

      {:empty, _waiting} ->
        {:halt, :error}
    end
  end

  defp over(state, space) do
    spaces =
      case state.spaces do
        %{^space => 1} -> Map.delete(state.spaces, space)
        %{^space => more} -> %{state.spaces | space => more - 1}
      end

    %{state | count: state.count - 1, spaces: spaces}
  end

  defp told({:error, text}), do: {:refused, text}
  defp told(answer), do: {:ok, answer}

  # Leaves the connection, and tells all who wait.
  defp left(state, why) do
    close(state.socket)

    for {from, _space} <- :queue.to_list(state.waiting),
        do: GenServer.reply(from, {:error, "the store is away: " <> why})

    closed(state)
  end

  # The address is the host's own to know. What it says of itself may be long.
  defp away(state, why) do
    unless state.told? do
      Logger.warning(
        "the Redis of the setting `keyvalue` can't be reached: #{why |> inspect() |> String.slice(0, 500)}"
      )
    end

    for {{from, _space}, _bytes} <- state.unsent, do: GenServer.reply(from, {:error, @away})
    closed(%{state | tried: now(), told?: true})
  end

  defp send_to({transport, socket}, bytes), do: transport.send(socket, bytes)

  defp set({:ssl, socket}, options), do: :ssl.setopts(socket, options)
  defp set({:gen_tcp, socket}, options), do: :inet.setopts(socket, options)

  defp close(nil), do: :ok
  defp close({transport, socket}), do: transport.close(socket)

  defp now, do: System.monotonic_time(:millisecond)
end
