defmodule Mix.Tasks.Phx.Server do
  @shortdoc "Starts a Tidepool node with its HTTP edge"

  @moduledoc """
  Starts the application with its HTTP edge.

      mix phx.server          # in the foreground, until SIGTERM
      iex -S mix phx.server   # with a shell

  `PORT`, `TIDEPOOL_ADDRESS`, `TIDEPOOL_DATA` and `TIDEPOOL_TOKEN` are read from the environment; all settings are in
  docs/configuration.md. The task has the name that Elixir developers try first; there is no Phoenix behind it.
  """

  use Mix.Task

  @impl true
  def run(_args) do
    Mix.Task.run("app.config")
    Application.put_env(:tidepool, :server, true)

    # A wrong setting is a sentence here, not a supervisor's report.
    case Tidepool.Config.check(Application.get_all_env(:tidepool) |> Keyword.delete(:included_applications)) do
      {:ok, _config} -> Mix.Task.run("app.start")
      {:error, error} -> Mix.raise(error.message)
    end

    unless iex?(), do: Process.sleep(:infinity)
  end

  defp iex?, do: Code.ensure_loaded?(IEx) and IEx.started?()
end
