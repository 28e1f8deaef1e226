defmodule Embed.Application do
  @moduledoc false
  # Tidepool is a dependency, so it runs before this application starts. The store comes first: functions may call it.

  use Application

  @impl true
  def start(_type, _args) do
    children = [Embed.Store, Embed.Functions]
    Supervisor.start_link(children, strategy: :rest_for_one, name: Embed.Supervisor)
  end
end
