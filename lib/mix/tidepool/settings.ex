defmodule Tidepool.Mix.Settings do
  @moduledoc "The settings that tasks go by: those of `config/`, and of the environment."

  alias Tidepool.Config.Variables

  @doc """
  Reads them. In Tidepool's own project a variable that nobody reads ends the task, which would else ask another node, or change another
  store, than the one that was named. In another application's project the variables are that one's.
  """
  @spec read! :: :ok
  def read! do
    if Mix.Project.config()[:app] == :tidepool do
      with {:error, error} <- Variables.check(System.get_env()), do: Mix.raise(error.message)
    end

    Mix.Task.run("app.config")
    :ok
  end
end
