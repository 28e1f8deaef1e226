import Config

config :tidepool, server: true, port: 0, data: Path.join(System.tmp_dir!(), "tidepool-test-#{System.pid()}")
config :logger, level: :warning
