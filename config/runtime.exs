import Config

# What is no integer is refused where all settings are checked, with the variable's name in the sentence.
integer = fn name ->
  text = System.get_env(name)

  case Integer.parse(text || "") do
    {value, ""} -> value
    # Kubernetes says so where a service is: TIDEPOOL_SITES_PORT, of one called `tidepool-sites`.
    _other -> if text && not (text =~ ~r/\A(tcp|udp|sctp):\/\//), do: "#{name}=#{text}"
  end
end

# A release joins others when it is told of some; `mix tidepool.server` looks for those of its machine.
cluster =
  case System.get_env("TIDEPOOL_CLUSTER") do
    word when word in ["true", "false", "auto"] -> String.to_atom(word)
    nil -> if System.get_env("RELEASE_ROOT"), do: :auto
    # For the check of the settings, which says what is allowed.
    other -> other
  end

# One of these words, as an atom.
word = fn name, words ->
  text = System.get_env(name)
  # As above.
  if text in words, do: String.to_atom(text), else: text
end

# The same for several, with commas between.
words = fn name, known ->
  text = System.get_env(name)
  found = text && text |> String.split(",", trim: true) |> Enum.map(&String.trim/1)
  if found && found -- known == [], do: Enum.map(found, &String.to_atom/1), else: text
end

# Sizes, counts and times: TIDEPOOL_MAX_MEMORY sets max_memory.
numbers =
  for name <- ~w(
        sites_port registry_timeout max_module max_payload max_instances max_dense_instances max_dense_memory max_queue
        max_memory max_code max_frozen stack io_threads compile_threads compile_time compile_memory baseline
        compile_cache recordings function_recordings console_lines max_sockets max_program_sockets file_timeout
        keyvalue_timeout max_program_files max_program_file_bytes lame_duck drain header_timeout body_timeout
        write_timeout idle_timeout max_connections max_requests discovery_interval max_skew
      )a,
      do: {name, integer.("TIDEPOOL_" <> String.upcase(to_string(name)))}

# As in a deploy's form: `fresh`, or `warm:8`.
instances =
  case System.get_env("TIDEPOOL_INSTANCES") do
    "fresh" -> :fresh
    "warm:" <> idle = text -> with({idle, ""} <- Integer.parse(idle), do: {:warm, idle}, else: (_other -> text))
    # As above.
    other -> other
  end

# As `time=60000,memory=134217728`.
limits =
  if text = System.get_env("TIDEPOOL_LIMITS") do
    limits =
      for pair <- String.split(text, ",", trim: true) do
        with [name, value] <- pair |> String.trim() |> String.split("=", parts: 2),
             {value, ""} <- Integer.parse(value),
             do: {String.to_atom(name), value},
             else: (_other -> nil)
      end

    # As above.
    if nil in limits, do: "TIDEPOOL_LIMITS=#{text}", else: limits
  end

# OpenTelemetry's own variables. Without an endpoint there are no traces, and what is empty is not set.
share =
  case System.get_env("OTEL_TRACES_SAMPLER", "") do
    sampler when sampler in ["", "parentbased_always_on"] -> nil
    "parentbased_traceidratio" -> System.get_env("OTEL_TRACES_SAMPLER_ARG")
    # As above.
    other -> "OTEL_TRACES_SAMPLER=#{other}"
  end

otlp = [
  endpoint: System.get_env("OTEL_EXPORTER_OTLP_ENDPOINT"),
  headers: System.get_env("OTEL_EXPORTER_OTLP_HEADERS"),
  service: System.get_env("OTEL_SERVICE_NAME"),
  timeout: integer.("OTEL_EXPORTER_OTLP_TIMEOUT"),
  interval: integer.("OTEL_BSP_SCHEDULE_DELAY"),
  queue: integer.("OTEL_BSP_MAX_QUEUE_SIZE"),
  sample: share
]

otlp = Enum.reject(otlp, fn {_key, value} -> value in [nil, ""] end)

# Beside the libraries that a release is made of, or beside the sources: no build takes it along.
data = Path.join(System.get_env("RELEASE_ROOT") || Path.dirname(__DIR__), "data")

settings = [
  port: integer.("PORT"),
  address: System.get_env("TIDEPOOL_ADDRESS"),
  sites_address: System.get_env("TIDEPOOL_SITES_ADDRESS"),
  tls_cert: System.get_env("TIDEPOOL_TLS_CERT"),
  tls_key: System.get_env("TIDEPOOL_TLS_KEY"),
  tls_certs: System.get_env("TIDEPOOL_TLS_CERTS"),
  tls_clients: System.get_env("TIDEPOOL_TLS_CLIENTS"),
  token: System.get_env("TIDEPOOL_TOKEN"),
  limits: limits,
  instances: instances,
  host: word.("TIDEPOOL_HOST", ["all", "none"]),
  builtins: words.("TIDEPOOL_BUILTINS", ["actor", "function", "log"]),
  calls: word.("TIDEPOOL_CALLS", ["open", "token"]),
  reads: word.("TIDEPOOL_READS", ["open", "token"]),
  hosts: System.get_env("TIDEPOOL_HOSTS"),
  namespaces: System.get_env("TIDEPOOL_NAMESPACES"),
  proxies: System.get_env("TIDEPOOL_PROXIES"),
  data: System.get_env("TIDEPOOL_DATA") || data,
  deploy_keys: System.get_env("TIDEPOOL_DEPLOY_KEYS"),
  registries: System.get_env("TIDEPOOL_REGISTRIES"),
  registry_logins: System.get_env("TIDEPOOL_REGISTRY_LOGINS"),
  actors: System.get_env("TIDEPOOL_ACTORS"),
  net: System.get_env("TIDEPOOL_NET"),
  io: word.("TIDEPOOL_IO", ["tokio", "uring"]),
  files: System.get_env("TIDEPOOL_FILES"),
  keyvalue: System.get_env("TIDEPOOL_KEYVALUE"),
  otlp: if(otlp[:endpoint], do: otlp),
  perf_map: word.("TIDEPOOL_PERF_MAP", ["true", "false"]),
  cluster: cluster,
  seeds: System.get_env("TIDEPOOL_SEEDS"),
  dns: System.get_env("TIDEPOOL_DNS"),
  dns_node: System.get_env("TIDEPOOL_DNS_NODE"),
  epmd: word.("TIDEPOOL_EPMD", ["true", "false"])
]

# A test node keeps to its own folder and port.
if config_env() != :test do
  config :tidepool, Enum.reject(settings ++ numbers, fn {_key, value} -> is_nil(value) end)
end
