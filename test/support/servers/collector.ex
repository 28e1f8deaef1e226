defmodule Tidepool.Collector do
  @moduledoc """
  A collector of OpenTelemetry's: takes spans over HTTP and keeps them, on a port of the test's own. It ends with the test.
  """

  use GenServer

  @doc "Starts it."
  def start!, do: ExUnit.Callbacks.start_supervised!(%{id: make_ref(), start: {__MODULE__, :start_link, []}})

  @doc false
  def start_link, do: GenServer.start_link(__MODULE__, nil)

  @doc "Its address."
  def url(collector), do: "http://127.0.0.1:#{GenServer.call(collector, :port)}"

  @doc "The spans that came since the last time this was asked, in their order, each with its `service`, its `node` and its `headers`."
  def take(collector), do: GenServer.call(collector, :take)

  @doc """
  From now on it answers so: with a status, `:never`, or `{:endless, beginning, more}` with `more` again and again after the beginning.
  """
  def answer(collector, how), do: GenServer.call(collector, {:answer, how})

  @doc "How many bytes its last answer without an end had when the other side hung up."
  def poured(collector), do: GenServer.call(collector, :poured)

  @doc "How many batches have come."
  def batches(collector), do: GenServer.call(collector, :batches)

  @doc "A handler of host calls: what it is told to pass on, and what it finds itself."
  def told(call), do: {:ok, "#{call.traceparent} #{Tidepool.Trace.traceparent()}"}

  @doc "The value of an attribute of a span, with its type's name."
  def attribute(span, key) do
    Enum.find_value(span["attributes"], fn %{"key" => name, "value" => value} -> name == key && value end)
  end

  @impl true
  def init(nil) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, packet: :http_bin, active: false])
    {:ok, port} = :inet.port(listener)
    collector = self()
    spawn_link(fn -> accept(listener, collector) end)
    {:ok, %{port: port, spans: [], answer: 200, batches: 0, poured: nil}}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:batches, _from, state), do: {:reply, state.batches, state}
  def handle_call(:poured, _from, state), do: {:reply, state.poured, %{state | poured: nil}}
  def handle_call({:poured, bytes}, _from, state), do: {:reply, :ok, %{state | poured: bytes}}
  def handle_call(:take, _from, state), do: {:reply, state.spans, %{state | spans: []}}
  def handle_call({:answer, how}, _from, state), do: {:reply, :ok, %{state | answer: how}}

  def handle_call({:batch, path, headers, body}, _from, state) do
    spans = if state.answer == 200, do: spans(path, headers, body), else: []
    {:reply, state.answer, %{state | spans: state.spans ++ spans, batches: state.batches + 1}}
  end

  defp spans("/v1/traces", headers, body) do
    {:ok, %{"resourceSpans" => resources}} = Tidepool.Native.json_decode(body)

    for %{"resource" => resource, "scopeSpans" => scopes} <- resources, %{"spans" => spans} <- scopes, span <- spans do
      [service, node] = for key <- ["name", "instance.id"], do: attribute(resource, "service.#{key}")["stringValue"]
      Map.merge(span, %{"service" => service, "node" => node, "headers" => headers})
    end
  end

  defp accept(listener, collector) do
    {:ok, socket} = :gen_tcp.accept(listener)
    {:ok, server} = Task.start(fn -> receive(do: (:go -> serve(socket, collector))) end)
    :ok = :gen_tcp.controlling_process(socket, server)
    send(server, :go)
    accept(listener, collector)
  end

  defp serve(socket, collector) do
    with {:ok, {:http_request, :POST, {:abs_path, path}, _version}} <- :gen_tcp.recv(socket, 0) do
      headers = headers(socket, %{})
      :ok = :inet.setopts(socket, packet: :raw)
      {:ok, body} = :gen_tcp.recv(socket, String.to_integer(headers["content-length"]))

      case GenServer.call(collector, {:batch, path, headers, body}) do
        :never ->
          # Until the other side hangs up.
          :gen_tcp.recv(socket, 0)

        {:endless, beginning, more} ->
          :ok = :gen_tcp.send(socket, beginning)
          GenServer.call(collector, {:poured, pour(socket, more, 0)})

        status ->
          :ok = :gen_tcp.send(socket, "HTTP/1.1 #{status} As Asked\r\ncontent-length: 2\r\n\r\n{}")
          :ok = :inet.setopts(socket, packet: :http_bin)
          serve(socket, collector)
      end
    end
  end

  defp pour(socket, more, bytes) do
    case :gen_tcp.send(socket, more) do
      :ok -> pour(socket, more, bytes + byte_size(more))
      {:error, _hung_up} -> bytes
    end
  end

  defp headers(socket, headers) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, {:http_header, _n, name, _raw, value}} ->
        headers(socket, Map.put(headers, String.downcase("#{name}"), value))

      {:ok, :http_eoh} ->
        headers
    end
  end
end
