defmodule Tidepool.SlowLink do
  @moduledoc """
  A slow cable between nodes: distribution connections go through a proxy here, which forwards late and a little at a
  time, or not at all for a while, each direction by itself. Nodes are led to it by an EPMD module of their own, see `arguments/1`.
  """

  use GenServer

  @chunk_bytes 16_384
  # How often a direction that is held looks whether it still is.
  @look_ms 10

  @doc "Options: `:nodes`, whose connections are slow; `:delay_ms`; `:bytes_per_s`, each way."
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @doc "Arguments of `erl` for the nodes: whoever connects to one of them finds the proxy's port."
  def arguments(link) do
    ports = GenServer.call(link, :ports)
    flags = for {node, port} <- ports, text <- [name(node), to_string(port)], do: to_charlist(text)
    [~c"-epmd_module", ~c"#{__MODULE__.Epmd}", ~c"-slow_link" | flags]
  end

  @doc "How many connections have been made through it."
  def connections(link), do: GenServer.call(link, :connections)

  @doc "Holds what one node sends to another, which is not told; what that one sends arrives."
  def hold(link, from, to), do: GenServer.call(link, {:hold, {name(from), name(to)}})

  @doc "Lets all go on."
  def release(link), do: GenServer.call(link, :release)

  @impl true
  def init(options) do
    held = :ets.new(__MODULE__, [:public, read_concurrency: true])
    pace = options |> Keyword.take([:delay_ms, :bytes_per_s]) |> Map.new() |> Map.put(:held, held)
    link = self()

    ports =
      for node <- options[:nodes] do
        {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}])
        {:ok, port} = :inet.port(listener)
        spawn_link(fn -> accept(listener, node, pace, link) end)
        {node, port}
      end

    {:ok, %{ports: ports, connections: 0, held: held}}
  end

  @impl true
  def handle_call(:ports, _from, state), do: {:reply, state.ports, state}
  def handle_call(:connections, _from, state), do: {:reply, state.connections, state}
  def handle_call({:hold, way}, _from, state), do: {:reply, :ets.insert(state.held, {way}), state}
  def handle_call(:release, _from, state), do: {:reply, :ets.delete_all_objects(state.held), state}

  @impl true
  def handle_info(:connected, state), do: {:noreply, %{state | connections: state.connections + 1}}

  defp accept(listener, node, pace, link) do
    {:ok, near} = :gen_tcp.accept(listener)

    with {:port, port, _version} <- :erl_epmd.port_please(to_charlist(name(node)), {127, 0, 0, 1}),
         {:ok, far} <- :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, nodelay: true]) do
      send(link, :connected)
      spawn_link(fn -> connect(near, far, name(node), pace) end)
    else
      # The node has ended meanwhile.
      _gone -> :gen_tcp.close(near)
    end

    accept(listener, node, pace, link)
  end

  # Who connects says its name first.
  defp connect(near, far, node, pace) do
    with {:ok, hello} <- :gen_tcp.recv(near, 0), :ok <- :gen_tcp.send(far, hello) do
      peer = name(said(hello))
      forward(near, far, Map.put(pace, :way, {peer, node}))
      forward(far, near, Map.put(pace, :way, {node, peer}))
    else
      {:error, _closed} -> Enum.each([near, far], &:gen_tcp.close/1)
    end
  end

  # "Distribution Handshake" in ERTS' manual: its messages `N` and `n`.
  defp said(<<_size::16, ?N, _flags::64, _creation::32, size::16, name::binary-size(size), _more::binary>>), do: name
  defp said(<<size::16, ?n, _version::16, _flags::32, more::binary>>), do: binary_part(more, 0, size - 7)

  # A link's delay holds back what follows, too: bytes keep their order, as on a cable.
  defp forward(from, to, pace) do
    writer = spawn_link(fn -> write(to, pace) end)
    spawn_link(fn -> read(from, writer) end)
  end

  defp read(from, writer) do
    case :gen_tcp.recv(from, 0) do
      {:ok, bytes} ->
        send(writer, {:bytes, System.monotonic_time(:millisecond), bytes, self()})
        # What the writer has not taken stays with the sender, as in a full socket.
        receive do: (:taken -> read(from, writer))

      {:error, _closed} ->
        send(writer, :closed)
    end
  end

  defp write(to, pace) do
    receive do
      {:bytes, came, bytes, reader} ->
        wait(came + pace.delay_ms - System.monotonic_time(:millisecond))
        released(pace)
        trickle(to, bytes, pace)
        send(reader, :taken)
        write(to, pace)

      :closed ->
        released(pace)
        :gen_tcp.close(to)
    end
  end

  defp released(pace) do
    if :ets.member(pace.held, pace.way) do
      wait(@look_ms)
      released(pace)
    end
  end

  defp trickle(to, bytes, pace) do
    size = min(byte_size(bytes), @chunk_bytes)
    <<chunk::binary-size(size), rest::binary>> = bytes
    _ = :gen_tcp.send(to, chunk)
    wait(div(size * 1_000, pace.bytes_per_s))
    if rest != "", do: trickle(to, rest, pace)
  end

  defp wait(ms) when ms > 0, do: receive(do: (:never -> :ok), after: (ms -> :ok))
  defp wait(_ms), do: :ok

  defp name(node), do: node |> to_string() |> String.split("@") |> hd()

  defmodule Epmd do
    @moduledoc "Erlang's own EPMD client, which gives the proxy's port for nodes on a slow link (`-epmd_module`)."

    defdelegate start_link, to: :erl_epmd
    defdelegate register_node(name, port, family), to: :erl_epmd
    defdelegate names(host), to: :erl_epmd
    defdelegate address_please(name, host, family), to: :erl_epmd
    defdelegate listen_port_please(name, host), to: :erl_epmd

    def port_please(name, host, timeout \\ :infinity) do
      with {:port, _port, version} <- :erl_epmd.port_please(name, host, timeout) do
        {:port, port(to_string(name)) || raise("no proxy for #{name}"), version}
      end
    end

    defp port(name) do
      {:ok, [flags]} = :init.get_argument(:slow_link)

      flags
      |> Enum.chunk_every(2)
      |> Enum.find_value(fn [node, port] -> to_string(node) == name && List.to_integer(port) end)
    end
  end
end
