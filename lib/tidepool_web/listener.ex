defmodule TidepoolWeb.Listener do
  @moduledoc """
  Owns the listening edge. When it is told to stop it drains: nothing new is accepted, requests in flight have the
  setting `:drain` to finish, and what is left is cut.
  """

  use GenServer, shutdown: :infinity

  require Logger

  alias Tidepool.{Audit, Config, Engine, Error, Native, Tokens}
  alias TidepoolWeb.{Deploys, Identity}

  # Time that the edge may take over the drain limit, to cut what is left.
  @grace_ms 10_000

  # Request bodies that the edge holds at once, over all connections, and no more than an eighth of the memory there is; of which one
  # client of a namespace gets a third: at least the largest one has to fit.
  @buffered_bytes 1_073_741_824
  # What a form may have beside the module: fields, and what is between them.
  @form_overhead_bytes 65_536

  @doc false
  def start_link(argument), do: GenServer.start_link(__MODULE__, argument, name: __MODULE__)

  @doc "The port that the edge listens on."
  @spec port :: :inet.port_number()
  def port, do: GenServer.call(__MODULE__, :port)

  @doc "The port on which functions are asked for by their routes; `nil` where there is none."
  @spec sites_port :: :inet.port_number() | nil
  def sites_port, do: GenServer.call(__MODULE__, :sites_port)

  @doc "What the edge counts; empty where there is no edge."
  @spec stats :: %{atom => non_neg_integer}
  def stats do
    Enum.reduce(servers(), %{}, fn server, all ->
      Map.merge(all, Native.http_stats(server), fn _key, one, other -> one + other end)
    end)
  end

  @doc """
  How much is taken of what there is so much of: places of deploys, and connections and requests of the port that has the most. Nothing
  where there is no edge.
  """
  @spec held :: %{String.t() => %{held: non_neg_integer, max: pos_integer}}
  def held do
    case Enum.map(servers(), &Native.http_stats/1) do
      [] ->
        %{}

      stats ->
        most = fn figure -> stats |> Enum.map(&Map.fetch!(&1, figure)) |> Enum.max() end

        %{
          "connections" => %{held: most.(:connections_open), max: Config.get(:max_connections)},
          "requests" => %{held: most.(:requests_in_flight), max: Config.get(:max_requests)},
          "deploys" => Deploys.held()
        }
    end
  end

  # That of the node, and that of sites where there is one.
  defp servers, do: :persistent_term.get(__MODULE__, [])

  @doc "Has connections that are still to come see another certificate."
  @spec identify(Native.identity()) :: :ok | {:error, message :: String.t()}
  def identify(identity) do
    case servers() do
      [] -> {:error, "there is no edge"}
      servers -> Enum.reduce(servers, :ok, fn server, :ok -> Native.http_identify(server, identity) end)
    end
  end

  # How long a link with a code is good for.
  @code_ms 60_000

  @doc """
  A code that stands for the token once, within a minute; `nil` where there is no token, or no edge. The page knows it by its 43 letters:
  tokens that are made here have more.
  """
  @spec open_code :: String.t() | nil
  def open_code do
    server = List.first(servers())

    if server != nil and Config.get(:token) != nil do
      code = Base.url_encode64(:crypto.strong_rand_bytes(32), padding: false)
      Native.http_open_code(server, code, @code_ms)
      code
    end
  end

  @doc """
  Lets the two halves of a session stand for the token whose secret has this SHA-256, `nil` for the node's own, for requests of
  the node's own pages.
  """
  @spec open_session({id :: String.t(), key :: String.t()}, <<_::256>> | nil, pos_integer, pos_integer) :: :ok
  def open_session({id, key}, of, lifetime_ms, idle_ms) do
    Native.http_open_session(hd(servers()), id, key, of, lifetime_ms, idle_ms)
  end

  @doc "Ends a session, by both of its halves."
  @spec close_session({id :: String.t(), key :: String.t()}) :: :ok
  def close_session({id, key}), do: Native.http_close(hd(servers()), id, key)

  @impl true
  def init({config, dispatchers, endpoints}) do
    Process.flag(:trap_exit, true)
    stop_predecessor()

    with {:ok, identity, left_out} <- Identity.read(config),
         settings = config |> native(endpoints, Engine.machine()) |> Map.put(:tls, identity),
         dispatchers = Enum.map(dispatchers, &Process.whereis/1),
         {:ok, server, port} <- Native.http_start(Engine.runtime(), settings, dispatchers),
         {:ok, sites, sites_port} <- start_sites(config, settings, dispatchers) do
      for message <- left_out, do: Logger.error("a certificate is left out: #{message}")
      servers = [server | List.wrap(sites)]
      :persistent_term.put(__MODULE__, servers)
      Tokens.serve(server)
      scheme = if identity, do: "https", else: "http"
      Logger.info("Tidepool listens on #{scheme}://#{host(config.address)}:#{port}")

      if sites_port,
        do: Logger.info("Tidepool serves sites on #{scheme}://#{host(sites_address(config))}:#{sites_port}")

      {:ok, %{servers: servers, port: port, sites_port: sites_port, drain: config.drain}}
    else
      {:error, _reason, message} -> {:stop, Error.new(:listen, message)}
      {:error, message} -> {:stop, Error.new(:listen, message)}
    end
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:sites_port, _from, state), do: {:reply, state.sites_port, state}

  @impl true
  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    Audit.note(:drain, nil, nil, {nil, nil})
    # Before the erasure, for which the VM looks through all processes.
    Enum.each(state.servers, &Native.http_drain(&1, state.drain))
    :persistent_term.erase(__MODULE__)

    case drained(state.servers, state.drain + @grace_ms) do
      {finished, 0} -> Logger.info("Tidepool drained: #{finished} requests finished")
      {finished, cut} -> Logger.warning("Tidepool drained: #{finished} finished, #{cut} cut")
      :timeout -> Logger.error("Tidepool could not drain in time")
    end
  end

  # How many requests of all servers finished, and how many were cut.
  defp drained(servers, timeout) do
    Enum.reduce_while(servers, {0, 0}, fn _server, {finished, cut} ->
      receive do
        {:tidepool_drained, more, others} -> {:cont, {finished + more, cut + others}}
      after
        timeout -> {:halt, :timeout}
      end
    end)
  end

  # Another origin, on which functions are asked for by their routes.
  defp start_sites(%{sites_port: nil}, _settings, _dispatchers), do: {:ok, nil, nil}

  defp start_sites(config, settings, dispatchers) do
    settings = %{settings | sites: true, address: sites_address(config), port: config.sites_port, endpoints: []}
    Native.http_start(Engine.runtime(), settings, dispatchers)
  end

  defp sites_address(config), do: config.sites_address || config.address

  # A listener that was killed could not drain: its server still has the port, and dispatchers that are gone.
  defp stop_predecessor do
    with [_server | _sites] = servers <- servers() do
      :persistent_term.erase(__MODULE__)
      Enum.each(servers, &Native.http_drain(&1, 0))

      if drained(servers, @grace_ms) == :timeout,
        do: Logger.error("the edge of a listener that died could not be stopped")
    end
  end

  @doc false
  # What the edge is set up with.
  @spec native(Config.t(), [map], {memory_bytes :: pos_integer, cores :: pos_integer}) :: map
  def native(config, endpoints, {memory, cores}) do
    %{
      address: config.address,
      port: config.port,
      sites: false,
      token: Config.get(:token),
      tokens: Tokens.rows(),
      closed_calls: config.calls == :token,
      trace_share: Tidepool.Trace.share(),
      hosts: Config.words(config.hosts),
      proxies: Config.words(config.proxies),
      max_upload_bytes: config.max_module,
      max_payload_bytes: config.max_payload,
      max_buffered_bytes: buffered_bytes(memory, max(config.max_module, config.max_payload)),
      form_overhead_bytes: @form_overhead_bytes,
      header_timeout_ms: config.header_timeout,
      body_timeout_ms: config.body_timeout,
      write_timeout_ms: config.write_timeout,
      idle_timeout_ms: config.idle_timeout,
      lame_duck_ms: config.lame_duck,
      max_connections: config.max_connections,
      max_requests: config.max_requests,
      max_uploads: Deploys.most(),
      cores: cores,
      endpoints: endpoints
    }
  end

  defp buffered_bytes(memory, largest),
    do: @buffered_bytes |> min(div(memory, 8)) |> max(3 * (@form_overhead_bytes + largest))

  defp host(address), do: if(String.contains?(address, ":"), do: "[#{address}]", else: address)
end
