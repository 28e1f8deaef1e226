defmodule Tidepool.Dns do
  @moduledoc """
  A name server on UDP, on this machine, for tests: it answers from a table that can be changed.
  """

  use GenServer

  @doc "Starts it with a table `{name, :a | :aaaa} => [address]`, and returns its pid and port."
  def start!(table) do
    pid = ExUnit.Callbacks.start_supervised!({__MODULE__, table})
    {pid, GenServer.call(pid, :port)}
  end

  @doc "Changes the table."
  def put(pid, table), do: GenServer.call(pid, {:put, table})

  @doc false
  def start_link(table), do: GenServer.start_link(__MODULE__, table)

  @impl true
  def init(table) do
    {:ok, socket} = :gen_udp.open(0, [:binary, active: true, ip: {127, 0, 0, 1}])
    {:ok, %{socket: socket, table: table}}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, elem(:inet.port(state.socket), 1), state}
  def handle_call({:put, table}, _from, state), do: {:reply, :ok, %{state | table: table}}

  @impl true
  def handle_info({:udp, socket, ip, port, packet}, state) do
    {:ok, request} = :inet_dns.decode(packet)
    [question] = :inet_dns.msg(request, :qdlist)
    [domain, type] = :inet_dns.dns_query(question, [:domain, :type])
    addresses = Map.get(state.table, {domain |> to_string() |> String.downcase(), type}, [])

    answers =
      for address <- addresses,
          do: :inet_dns.make_rr(domain: domain, type: type, class: :in, ttl: 1, data: address)

    head = :inet_dns.make_header(:inet_dns.msg(request, :header), qr: true, aa: true, ra: true)
    reply = :inet_dns.make_msg(request, header: head, anlist: answers, arlist: [])
    :ok = :gen_udp.send(socket, ip, port, :inet_dns.encode(reply))
    {:noreply, state}
  end
end
