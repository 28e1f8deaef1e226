import Config

# Every setting, with unit and default: docs/configuration.md.

import_config "#{config_env()}.exs"
