import Config

config :tidepool, server: true, port: 0, sites_port: 0, data: :temporary
config :logger, level: :warning
