# Measures: three GETs of a real Redis, joined, by native Elixir and by guests, from Elixir and over HTTP
# Needs: redis-server, ab
# Builds: -p tidepool_load
#
# The guests' host calls go to a function, or to a GenServer, at 1 to 512 calls at once.
#
#   bench/run redis             about two minutes; prints tables, writes bench/results/redis.json and redis.svg
#   bench/run redis --docs      the same, and puts tables and plot into docs/benchmarks.md
for file <- [
      "support.exs",
      "support/redis.exs",
      "support/plot.exs",
      "support/redis_load.exs",
      "support/redis_report.exs"
    ] do
  Code.require_file(file, __DIR__)
end

defmodule Bench.RedisConcat do
  @moduledoc """
  The guest `redis_concat` beside Elixir that does the same, with the same Redis client.

  A guest's GETs come one after the other, each when the one before is answered; so do those of the native side. Both
  share the client's four connections.

  Over HTTP the native side answers from behind the same edge: a second one, whose requests start processes of this
  bench. It is the fastest HTTP server that Elixir code can have here, so what is compared is the guest.
  """

  alias Bench.{Redis, RedisLoad, RedisReport}

  @keys for key <- 1..3, do: {"some_key#{key}", "value #{key} "}
  @native "native"
  @pools [{"1", {:warm, 1}}, {"100", {:warm, 100}}, {"fresh", :fresh}]
  @target {"host", "redis", "GET"}

  defmodule Handler do
    @moduledoc "Gets host calls as messages and passes them to the client, whose answer goes to the guest."
    use GenServer
    @impl true
    def init(nil), do: {:ok, nil}

    @impl true
    def handle_info({:invoke_callback, _binding, _namespace, "GET", key, ref}, nil) do
      Redis.get(key, &Tidepool.Host.reply(ref, &1))
      {:noreply, nil}
    end
  end

  defmodule NativeEdge do
    @moduledoc "The dispatcher of an edge whose requests are native Elixir: whatever is asked for, the answer is the same."
    use GenServer
    alias Tidepool.Native
    @impl true
    def init(nil), do: {:ok, nil}

    @impl true
    def handle_info({:tidepool_http, queue}, nil) do
      for _ <- 1..Native.http_unannounced(queue)//1 do
        spawn(fn ->
          {responder, _route, nil} = Native.http_take(queue)
          Native.http_answer(responder, 200, :bytes, [], Bench.RedisConcat.native())
        end)
      end

      {:noreply, nil}
    end

    def handle_info(_hangup, nil), do: {:noreply, nil}
  end

  def run(smoke?, docs?) do
    Bench.start!()
    Redis.connect!(Redis.start_server!())
    for {key, value} <- @keys, do: Redis.set!(key, value)
    for {pool, instances} <- @pools, do: Bench.deploy!("pool_#{pool}", "rust/redis_concat", instances: instances)
    subjects = subjects()
    for subject <- subjects, do: check!(subject)

    plan = plan(smoke?)
    api = RedisLoad.closed(subjects, plan, &RedisLoad.processes(&1, &2, plan))
    http = RedisLoad.closed(subjects, plan, &RedisLoad.ab(&1, &2, plan))
    open = RedisLoad.open(subjects, plan, RedisLoad.best(http, @native))

    names = Enum.map(subjects, & &1.name)
    Bench.report("redis", RedisReport.rows(api, http, open, names))
    RedisReport.write(api, http, open, names, docs?)
  end

  @doc "What the guest does, in Elixir."
  def native do
    Enum.map_join(@keys, fn {key, _value} ->
      {:ok, value} = Redis.get(key)
      value
    end)
  end

  defp plan(true), do: %{levels: [1, 64], rounds: 1, batch_ms: 50, shares: [0.25], open_ms: 300}

  defp plan(false) do
    %{levels: Enum.map(0..9, &(2 ** &1)), rounds: 3, batch_ms: 100, shares: [0.25, 0.5, 0.75], open_ms: 600}
  end

  # A subject: what makes ready for it, how it is called from Elixir, and where over HTTP.
  defp subjects do
    {:ok, process} = GenServer.start_link(Handler, nil)
    handlers = [{"function", fn call -> Redis.get(call.payload) end}, {"GenServer", process}]
    {guests, native} = edges()

    [
      %{name: @native, ready: fn -> :ok end, call: &native/0, url: "#{native}/health"}
      | for {handler, answers} <- handlers, {pool, _instances} <- @pools do
          %{
            name: "#{handler}, #{pool}",
            ready: fn -> Tidepool.Host.register(@target, answers) end,
            call: fn -> Tidepool.call!("pool_#{pool}", nil) end,
            url: "#{guests}/call/pool_#{pool}"
          }
        end
    ]
  end

  # Two edges in one node: Tidepool's own, and the one with native Elixir behind it. A listener takes a running edge for
  # that of its predecessor, so the first one has to be forgotten.
  defp edges do
    {:ok, config} = Tidepool.Config.Schema.check(server: true, port: 0)
    {:ok, _supervisor} = TidepoolWeb.Supervisor.start_link(config)
    guests = TidepoolWeb.Listener.port()
    :persistent_term.erase(TidepoolWeb.Listener)

    dispatchers = for index <- 1..System.schedulers_online(), do: Module.concat(NativeEdge, "N#{index}")
    for name <- dispatchers, do: {:ok, _pid} = GenServer.start_link(NativeEdge, nil, name: name)
    {:ok, listener} = GenServer.start_link(TidepoolWeb.Listener, {config, dispatchers, TidepoolWeb.Router.endpoints()})
    native = GenServer.call(listener, :port)
    {"http://127.0.0.1:#{guests}", "http://127.0.0.1:#{native}"}
  end

  defp check!(subject) do
    subject.ready.()
    expected = native()
    ^expected = subject.call.()
    {^expected, 0} = System.cmd("curl", ["-sS", subject.url])
  end
end

given = Bench.switches([:smoke, :docs])
Bench.RedisConcat.run(given.smoke, given.docs)
