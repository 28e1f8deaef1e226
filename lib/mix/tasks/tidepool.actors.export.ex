defmodule Mix.Tasks.Tidepool.Actors.Export do
  @shortdoc "Writes a node's actors to a file, for a backup or another store"

  @moduledoc """
  Writes actors with all that is kept of them to a file, which `mix tidepool.actors.import` puts into a store of any kind.

      mix tidepool.actors.export actors.tidepool
      mix tidepool.actors.export counters.tidepool --class counter

  They are those of the store that the settings name (`TIDEPOOL_ACTORS`): the database, or the data folder (`TIDEPOOL_DATA`) of a node, which
  may keep them together with others.
  Nodes may go on with them meanwhile: the file has what was written at one moment. It is there when it is whole, and nobody else may
  read it.

  ## Options

    * `--class CLASS`: those of one class, without others
    * `--overwrite`: replaces a file that there is
    * `--node NODE`: whose data folder; without it that of the node without a name
    * `--data FOLDER`: another data folder than that of the settings

  In a release it is `bin/tidepool eval 'Tidepool.Release.export_actors("FILE")'`, or `…("FILE", class: "counter")`.
  """

  use Mix.Task

  @switches [class: :string, overwrite: :boolean, node: :string, data: :string]

  @impl true
  def run(arguments) do
    Tidepool.Mix.Settings.read!()

    case OptionParser.parse!(arguments, strict: @switches) do
      {options, [file]} -> Tidepool.Release.export_actors(file, [node: to_string(node())] |> Keyword.merge(options))
      _other -> Mix.raise("name one file: mix tidepool.actors.export FILE")
    end
  end
end
