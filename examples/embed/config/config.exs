import Config

# No HTTP edge: that is the default of a dependency, and `server: true` would start it.
config :tidepool, limits: [time: 1_000, memory: 16 * 1024 * 1024]

config :embed, modules: Path.expand("../../../guests/build/rust", __DIR__)

config :logger, level: :warning
