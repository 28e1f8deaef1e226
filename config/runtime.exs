import Config

# What is no integer is refused where all settings are checked, with the variable's name in the sentence.
integer = fn name ->
  text = System.get_env(name)

  case Integer.parse(text || "") do
    {value, ""} -> value
    _other -> text && "#{name}=#{text}"
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
  sites_port: integer.("TIDEPOOL_SITES_PORT"),
  sites_address: System.get_env("TIDEPOOL_SITES_ADDRESS"),
  tls_cert: System.get_env("TIDEPOOL_TLS_CERT"),
  tls_key: System.get_env("TIDEPOOL_TLS_KEY"),
  tls_certs: System.get_env("TIDEPOOL_TLS_CERTS"),
  tls_clients: System.get_env("TIDEPOOL_TLS_CLIENTS"),
  token: System.get_env("TIDEPOOL_TOKEN"),
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
  registry_timeout: integer.("TIDEPOOL_REGISTRY_TIMEOUT"),
  actors: System.get_env("TIDEPOOL_ACTORS"),
  net: System.get_env("TIDEPOOL_NET"),
  io: word.("TIDEPOOL_IO", ["tokio", "uring"]),
  files: System.get_env("TIDEPOOL_FILES"),
  keyvalue: System.get_env("TIDEPOOL_KEYVALUE"),
  otlp: if(otlp[:endpoint], do: otlp),
  drain: integer.("TIDEPOOL_DRAIN"),
  lame_duck: integer.("TIDEPOOL_LAME_DUCK"),
  cluster: cluster,
  seeds: System.get_env("TIDEPOOL_SEEDS"),
  dns: System.get_env("TIDEPOOL_DNS"),
  dns_node: System.get_env("TIDEPOOL_DNS_NODE")
]

# A test node keeps to its own folder and port.
if config_env() != :test do
  config :tidepool, Enum.reject(settings, fn {_key, value} -> is_nil(value) end)
end
