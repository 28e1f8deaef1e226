import Config

# Where functions are kept: each run of the tests has a folder of its own, which is gone afterwards.
config :tidepool,
  data: if(config_env() == :test, do: :temporary, else: System.get_env("EMBED_DATA") || Path.expand("data"))
