defmodule Tidepool.TestRegistry do
  @moduledoc """
  A registry of a test's own, Debian's `docker-registry`: `bin/support/registry` starts it, and ends it when the test is over, however
  that ends. What is pushed here is what other tools push.
  """

  use GenServer

  @start_ms 60_000
  @manifest "application/vnd.oci.image.manifest.v1+json"

  @doc """
  Starts one for the test, or the module, that calls this: where it is, as references begin, and with `:tls` the file of the
  certificate of its authority. With `:login` it wants the login of `ada`, whose password is `s3cret`.
  """
  def start!(kind \\ :open) when kind in [:open, :login, :tls] do
    arguments = if kind == :open, do: [], else: ["#{kind}"]
    child = %{id: make_ref(), start: {__MODULE__, :start_link, [arguments]}}
    server = ExUnit.Callbacks.start_supervised!(child)

    case String.split(GenServer.call(server, :ready), " ") do
      [address] -> address
      [address, certificate] -> {address, certificate}
    end
  end

  @doc "Pushes layers, each a media type and bytes, as `name:tag`, and returns the digest of the manifest."
  def push!(address, name_and_tag, layers, config_type \\ "application/vnd.wasm.config.v0+json") do
    [name, tag] = String.split(name_and_tag, ":")
    config = descriptor(address, name, config_type, "{}")
    layers = for {type, bytes} <- layers, do: descriptor(address, name, type, bytes)

    put_manifest!(address, name, tag, @manifest, %{
      schemaVersion: 2,
      mediaType: @manifest,
      config: config,
      layers: layers
    })
  end

  @doc "Puts a manifest of any kind, and returns its digest."
  def put_manifest!(address, name, tag, type, manifest) do
    body = Tidepool.Native.json_encode(manifest)
    {201, _headers} = request(:put, address, "/v2/#{name}/manifests/#{tag}", type, body)
    "sha256:" <> sha256(body)
  end

  defp descriptor(address, name, type, bytes) do
    digest = "sha256:" <> sha256(bytes)
    {202, headers} = request(:post, address, "/v2/#{name}/blobs/uploads/", "application/octet-stream", "")
    location = headers |> List.keyfind(~c"location", 0) |> elem(1) |> to_string()
    path = location |> URI.parse() |> then(&"#{&1.path}?#{&1.query}&digest=#{digest}")
    {201, _headers} = request(:put, address, path, "application/octet-stream", bytes)
    %{mediaType: type, digest: digest, size: byte_size(bytes)}
  end

  defp request(method, address, path, type, body) do
    {:ok, _started} = Application.ensure_all_started(:inets)
    request = {~c"http://#{address}#{path}", [], to_charlist(type), body}
    {:ok, {{_version, status, _phrase}, headers, _body}} = :httpc.request(method, request, [], body_format: :binary)
    {status, headers}
  end

  @doc "A SHA-256 in hex."
  def sha256(bytes), do: :crypto.hash(:sha256, bytes) |> Base.encode16(case: :lower)

  @doc false
  def start_link(arguments), do: GenServer.start_link(__MODULE__, arguments, timeout: @start_ms)

  @impl true
  def init(arguments) do
    script = Path.expand("../../../bin/support/registry", __DIR__)
    port = Port.open({:spawn_executable, script}, [:binary, :exit_status, args: arguments, line: 4_096])

    receive do
      {^port, {:data, {:eol, "ready " <> ready}}} -> {:ok, %{port: port, ready: ready}}
      {^port, {:exit_status, status}} -> {:stop, "the registry could not be started: #{status}"}
    after
      @start_ms -> {:stop, "the registry has not started"}
    end
  end

  @impl true
  def handle_call(:ready, _from, state), do: {:reply, state.ready, state}

  @impl true
  def handle_info(_message, state), do: {:noreply, state}
end
