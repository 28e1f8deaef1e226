import Config

# A release exists to serve.
config :tidepool, server: true, cluster: true
config :logger, level: :info
