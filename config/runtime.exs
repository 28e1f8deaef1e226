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

host =
  case System.get_env("TIDEPOOL_HOST") do
    word when word in ["all", "none"] -> String.to_atom(word)
    # As above.
    other -> other
  end

calls =
  case System.get_env("TIDEPOOL_CALLS") do
    word when word in ["open", "token"] -> String.to_atom(word)
    # As above.
    other -> other
  end

# Beside the libraries that a release is made of, or beside the sources: no build takes it along.
data = Path.join(System.get_env("RELEASE_ROOT") || Path.dirname(__DIR__), "data")

settings = [
  port: integer.("PORT"),
  address: System.get_env("TIDEPOOL_ADDRESS"),
  tls_cert: System.get_env("TIDEPOOL_TLS_CERT"),
  tls_key: System.get_env("TIDEPOOL_TLS_KEY"),
  tls_clients: System.get_env("TIDEPOOL_TLS_CLIENTS"),
  token: System.get_env("TIDEPOOL_TOKEN"),
  host: host,
  calls: calls,
  hosts: System.get_env("TIDEPOOL_HOSTS"),
  proxies: System.get_env("TIDEPOOL_PROXIES"),
  data: System.get_env("TIDEPOOL_DATA") || data,
  deploy_keys: System.get_env("TIDEPOOL_DEPLOY_KEYS"),
  actors: System.get_env("TIDEPOOL_ACTORS"),
  net: System.get_env("TIDEPOOL_NET"),
  files: System.get_env("TIDEPOOL_FILES"),
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
