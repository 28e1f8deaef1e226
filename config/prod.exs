import Config

# A release exists to serve.
config :tidepool, server: true, standalone: true
config :logger, level: :info
