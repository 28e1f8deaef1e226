defmodule Tidepool.Keyvalue.Redis.Connection do
  @moduledoc """
  One connection to the Redis of the setting `keyvalue`, which many processes ask at a time: what they ask is sent on at once, and
  answers come in its order.

  It connects when somebody asks, by a process of its own: those who ask meanwhile wait for that, a second at most. While the server can't be
  reached, they are told so, and it is tried again when the last try is a moment ago.

  Each namespace has some requests under way on it, and so many bytes of these. Who asked may have ended, and what the server has been asked
  has not. What a server has yet to take waits in the socket, which has room for all of that: whoever sends waits for nothing, and who asks
  too much is told so at once.
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
  # Their bytes: in all, of which a namespace has no more than it leaves to others, and those of a namespace.
  @most_bytes 134_217_728
  @most_bytes_of_one 16_777_216
  # More than waits in a socket, be it by TLS.
  @socket_bytes 536_870_912
  @away "the store can't be reached"

  @doc false
  def child_spec(name), do: %{id: name, start: {__MODULE__, :start_link, [name]}}

  @doc false
  def start_link(name), do: GenServer.start_link(__MODULE__, [], name: name)

  @doc "What the server answers to a command of a namespace's; or a sentence. Who asks is ended when that takes too long."
  @spec command(GenServer.name(), space :: String.t() | nil, [binary]) ::
          {:ok, term} | {:refused, String.t()} | {:error, String.t()}
  def command(name, space, words) do
    bytes = Protocol.command(words)
    GenServer.call(name, {:command, space, bytes, IO.iodata_length(bytes)}, :infinity)
  end

  @impl true
  def init(_none), do: {:ok, closed(%{tried: nil, told?: false, looking?: false})}

  # Without a socket, and nobody waits: neither for an answer (`waiting`), nor to be sent (`unsent`).
  defp closed(state) do
    none = %{socket: nil, connecting: nil, part: Protocol.start(), heard: now()}
    state |> Map.merge(none) |> Map.merge(%{waiting: :queue.new(), unsent: [], count: 0, bytes: 0, spaces: %{}})
  end

  @impl true
  def handle_call({:command, space, bytes, size}, {pid, _tag} = from, state) do
    who = {from, space, size}

    case room(state, space) do
      :ok -> {:noreply, if(Process.alive?(pid), do: state |> counted(who) |> ask(who, bytes), else: state)}
      text -> {:reply, {:error, text}, state}
    end
  end

  defp room(%{socket: nil, connecting: nil, tried: tried} = state, _space) when tried != nil,
    do: if(now() - tried < @pause_ms, do: @away, else: room(%{state | tried: nil}, nil))

  defp room(%{count: count}, _space) when count >= @most_waiting, do: busy("#{@most_waiting} requests")

  defp room(%{bytes: bytes, spaces: spaces}, space) do
    {count, own} = Map.get(spaces, space, {0, 0})

    cond do
      count >= @most_of_one -> busy("#{@most_of_one} requests of this namespace")
      own >= min(@most_bytes_of_one, @most_bytes - bytes) -> busy("#{div(bytes, 1_048_576)} MiB of requests")
      true -> :ok
    end
  end

  defp busy(what), do: "busy: the store has #{what} to answer before this one"

  defp counted(state, {_from, space, size}), do: count(state, space, 1, size)
  defp over(state, {_from, space, size}), do: count(state, space, -1, -size)

  defp count(state, space, more, size) do
    spaces =
      case Map.get(state.spaces, space, {0, 0}) do
        {1, _bytes} when more < 0 -> Map.delete(state.spaces, space)
        {count, bytes} -> Map.put(state.spaces, space, {count + more, bytes + size})
      end

    %{state | count: state.count + more, bytes: state.bytes + size, spaces: spaces}
  end

  defp ask(%{socket: nil} = state, who, bytes), do: connecting(%{state | unsent: [{who, bytes} | state.unsent]})

  defp ask(state, who, bytes) do
    case send_to(state.socket, bytes) do
      :ok ->
        # Silence begins when there is something to say.
        heard = if :queue.is_empty(state.waiting), do: now(), else: state.heard
        look_later(%{state | heard: heard, waiting: :queue.in(who, state.waiting)})

      # One that the server has closed may be found out by what is sent. It has not been done: another connection is asked.
      {:error, _reason} ->
        state |> left("it has closed the connection") |> counted(who) |> ask(who, bytes)
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
      # What is sent waits there, and whoever sends it does not.
      high_watermark: @socket_bytes,
      # When it is left, that is not waited for either.
      linger: {true, 0}
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
  defp send_first(%{socket: nil} = state, {{from, _space, _size}, _bytes}) do
    GenServer.reply(from, {:error, @away})
    state
  end

  defp send_first(state, {{{pid, _tag}, _space, _size} = who, bytes}) do
    cond do
      not Process.alive?(pid) -> over(state, who)
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
      {{:value, {from, _space, _size} = who}, waiting} ->
        GenServer.reply(from, told(answer))
        {:cont, over(%{state | waiting: waiting}, who)}

      {:empty, _waiting} ->
        {:halt, :error}
    end
  end

  defp told({:error, text}), do: {:refused, text}
  defp told(answer), do: {:ok, answer}

  # Leaves the connection, and tells all who wait.
  defp left(state, why) do
    close(state.socket)

    for {from, _space, _size} <- :queue.to_list(state.waiting),
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

    for {{from, _space, _size}, _bytes} <- state.unsent, do: GenServer.reply(from, {:error, @away})
    closed(%{state | tried: now(), told?: true})
  end

  defp send_to({transport, socket}, bytes), do: transport.send(socket, bytes)

  defp set({:ssl, socket}, options), do: :ssl.setopts(socket, options)
  defp set({:gen_tcp, socket}, options), do: :inet.setopts(socket, options)

  defp close(nil), do: :ok
  defp close({transport, socket}), do: transport.close(socket)

  defp now, do: System.monotonic_time(:millisecond)
end
