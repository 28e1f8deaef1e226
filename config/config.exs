import Config

# Every setting, with unit and default: docs/configuration.md.

config :logger, :console, metadata: [:function, :function_version]

import_config "#{config_env()}.exs"
