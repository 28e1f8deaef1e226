defmodule Mix.Tasks.Tidepool.Server do
  @shortdoc "Starts a Tidepool node with its HTTP edge"

  @moduledoc """
  Starts the application with its HTTP edge.

      mix tidepool.server              # in the foreground, until SIGTERM
      iex -S mix tidepool.server       # with a shell
      mix tidepool.server --examples   # prints the curl lines to try, and a link to the page, too

  With a name (`iex --name a@127.0.0.1 -S mix tidepool.server`) the node finds others and shares with them what is
  deployed: docs/cluster.md.

  In Tidepool's own project `mix phx.server`, the name that Elixir developers try first, is an alias of this task, and
  `PORT`, `TIDEPOOL_ADDRESS`, `TIDEPOOL_DATA`, `TIDEPOOL_TOKEN` and others are read from the environment. All settings are
  in docs/configuration.md.
  """

  use Mix.Task

  @impl true
  def run(arguments) do
    others = arguments -- ["--examples"]

    if others != [] do
      Mix.raise(
        "mix tidepool.server takes --examples, and not #{Enum.join(others, " ")}: settings are in the environment " <>
          "(PORT, TIDEPOOL_DATA, …) or in config/"
      )
    end

    # In another application's project the variables are that one's.
    if Mix.Project.config()[:app] == :tidepool do
      with {:error, error} <- Tidepool.Config.Variables.check(System.get_env()),
           do: Mix.raise("tidepool can't start: #{error.message}")
    end

    Mix.Task.run("app.config")
    for key <- [:server, :standalone], do: Application.put_env(:tidepool, key, true)
    if Application.get_env(:tidepool, :cluster) == nil, do: Application.put_env(:tidepool, :cluster, true)
    Mix.Task.run("app.start")

    if arguments != [], do: IO.puts(TidepoolWeb.Examples.text("guests"))
    unless iex?(), do: Process.sleep(:infinity)
  end

  defp iex?, do: Code.ensure_loaded?(IEx) and IEx.started?()
end
