unless File.exists?("guests/build/rust/hello_world.wasm") do
  Mix.raise("the guests are not built: run bin/guests")
end

# What guests print and what changes is logged at level info, which tests listen to.
for module <- [Tidepool.Engine.Console, Tidepool.Log], do: Logger.put_module_level(module, :info)

# What is logged between tests belongs to none of them and would be printed; from Elixir 1.15 on a handler does that.
if :default in :logger.get_handler_ids(),
  do: :logger.set_handler_config(:default, :level, :error),
  else: apply(Logger, :configure_backend, [:console, [level: :error]])

Tidepool.LogWatch.start()

# What needs a build of its own is run by `bin/test ship` and `bin/test release`, what takes long by `bin/test slow`, each of which
# gives a test ten minutes by --timeout. Others have two, unless a tag says more, or they are run whole: then ExUnit says where one
# waits. 0.1 s for a message, the default, is little on a busy machine.
ExUnit.start(
  capture_log: true,
  exclude: [:ship, :slow],
  timeout: Tidepool.Case.sample(120_000, 600_000),
  assert_receive_timeout: 60_000,
  formatters: [ExUnit.CLIFormatter, Tidepool.Slowest]
)
