import Config

integer = fn name ->
  case System.fetch_env(name) do
    :error ->
      nil

    {:ok, text} ->
      case Integer.parse(text) do
        {value, ""} -> value
        _other -> raise "the environment variable #{name} has to be an integer, and is #{inspect(text)}"
      end
  end
end

# In a release, what was deployed must outlive the release's own folder of libraries.
release_data = if root = System.get_env("RELEASE_ROOT"), do: Path.join(root, "data")

settings = [
  port: integer.("PORT"),
  address: System.get_env("TIDEPOOL_ADDRESS"),
  token: System.get_env("TIDEPOOL_TOKEN"),
  data: System.get_env("TIDEPOOL_DATA") || release_data,
  drain: integer.("TIDEPOOL_DRAIN"),
  lame_duck: integer.("TIDEPOOL_LAME_DUCK"),
  seeds: System.get_env("TIDEPOOL_SEEDS"),
  dns: System.get_env("TIDEPOOL_DNS"),
  dns_node: System.get_env("TIDEPOOL_DNS_NODE")
]

# A test node keeps to its own folder and port.
if config_env() != :test do
  config :tidepool, Enum.reject(settings, fn {_key, value} -> is_nil(value) end)
end
