defmodule Tidepool.Config.Schema do
  # Names in `Tidepool.Host.Builtin`.
  @builtins [:actor, :function, :log]

  @schema [
    server: [type: :boolean, default: false, doc: "whether the HTTP edge is started; `mix tidepool.server` sets it."],
    standalone: [
      type: :boolean,
      default: false,
      doc:
        "whether a start that fails ends the VM, with a sentence and status 1; `mix tidepool.server` and releases " <>
          "set it."
    ],
    address: [
      type: {:check, &__MODULE__.address?/1, "an IP address such as \"127.0.0.1\""},
      default: "127.0.0.1",
      doc: "IP address to listen on. Anything but loopback needs a token."
    ],
    port: [type: {:integer, 0, 65_535}, default: 4000, doc: "TCP port to listen on; 0 takes a free one."],
    sites_port: [
      type: {:integer, 0, 65_535},
      default: nil,
      doc: "TCP port that serves functions by their routes, and nothing else; 0 takes a free one, `nil` is none."
    ],
    sites_address: [
      type: {:check, &__MODULE__.address?/1, "an IP address such as \"127.0.0.1\""},
      default: nil,
      doc: "IP address of that port; `nil` is the setting `address`."
    ],
    tls_cert: [
      type: :string,
      default: nil,
      doc:
        "file with the node's certificate, and those between it and one that clients know, in PEM; with it the edge speaks TLS. " <>
          "A file that is replaced is read again."
    ],
    tls_key: [type: :string, default: nil, doc: "file with the certificate's private key, in PEM, without a password."],
    tls_certs: [
      type: :string,
      default: nil,
      doc:
        "folder with more certificates, each a file `NAME.crt` with its key in `NAME.key`. A client gets the " <>
          "certificate for the host that it asks for, or else `tls_cert`. Files that come, go or are replaced are " <>
          "read again."
    ],
    tls_clients: [
      type: :string,
      default: nil,
      doc: "file with certificates, in PEM: each client needs a certificate that one of these vouches for."
    ],
    token: [
      type: {:check, &__MODULE__.token?/1, "printable ASCII without spaces"},
      default: nil,
      secret: true,
      doc: "bearer token that deploying and removing need."
    ],
    calls: [
      type: {:one_of, [:open, :token]},
      default: :open,
      doc: "whether calls over HTTP need a token, `:token`, as changes do, or none, `:open`."
    ],
    reads: [
      type: {:one_of, [:open, :token]},
      default: :open,
      doc:
        "whether reads over HTTP (functions, their calls, the node) need a token, `:token`, or none, `:open`; a token " <>
          "for some functions reads of those alone."
    ],
    hosts: [
      type: {:check, &__MODULE__.hosts?/1, "names such as \"tide.example\", without ports, or \"*\""},
      default: [],
      doc:
        "names that requests may be for, beside addresses and localhost: a list, or a string with commas; `*` is any. " <>
          "Without names, a node on loopback answers to no others, and a node that others reach answers to any."
    ],
    proxies: [
      type: {:check, &__MODULE__.proxies?/1, "addresses or networks such as \"10.0.0.0/8\""},
      default: [],
      doc:
        "proxies in front of the node: a list, or a string with commas. All connections of an address share what one " <>
          "client may have; each connection of a proxy, or of loopback, counts for itself. The log names a proxy's client, " <>
          "by its `X-Forwarded-For`."
    ],
    data: [
      type: {:check, &__MODULE__.data?/1, "the path of a folder, or :temporary"},
      default: nil,
      doc:
        "folder for modules and catalog, in which each node has one of its own; `:temporary` is one that is gone when the " <>
          "node stops, and so is `nil`, with a warning."
    ],
    actors: [
      type:
        {:check, &__MODULE__.actors?/1,
         ":local, {:postgres, \"postgres://…\"}, or {:replicated, [\"NAME@HOST\", …]} with 1, 3, 5 or 7 nodes"},
      default: :local,
      secret: true,
      doc:
        "where actors are kept: `:local`, in the data folder; `{:postgres, url}`, a database that the nodes of a cluster " <>
          "share; or `{:replicated, nodes}`, in the data folders of 1, 3, 5 or 7 nodes, which keep the same; others with this " <>
          "setting pass calls on to these. As a string `local`, the URL, or `replicated:a@host1,b@host2,c@host3`."
    ],
    limits: [type: {:keyword, Tidepool.Limits.schema()}, default: [], doc: "default limits of functions."],
    instances: [
      type: {:check, &Tidepool.Function.Spec.instances?/1, ":fresh or {:warm, max_idle} with max_idle from 1 to 16000"},
      default: :fresh,
      doc: "where a function's instances come from unless its deploy says otherwise: `:fresh` or `{:warm, max_idle}`."
    ],
    host: [
      type: {:one_of, [:all, :none]},
      default: :all,
      doc:
        "which host functions a function may ask for unless its deploy says so: `:all` that are registered, or `:none`."
    ],
    namespaces: [
      type: {:check, &Tidepool.Namespaces.Setting.valid?/1, Tidepool.Namespaces.Setting.expectation()},
      default: %{},
      doc:
        "what the functions of a namespace may have together (`Tidepool.Namespaces.Setting`), by its name; as a string " <>
          "`shop/instances=200,blog/modules=10`."
    ],
    builtins: [
      type: {:check, &__MODULE__.builtins?/1, "a list with any of #{Enum.map_join(@builtins, ", ", &inspect/1)}"},
      default: [],
      doc:
        "built-in host functions that every guest may call: `:actor`, `:function`, `:log` (see `Tidepool.Host.Builtin`)."
    ],
    deploy_keys: [
      type: {:check, &__MODULE__.deploy_keys?/1, "public keys of Ed25519: 32 bytes in Base64 each"},
      default: [],
      doc:
        "public keys, a list, or a string with commas: when there are any, only modules that one of them has signed are " <>
          "deployed, loaded, or taken from other nodes."
    ],
    registries: [
      type:
        {:check, &Tidepool.Function.Reference.Registries.valid?/1, Tidepool.Function.Reference.Registries.expectation()},
      default: ["*"],
      doc:
        "registries that deploys may have modules fetched from (`ref`): a list, or a string with commas. `*` is all with public " <>
          "addresses; one that is named may be on a private network, and with `http://` before it is spoken to in the clear. " <>
          "An empty list is none."
    ],
    registry_logins: [
      type: :string,
      default: nil,
      doc:
        "file with the node's logins for registries, as `docker login` writes it; `nil` is `config.json` in the folder that the " <>
          "variable `DOCKER_CONFIG` names, or in `~/.docker`."
    ],
    registry_timeout: [
      type: {:integer, 1, 3_600_000},
      default: 60_000,
      doc: "how long a module may take to come from a registry, in ms."
    ],
    max_module: [
      type: {:integer, 8, 1_073_741_824},
      default: 67_108_864,
      doc: "largest module that can be deployed, in bytes."
    ],
    max_payload: [
      type: {:integer, 1, 4_294_967_296},
      default: 67_108_864,
      doc: "largest payload of a call over HTTP, in bytes; a function's own limit holds as well."
    ],
    max_instances: [
      type: {:integer, 1, 16_000},
      default: 4_096,
      doc:
        "cap on live instances of the fast engine, idle warm ones included; those of " <>
          "[composed components](components.md#composed-components) may count as several."
    ],
    max_dense_instances: [
      type: {:integer, 1, 1_000_000},
      default: nil,
      doc:
        "cap on live instances of the dense engine, idle warm ones included; `nil` is what the machine has room for, " <>
          "131,072 at most."
    ],
    max_dense_memory: [
      type: {:integer, 65_536, 1_073_741_824},
      default: 67_108_864,
      doc:
        "largest memory limit of a function on the dense engine, in bytes; each instance takes so much address space."
    ],
    max_queue: [
      type: {:integer, 0, 10_000_000},
      default: 16_384,
      doc: "cap on calls that wait for an instance, for each engine."
    ],
    max_memory: [
      type: {:integer, 65_536, 17_592_186_044_416},
      default: nil,
      doc:
        "cap on the linear memory of all live instances together and what programs have on the host, in bytes; `nil` is three quarters of the machine's, or of " <>
          "what a control group (a container) around the node gives."
    ],
    max_code: [
      type: {:integer, 65_536, 17_592_186_044_416},
      default: nil,
      doc:
        "cap on what the code of all functions takes of the memory, with the texts of their options, in bytes: a deploy that would go over it is refused, and a rollback is not; `nil` is a quarter of the " <>
          "machine's memory, or of the container's."
    ],
    max_frozen: [
      type: {:integer, 0, 17_592_186_044_416},
      default: 268_435_456,
      doc:
        "cap on the memory of sleeping actors, in bytes. Above it, actors that were not called for the longest time are on disk alone."
    ],
    stack: [
      type: {:integer, 65_536, 16_777_216},
      default: 524_288,
      doc: "stack of a guest, in bytes."
    ],
    io_threads: [
      type: {:integer, 1, 1_024},
      default: nil,
      doc:
        "threads that serve HTTP, and as many for timers and what else waits; `nil` is one for each core of the machine or the container, and no more than schedulers."
    ],
    compile_threads: [
      type: {:integer, 1, 1_024},
      default: nil,
      doc:
        "threads that compile, beside one for small modules; `nil` is one for every two cores, counted as for `io_threads`."
    ],
    compile_time: [
      type: {:integer, 100, 3_600_000},
      default: 10_000,
      doc:
        "CPU time that a compiler may take for a module, in ms, plus as much for each MiB of the module (without custom sections and most of its data)."
    ],
    compile_memory: [
      type: {:integer, 67_108_864, 1_099_511_627_776},
      default: nil,
      doc:
        "memory that a compiler may take for a module, in bytes, plus an eighth as much for each MiB of the module (without custom sections and most of its data); " <>
          "`nil` is an eighth of the memory of the machine or the container, but 256 MiB at least and 1 GiB at most."
    ],
    baseline: [
      type: {:integer, 0, 1_073_741_824},
      default: 262_144,
      doc:
        "size of a module, in bytes, from which the baseline compiler compiles it first; its code serves until the " <>
          "optimised code is ready. 0 does without that compiler. Modules for the dense engine are compiled once."
    ],
    compile_cache: [
      type: {:integer, 0, 1_099_511_627_776},
      default: 1_073_741_824,
      doc: "size of the compiled code that is kept in the data folder, in bytes; 0 keeps none."
    ],
    recordings: [
      type: {:integer, 0, 1_099_511_627_776},
      default: 268_435_456,
      doc:
        "size of the recordings of calls that are kept in the data folder, in bytes; the oldest go first, of the namespace that has the " <>
          "most. 0 keeps none, whatever " <>
          "functions are deployed with."
    ],
    function_recordings: [
      type: {:integer, 65_536, 1_099_511_627_776},
      default: 67_108_864,
      doc: "size of the recordings of one function, in bytes."
    ],
    console_lines: [
      type: {:integer, 0, 1_000_000},
      default: 100,
      doc: "lines that each function may print in a second; further ones are dropped and counted."
    ],
    perf_map: [
      type: :boolean,
      default: false,
      doc: "whether compiled guests are named in `/tmp/perf-PID.map`, for Linux's `perf`."
    ],
    otlp: [
      type: {:keyword, Tidepool.Trace.Settings.schema()},
      default: nil,
      doc:
        "traces, sent to a collector by OpenTelemetry's protocol: see `Tidepool.Trace.Settings`; `true` is that with all " <>
          "defaults, `nil` none."
    ],
    net: [
      type: {:check, &__MODULE__.net?/1, "grants such as \"tcp:listen:127.0.0.1:*\" or \"*\""},
      default: ["*"],
      doc:
        "network that deploys may grant their functions: a list of grants, or a string with commas; `*` is all, " <>
          "and an empty list is nothing. A function gets what both this setting and its deploy grant."
    ],
    max_sockets: [
      type: {:integer, 0, 1_000_000},
      default: 4_096,
      doc: "cap on sockets of all programs together."
    ],
    max_program_sockets: [
      type: {:integer, 0, 1_000_000},
      default: 1_024,
      doc: "cap on sockets of each program."
    ],
    io: [
      type: {:one_of, [:tokio, :uring]},
      default: :tokio,
      doc:
        "how the node learns that sockets of programs are ready: `:tokio`, by `epoll`, or `:uring`, by a ring of " <>
          "`io_uring` (Linux 5.13). If the kernel gives none, the log says so, and the node uses `:tokio`."
    ],
    files: [
      type: {:check, &Tidepool.Files.Setting.valid?/1, Tidepool.Files.Setting.expectation()},
      default: [],
      doc:
        "folders of the host that functions may have, by the names that deploys give. Each is a module " <>
          "(`Tidepool.Files`) or a folder, as in `[certificates: \"/etc/certificates\"]` or the string " <>
          "`certificates=/etc/certificates,work=/srv/work:rw`. A deploy can have no others."
    ],
    file_timeout: [
      type: {:integer, 1, 3_600_000},
      default: 5_000,
      doc: "how long an answer of `files` may take, in ms; then the guest has an error."
    ],
    keyvalue: [
      type: {:check, &Tidepool.Keyvalue.Setting.valid?/1, Tidepool.Keyvalue.Setting.expectation()},
      default: :memory,
      secret: true,
      doc:
        "where components keep keys and values (`wasi:keyvalue`), in buckets that deploys name: `:memory`, of the node; `:actors`, where " <>
          "actors are kept; the URL of a Redis, " <>
          "`redis://HOST:PORT`; a module (`Tidepool.Keyvalue`), or `{module, argument}`; `:none`."
    ],
    keyvalue_timeout: [
      type: {:integer, 1, 3_600_000},
      default: 5_000,
      doc: "how long an answer of `keyvalue` may take, in ms; then the guest has an error."
    ],
    max_program_files: [
      type: {:integer, 0, 1_000_000},
      default: 10_000,
      doc: "cap on files and folders that each program has in memory."
    ],
    max_program_file_bytes: [
      type: {:integer, 0, 17_179_869_184},
      default: 67_108_864,
      doc: "cap on the bytes of these files together; they count in the program's memory on the host, too."
    ],
    lame_duck: [
      type: {:integer, 0, 3_600_000},
      default: 500,
      doc:
        "how long a node that stops still takes requests while clients are connected, and tells them to go elsewhere, in ms; part of `drain`."
    ],
    drain: [
      type: {:integer, 0, 3_600_000},
      default: 10_000,
      doc: "time that calls in flight have to finish when the node stops, in ms."
    ],
    header_timeout: [type: {:integer, 1, 3_600_000}, default: 10_000, doc: "time for a request's head, in ms."],
    body_timeout: [type: {:integer, 1, 3_600_000}, default: 30_000, doc: "time for a request's body, in ms."],
    write_timeout: [
      type: {:integer, 1, 3_600_000},
      default: 30_000,
      doc: "longest pause in which a client takes nothing of an answer, in ms."
    ],
    idle_timeout: [
      type: {:integer, 1, 86_400_000},
      default: 75_000,
      doc: "how long a connection may idle between requests, in ms."
    ],
    max_connections: [type: {:integer, 1, 1_000_000}, default: 10_000, doc: "cap on open connections."],
    max_requests: [type: {:integer, 1, 1_000_000}, default: 10_000, doc: "cap on requests in flight."],
    cluster: [
      type: {:one_of, [true, false, :auto]},
      default: false,
      doc:
        "whether the node shares what is deployed with other nodes, once it has a name; `:auto`: when there are `seeds`, " <>
          "`dns`, or nodes in `actors`. `mix tidepool.server` sets `true`, releases `:auto`."
    ],
    seeds: [
      type: {:check, &__MODULE__.seeds?/1, "node names such as \"a@10.0.0.1,b@10.0.0.2\""},
      default: [],
      doc:
        "nodes to find the cluster by, beside those of `actors`: a list, or a string with commas. Not all of them have to be there."
    ],
    dns: [
      type: :string,
      default: nil,
      doc: "name whose A and AAAA records are the addresses of the nodes, looked up again and again."
    ],
    dns_node: [
      type: {:check, &__MODULE__.node_stem?/1, "the part of a node's name before the @"},
      default: "tidepool",
      doc: "what the nodes found by `dns` are called, before `@ADDRESS`."
    ],
    epmd: [
      type: :boolean,
      default: nil,
      doc: "whether nodes on this machine are found by its epmd; `nil`: when there are neither `seeds` nor `dns`."
    ],
    discovery_interval: [
      type: {:integer, 10, 3_600_000},
      default: 5_000,
      doc: "how often nodes are looked for, in ms."
    ],
    max_skew: [
      type: {:integer, 1, 86_400_000},
      default: 60_000,
      doc: "how far ahead another node's clock may be, in ms; changes with stamps beyond it are refused."
    ]
  ]

  @moduledoc """
  The settings that there are, and what they may be: `config :tidepool, …`. `Tidepool.Config` has those of the running node.

  #{Tidepool.Options.docs(@schema)}
  """

  alias Tidepool.{Config, Error}
  alias Tidepool.Config.Names

  @doc "The schema of the settings."
  @spec settings :: Tidepool.Options.schema()
  def settings, do: @schema

  @doc """
  Checks settings; the map has every one of them.

  Errors have the reason `:invalid_option` and name the setting.
  """
  @spec check(keyword) :: {:ok, Config.t()} | {:error, Error.t()}
  def check(settings) do
    with {:ok, config} <- Tidepool.Options.check(settings, @schema, "the setting"),
         :ok <- guarded(config),
         :ok <- paired(config),
         :ok <- closable(config),
         actors = store(config.actors),
         :ok <- kept(actors, config.data),
         # Nodes that keep actors together have to find each other.
         seeds = Enum.uniq(Config.seeds(config.seeds) ++ voters(actors)),
         :ok <- if(config.cluster, do: Names.check(seeds, config.dns), else: :ok) do
      {:ok,
       %{
         config
         | actors: actors,
           seeds: seeds,
           namespaces: Tidepool.Namespaces.Setting.read(config.namespaces),
           data: if(is_binary(config.data), do: Path.expand(config.data), else: config.data),
           cluster: if(config.cluster == :auto, do: seeds != [] or config.dns != nil, else: config.cluster)
       }}
    end
  end

  defp store("local"), do: :local
  defp store("replicated:" <> nodes), do: {:replicated, Config.words(nodes)}
  defp store(url) when is_binary(url), do: {:postgres, url}
  defp store(actors), do: actors

  defp voters({:replicated, nodes}), do: nodes
  defp voters(_actors), do: []

  defp kept({:replicated, _nodes}, data) when data in [nil, :temporary],
    do:
      {:error,
       Error.new(:invalid_option, "actors that nodes keep together need a folder that stays: set data (TIDEPOOL_DATA)")}

  defp kept(_actors, _data), do: :ok

  defp guarded(%{server: true, token: nil, address: address}) do
    {:ok, ip} = :inet.parse_address(to_charlist(address))

    if loopback?(ip) do
      :ok
    else
      message =
        "anybody who reaches #{address} could deploy code to this node: " <>
          "set a token (TIDEPOOL_TOKEN), or listen on 127.0.0.1 (TIDEPOOL_ADDRESS)"

      {:error, Error.new(:invalid_option, message)}
    end
  end

  defp guarded(_config), do: :ok

  defp closable(%{token: nil} = config) do
    case Enum.find([:calls, :reads], &(config[&1] == :token)) do
      nil ->
        :ok

      key ->
        message = "the setting #{inspect(key)} is :token, and there is no token: set one (:token, or TIDEPOOL_TOKEN)"
        {:error, Error.new(:invalid_option, message)}
    end
  end

  defp closable(_config), do: :ok

  defp paired(%{tls_cert: cert, tls_key: key} = config) do
    cond do
      cert == nil != (key == nil) ->
        missing = if cert, do: "tls_key", else: "tls_cert"
        {:error, Error.new(:invalid_option, "a certificate and its key go together: set #{missing}, too")}

      cert == nil and (config.tls_certs != nil or config.tls_clients != nil) ->
        further = if config.tls_certs, do: "tls_certs", else: "tls_clients"
        {:error, Error.new(:invalid_option, "#{further} is for an edge that speaks TLS: set tls_cert and tls_key, too")}

      true ->
        :ok
    end
  end

  defp loopback?({127, _, _, _}), do: true
  defp loopback?({0, 0, 0, 0, 0, 0, 0, 1}), do: true
  defp loopback?(_ip), do: false

  @doc false
  def address?(value), do: is_binary(value) and match?({:ok, _ip}, :inet.parse_address(to_charlist(value)))

  @doc false
  def token?(value), do: is_binary(value) and value =~ ~r/\A[!-~]+\z/

  @doc false
  def data?(value), do: value == :temporary or (is_binary(value) and value != "" and String.valid?(value))

  @doc false
  def actors?({:postgres, url}), do: is_binary(url) and url =~ ~r/\Apostgres(ql)?:\/\//

  def actors?({:replicated, nodes}) when is_list(nodes),
    do: length(nodes) in [1, 3, 5, 7] and Enum.uniq(nodes) == nodes and Enum.all?(nodes, &node_name?/1)

  def actors?("replicated:" <> nodes), do: actors?({:replicated, Config.words(nodes)})
  def actors?(value), do: value in [:local, "local"] or (is_binary(value) and actors?({:postgres, value}))

  defp node_name?(name), do: is_binary(name) and byte_size(name) <= 255 and name =~ ~r/\A[^@\s,]+@[^@\s,]+\z/

  @doc false
  def hosts?(value), do: words?(value, &(&1 =~ ~r/\A([a-z0-9_-]+(\.[a-z0-9_-]+)*|\*)\z/i))

  @doc false
  def proxies?(value), do: words?(value, &network?(String.split(&1, "/")))

  defp network?([address]), do: match?({:ok, _ip}, :inet.parse_strict_address(to_charlist(address)))

  defp network?([address, bits]) do
    with {:ok, ip} <- :inet.parse_strict_address(to_charlist(address)), {bits, ""} <- Integer.parse(bits) do
      bits in 0..if(tuple_size(ip) == 4, do: 32, else: 128)
    else
      _other -> false
    end
  end

  defp network?(_parts), do: false

  defp words?(value, valid?) do
    (is_binary(value) or (is_list(value) and Enum.all?(value, &is_binary/1))) and Enum.all?(Config.words(value), valid?)
  end

  @doc false
  def net?(value), do: words?(value, &String.valid?/1) and Tidepool.Native.grants_fault(Config.words(value)) == nil

  @doc false
  def deploy_keys?(value), do: words?(value, &Tidepool.Function.Signature.key?/1)

  @doc false
  def seeds?(value) do
    (is_binary(value) or (is_list(value) and Enum.all?(value, &(is_atom(&1) or is_binary(&1))))) and
      value |> Config.seeds() |> Enum.all?(&Config.node_name?/1)
  end

  @doc false
  def node_stem?(value), do: is_binary(value) and value =~ ~r/\A[\w.-]+\z/

  @doc false
  def builtins?(value), do: is_list(value) and Enum.all?(value, &(&1 in @builtins))
end
