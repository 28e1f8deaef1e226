defmodule Embed.Application do
  @moduledoc false
  # Tidepool is a dependency, so it runs before this application starts. The store comes first: functions may call it. A
  # function that can't be deployed keeps the application from starting.

  use Application

  @impl true
  def start(_type, _args) do
    children = [Embed.Store, {Tidepool.Functions, functions()}]
    Supervisor.start_link(children, strategy: :rest_for_one, name: Embed.Supervisor)
  end

  defp functions do
    folder = Application.fetch_env!(:embed, :modules)

    [
      {"hello_world", Path.join(folder, "hello_world.wasm")},
      {"redis_concat", Path.join(folder, "redis_concat.wasm"), instances: {:warm, 4}}
    ]
  end
end
