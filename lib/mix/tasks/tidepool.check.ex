defmodule Mix.Tasks.Tidepool.Check do
  @shortdoc "Says what is in a node's data folder, and what is damaged"

  @moduledoc """
  Looks through the data folder of a node that does not run: what is there, what is damaged, and from where that can be mended.

      mix tidepool.check                          # of a node without a name
      mix tidepool.check n1@127.0.0.1
      mix tidepool.check n1@127.0.0.1 --mend
      mix tidepool.check n1@127.0.0.1 --mend --from /backup/n1@127.0.0.1

  `--mend` does what a start does: it writes the log anew from what can be read of it, keeps the damaged one beside it, and sets
  damaged modules aside. With `--from` modules that are missing or damaged are taken from another folder of that kind.
  `--data` names another data folder than the settings do. Nodes of a cluster get such modules, and functions that were lost, from each other when they start.

  The exit status is 0 when nothing is damaged, and 1 when something is, or the folder is in use.

  In a release it is `bin/tidepool eval 'Tidepool.Release.check()'`, or `…check(mend: true, from: "/backup/n1@127.0.0.1")`.
  """

  use Mix.Task

  @impl true
  def run(arguments) do
    Tidepool.Mix.Settings.read!()

    case OptionParser.parse!(arguments, strict: [mend: :boolean, from: :string, data: :string]) do
      {options, []} -> Tidepool.Release.check([node: to_string(node())] ++ options)
      {options, [node]} -> Tidepool.Release.check([node: node] ++ options)
      _other -> Mix.raise("name one node: mix tidepool.check NODE")
    end
  end
end
