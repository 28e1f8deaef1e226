import Config

config :tidepool, server: true, port: 0, sites_port: 0, data: :temporary
config :logger, level: :warning

# bin/test has a folder in which the compiler is one that keeps what it has compiled.
with folder when folder != nil <- System.get_env("NATIVE_OF_TESTS"),
     do: :persistent_term.put({Tidepool.Native, :folder}, folder)
