defmodule Mix.Tasks.Tidepool.Adopt do
  @shortdoc "Gives a node the data that it had under another name"

  @moduledoc """
  Makes the data of one node that of another: what a node needs that was given another name.

      mix tidepool.adopt tidepool@localhost n1@127.0.0.1
      mix tidepool.adopt n1@127.0.0.1       # for nodes without a name

  The first name is the one that the data has, the second one that of the node that is to have it. Neither may run. The
  data folder is the one that the settings have (`TIDEPOOL_DATA`); docs/operations.md says more.

  In a release it is `bin/tidepool eval 'Tidepool.Release.adopt("tidepool@localhost")'`.
  """

  use Mix.Task

  @impl true
  def run(arguments) do
    Tidepool.Mix.Settings.read!()

    case OptionParser.parse!(arguments, strict: []) do
      {[], [from]} -> Tidepool.Release.adopt(from, to_string(node()))
      {[], [from, to]} -> Tidepool.Release.adopt(from, to)
      _other -> Mix.raise("name the node that has the data, and the one that is to have it: mix tidepool.adopt OLD NEW")
    end
  end
end
