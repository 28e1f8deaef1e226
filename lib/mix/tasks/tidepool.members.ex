defmodule Mix.Tasks.Tidepool.Members do
  @shortdoc "Prints which nodes keep actors together; adds, removes and replaces them"

  @moduledoc """
  Asks a running node, over HTTP, which nodes keep actors together (`Tidepool.Actor.Members`), and prints them.

      mix tidepool.members
      mix tidepool.members --url http://10.0.0.1:4000

  Changes them, and prints them once they have changed; if the asked node has a token, with that in `TIDEPOOL_TOKEN`:

      mix tidepool.members add tidepool@10.0.0.4
      mix tidepool.members remove tidepool@10.0.0.1
      mix tidepool.members replace tidepool@10.0.0.3

  A change may be asked for again: it is the same. `--cacert` is as for `mix tidepool.cluster`.
  """

  use Mix.Task

  alias Tidepool.Error.Terminal
  alias Tidepool.Mix.{Request, Settings, Table}

  # A node that is added gets all that there is first, and one that is removed hands its actors over.
  @change_ms 640_000

  @impl true
  def run(arguments) do
    {options, others} = OptionParser.parse!(arguments, strict: [url: :string, cacert: :string])
    Settings.read!()

    asked =
      case others do
        [] ->
          Request.ask(:get, "/members", options)

        [how, node] when how in ["add", "remove", "replace"] ->
          change(how, node, options)

        _other ->
          Mix.raise("mix tidepool.members takes `add NODE`, `remove NODE` or `replace NODE`, --url and --cacert")
      end

    case asked do
      {:ok, %{"members" => members}} -> IO.puts(render(members))
      {:error, text} -> Mix.raise("#{Request.url(options)} answers: #{text}")
    end
  end

  defp change(how, node, options),
    do: Request.ask(:post, "/members", %{how => node}, [timeout_ms: @change_ms] ++ options)

  @doc "Members as a table, and below it what is wrong with them."
  @spec render([map]) :: String.t()
  def render(members) do
    rows =
      for member <- members,
          do: [member["node"], part(member), if(member["answers"], do: "yes", else: "no"), lacks(member["lacks"])]

    problems =
      for %{"node" => node, "problem" => problem} when problem != nil <- members,
          do: Terminal.line("#{node}: #{problem}")

    Enum.join([Table.of(["NODE", "IS", "ANSWERS", "LACKS"], rows) | problems], "\n")
  end

  defp part(%{"leads" => true}), do: "the leader"
  defp part(%{"votes" => true}), do: "a voter"
  defp part(_member), do: "catching up"

  defp lacks(nil), do: "?"
  defp lacks(0), do: "nothing"
  defp lacks(entries), do: "#{entries} entries"
end
