defmodule Mix.Tasks.Tidepool.Cluster do
  @shortdoc "Prints the state of a Tidepool cluster, or forgets a lost node"

  @moduledoc """
  Asks a running node for the state of its cluster, over HTTP, and prints it.

      mix tidepool.cluster
      mix tidepool.cluster --url http://10.0.0.1:4000

  Has all nodes forget one that is lost for good; if the asked one has a token, with that in `TIDEPOOL_TOKEN`:

      mix tidepool.cluster forget tidepool@10.0.0.9 --url http://10.0.0.1:4000

  With `https` the node's certificate is checked, by those that the system knows, or by those of a file in PEM:

      mix tidepool.cluster --url https://tide.example:4000 --cacert roots.pem
  """

  use Mix.Task

  alias Tidepool.Error.Terminal
  alias Tidepool.Mix.{Request, Settings, Table}

  @impl true
  def run(arguments) do
    {options, others} = OptionParser.parse!(arguments, strict: [url: :string, cacert: :string])
    Settings.read!()

    case others do
      [] ->
        case Request.ask(:get, "/cluster", options) do
          {:ok, status} -> IO.puts(render(status))
          {:error, text} -> Mix.raise("#{Request.url(options)} does not say how its cluster is: #{text}")
        end

      ["forget", node] ->
        case Request.ask(:delete, "/cluster/nodes/#{URI.encode(node)}", options) do
          {:ok, _forgotten} -> IO.puts("#{node} is forgotten")
          {:error, text} -> Mix.raise("#{node} is not forgotten: #{text}")
        end

      _other ->
        Mix.raise("mix tidepool.cluster takes `forget NODE`, --url and --cacert, and not #{Enum.join(others, " ")}")
    end
  end

  @doc "The answer of `GET /cluster` as tables."
  @spec render(map) :: String.t()
  def render(status) do
    nodes =
      for node <- status["nodes"] do
        [
          node["name"],
          Enum.join(node["links"], " "),
          node["catalog"],
          text(node["functions_pending"]),
          text(node["skew_ms"])
        ]
      end

    lost = for name <- status["lost"], do: [name, "", "lost", "", ""]
    apart = for name <- Map.get(status, "apart", []), do: [name, "", "apart", "", ""]

    functions =
      for function <- status["functions"] do
        ready = "#{length(function["ready"])}/#{length(function["ready"] ++ function["pending"])}"
        hash = String.slice(function["sha256"], 0, 12)
        [function["name"], text(function["version"]), hash, ready, Enum.join(function["pending"], " ")]
      end

    withheld = for name <- Map.get(status, "withheld", []), do: [name]

    fetching =
      for load <- status["fetching"] do
        [load["name"], text(load["version"]), text(load["size"]), load["state"], text(load["attempts"])]
      end

    actors = status["actors"] || %{"nodes" => [], "unowned" => 0, "moving" => nil}

    owners =
      for node <- actors["nodes"],
          do: [node["name"], text(node["shards"]), text(node["lease_ms"])]

    unowned = if actors["unowned"] > 0, do: [["nobody", text(actors["unowned"]), ""]], else: []
    moving = for %{"to" => to, "shards" => shards} <- [actors["moving"]], do: [text(shards), text(to)]

    [
      Terminal.line("as #{status["node"]} sees it"),
      Table.of(["NODE", "LINKS", "CATALOG", "PENDING", "SKEW MS"], nodes ++ lost ++ apart),
      Table.of(["FUNCTION", "VERSION", "SHA256", "READY", "NOT READY ON"], functions),
      Table.of(["ON THIS NODE ALONE"], withheld),
      Table.of(["ACTORS OF", "SHARDS", "LEASE MS"], owners ++ unowned),
      Table.of(["SHARDS THAT MOVE", "TO"], moving),
      Table.of(["ON ITS WAY HERE", "VERSION", "BYTES", "STATE", "ATTEMPTS"], fetching)
    ]
    |> Enum.reject(&(&1 == ""))
    |> Enum.join("\n\n")
  end

  defp text(nil), do: "?"
  defp text(value), do: to_string(value)
end
