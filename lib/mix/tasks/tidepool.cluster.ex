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

  @url "http://localhost:4000"
  @timeout_ms 10_000

  @impl true
  def run(arguments) do
    {options, others} = OptionParser.parse!(arguments, strict: [url: :string, cacert: :string])
    Mix.Task.run("app.config")
    url = options |> Keyword.get(:url, @url) |> String.trim_trailing("/")

    case others do
      [] ->
        case ask(:get, "#{url}/cluster", [], options[:cacert]) do
          {:ok, status} -> IO.puts(render(status))
          {:error, text} -> Mix.raise("#{url} does not say how its cluster is: #{text}")
        end

      ["forget", node] ->
        headers = authorization(System.get_env("TIDEPOOL_TOKEN"))

        case ask(:delete, "#{url}/cluster/nodes/#{URI.encode(node)}", headers, options[:cacert]) do
          {:ok, _forgotten} -> IO.puts("#{node} is forgotten")
          {:error, text} -> Mix.raise("#{node} is not forgotten: #{text}")
        end

      _other ->
        Mix.raise("mix tidepool.cluster takes `forget NODE`, --url and --cacert, and not #{Enum.join(others, " ")}")
    end
  end

  defp authorization(nil), do: []
  defp authorization(token), do: [{~c"authorization", to_charlist("Bearer #{token}")}]

  defp ask(method, url, headers, cacert) do
    for application <- [:inets, :ssl], do: {:ok, _started} = Application.ensure_all_started(application)

    options = [
      timeout: @timeout_ms,
      ssl: [verify: :verify_peer, customize_hostname_check: hostnames()] ++ roots(cacert)
    ]

    case :httpc.request(method, {to_charlist(url), headers}, options, body_format: :binary) do
      {:ok, {{_version, 200, _reason}, _headers, body}} -> Tidepool.Native.json_decode(body)
      {:ok, {{_version, status, _reason}, _headers, body}} -> {:error, "status #{status}, #{body}"}
      {:error, reason} -> {:error, inspect(reason)}
    end
  end

  # As browsers match names, with `*` for a part.
  defp hostnames, do: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]

  defp roots(nil), do: [cacerts: :public_key.cacerts_get()]
  defp roots(file), do: [cacertfile: file]

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
          do: [node["name"], text(node["shards"])] ++ held(node)

    unowned = if actors["unowned"] > 0, do: [["nobody", text(actors["unowned"]), "", ""]], else: []
    moving = for %{"to" => to, "shards" => shards} <- [actors["moving"]], do: [text(shards), text(to)]

    [
      "as #{status["node"]} sees it",
      table(["NODE", "LINKS", "CATALOG", "PENDING", "SKEW MS"], nodes ++ lost ++ apart),
      table(["FUNCTION", "VERSION", "SHA256", "READY", "NOT READY ON"], functions),
      table(["ON THIS NODE ALONE"], withheld),
      table(["ACTORS OF", "SHARDS", "LEASE MS", "SYNCED"], owners ++ unowned),
      table(["SHARDS THAT MOVE", "TO"], moving),
      table(["ON ITS WAY HERE", "VERSION", "BYTES", "STATE", "ATTEMPTS"], fetching)
    ]
    |> Enum.reject(&(&1 == ""))
    |> Enum.join("\n\n")
  end

  defp table(_head, []), do: ""

  defp table(head, rows) do
    rows = [head | rows]
    widths = for column <- Enum.zip(rows), do: column |> Tuple.to_list() |> Enum.map(&String.length/1) |> Enum.max()

    Enum.map_join(rows, "\n", fn row ->
      row
      |> Enum.zip(widths)
      |> Enum.map_join("  ", fn {cell, width} -> String.pad_trailing(cell, width) end)
      |> String.trim_trailing()
    end)
  end

  # By a lease, or, where there is no store, by what all nodes have sent each other.
  defp held(%{"synced" => synced?}), do: ["-", text(synced?)]
  defp held(node), do: [text(node["lease_ms"]), "-"]

  defp text(nil), do: "?"
  defp text(value), do: to_string(value)
end
