defmodule Mix.Tasks.Tidepool.Actors.Import do
  @shortdoc "Puts actors that were exported into a store"

  @moduledoc """
  Puts the actors of a file that `mix tidepool.actors.export` has written into the store that the settings name (`TIDEPOOL_ACTORS`): the
  database, or the data folder (`TIDEPOOL_DATA`) of a node. Of nodes that keep actors together it is a first one, which has none yet: the others
  are added to it.

      mix tidepool.actors.import actors.tidepool
      mix tidepool.actors.import a.tidepool b.tidepool c.tidepool
      TIDEPOOL_ACTORS=postgres://tidepool@10.0.0.5/tidepool mix tidepool.actors.import actors.tidepool

  No node may use the store meanwhile; one that does is named, and nothing is imported. A file that is torn or damaged is refused. All of
  it is imported, or nothing, even if this is killed on its way. Classes are deployed as ever: only what actors have is in the file.

  Of an actor that several files have the latest state is imported. Another state of it is put into a file beside the one that it is from,
  `FILE.differing`, which can be imported elsewhere; this says which actors those are. Where such a file is already nothing is imported.

  ## Options

    * `--overwrite`: replaces actors that there are; without it they are an error
    * `--node NODE`: whose data folder; without it that of the node without a name
    * `--data FOLDER`: another data folder than that of the settings

  In a release it is `bin/tidepool eval 'Tidepool.Release.import_actors("FILE")'`, or `…(["FILE", "FILE"], overwrite: true)`.
  """

  use Mix.Task

  @switches [overwrite: :boolean, node: :string, data: :string]

  @impl true
  def run(arguments) do
    Tidepool.Mix.Settings.read!()

    case OptionParser.parse!(arguments, strict: @switches) do
      {options, [_file | _others] = files} ->
        Tidepool.Release.import_actors(files, [node: to_string(node())] |> Keyword.merge(options))

      {_options, []} ->
        Mix.raise("name a file: mix tidepool.actors.import FILE...")
    end
  end
end
