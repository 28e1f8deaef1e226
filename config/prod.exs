import Config

# A release exists to serve.
config :tidepool, server: true
config :logger, level: :info
