defmodule Mix.Tasks.Tidepool.Actors.Accept do
  @shortdoc "Accepts actors that are older than what was answered"

  @moduledoc """
  Has a node serve its actors again that it refuses since the log of their last changes, `actors/records.db-wal` in its data folder, is
  damaged: as they are without it, which is older than what was answered.

      mix tidepool.actors.accept

  Put the log back in place of that if you have it, or import a backup. It says what is missing. The log is kept beside the records, as
  `records.db-wal.torn`. No node may use the folder meanwhile. When nothing is missing, nothing is done.

  ## Options

    * `--node NODE`: whose data folder; without it that of the node without a name
    * `--data FOLDER`: another data folder than that of the settings

  In a release it is `bin/tidepool eval 'Tidepool.Release.accept_actors()'`.
  """

  use Mix.Task

  @switches [node: :string, data: :string]

  @impl true
  def run(arguments) do
    Tidepool.Mix.Settings.read!()

    case OptionParser.parse!(arguments, strict: @switches) do
      {options, []} -> Tidepool.Release.accept_actors([node: to_string(node())] |> Keyword.merge(options))
      _other -> Mix.raise("there is nothing to name: mix tidepool.actors.accept")
    end
  end
end
