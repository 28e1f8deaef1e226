defmodule Tidepool.Cluster.Links.Discovery do
  @moduledoc """
  Where other nodes may be: a list of seeds, the addresses of a DNS name, the nodes that this machine's epmd knows.

  Found is not connected: `Tidepool.Cluster.Server` decides whom to try and when. What can't be looked up now counts as
  nothing found; the next look comes with the next interval.
  """

  alias Tidepool.Config

  @typedoc "Was a node named by the settings, or is it just a node of this machine?"
  @type origin :: :configured | :guessed

  @doc "Names of nodes that may be there, without this one's. Asks the network, so it may take seconds."
  @spec find(Config.t()) :: %{String.t() => origin}
  def find(config) do
    seeds = Config.seeds(config.seeds)
    own = to_string(node())
    guessed = if epmd?(config, seeds), do: epmd(own), else: []

    Map.new(guessed, &{&1, :guessed})
    |> Map.merge(Map.new(seeds ++ dns(config.dns, config.dns_node), &{&1, :configured}))
    |> Map.delete(own)
  end

  @doc "One sentence about how nodes are found, for people."
  @spec describe(Config.t()) :: String.t()
  def describe(config) do
    seeds = Config.seeds(config.seeds)

    ways =
      [
        seeds != [] && "seeds #{Enum.join(seeds, ", ")}",
        config.dns && "the addresses of #{config.dns}",
        epmd?(config, seeds) && "this machine's epmd"
      ]
      |> Enum.filter(& &1)

    if ways == [], do: "who connects to it", else: Enum.join(ways, ", ")
  end

  defp epmd?(%{epmd: nil} = config, seeds), do: seeds == [] and config.dns == nil
  defp epmd?(%{epmd: epmd}, _seeds), do: epmd

  @doc "The nodes at the addresses of a DNS name, looked up as the VM is configured to."
  @spec dns(String.t() | nil, String.t()) :: [String.t()]
  def dns(nil, _stem), do: []

  def dns(name, stem) do
    for family <- [:inet, :inet6],
        {:ok, addresses} <- [:inet.getaddrs(to_charlist(name), family)],
        address <- addresses,
        uniq: true,
        do: "#{stem}@#{:inet.ntoa(address)}"
  end

  # A name that epmd has says nothing of the host that its node goes by; ours is the best guess, and a node under
  # another one refuses.
  defp epmd(own) do
    [_stem, host] = String.split(own, "@", parts: 2)

    case :erl_epmd.names({127, 0, 0, 1}) do
      {:ok, names} -> for {name, _port} <- names, do: "#{name}@#{host}"
      {:error, _reason} -> []
    end
  end
end
