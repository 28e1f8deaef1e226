defmodule Tidepool.Config.Names do
  @moduledoc """
  Which nodes can have links with each other, by their names. Erlang has two kinds of these: long ones, with a dot or a colon in the host, and
  short ones without. A node looks for nodes of its own kind alone, whatever DNS knows of the others.
  """

  alias Tidepool.{Config, Error}

  @typedoc "A kind of names."
  @type kind :: :long | :short

  @doc """
  Of which kind a node's name is.

      iex> Enum.map(["a@10.0.0.1", "a@host.example", "a@::1", "a@host1", "a@localhost"], &Tidepool.Config.Names.kind/1)
      [:long, :long, :long, :short, :short]
  """
  @spec kind(String.t()) :: kind
  def kind(name),
    do: if(name |> String.split("@") |> List.last() |> String.contains?([".", ":"]), do: :long, else: :short)

  @doc """
  Can these nodes, which settings name, have links with each other? Those that are found by `dns` have addresses for hosts, if it is set.

  Errors have the reason `:invalid_option`, and say what to do.
  """
  @spec check([String.t()], dns :: String.t() | nil) :: :ok | {:error, Error.t()}
  def check(names, dns) do
    case {Enum.find(names, &(kind(&1) == :long)), Enum.find(names, &(kind(&1) == :short))} do
      {_long, nil} ->
        :ok

      {nil, _short} when dns == nil ->
        :ok

      {long, short} ->
        refused(
          "the host of #{short} has no dot, and #{found(long)}: nodes of both kinds can't reach each other. Give all nodes in actors and " <>
            "seeds (TIDEPOOL_ACTORS, TIDEPOOL_SEEDS) hosts with a dot, or addresses, or all of them hosts without"
        )
    end
  end

  defp found(nil), do: "nodes that are found by dns (TIDEPOOL_DNS) have addresses"
  defp found(long), do: "that of #{long} has one"

  @doc """
  Can this node, whose name Erlang takes for one of that kind, have links with those that its settings name (`t:Tidepool.Config.t/0`)? `nil` is a
  node without a name.

  Errors as of `check/2`.
  """
  @spec check_own(Config.t(), own :: String.t(), kind | nil) :: :ok | {:error, Error.t()}
  def check_own(%{cluster: true, seeds: seeds, dns: dns}, own, kind) when kind != nil do
    # It needs no link with itself.
    case Enum.find(seeds -- [own], &(kind(&1) != kind)) do
      nil when dns != nil and kind == :short ->
        refused(
          "this node, #{own}, has a short name, and nodes that are found by dns (TIDEPOOL_DNS) have addresses, which it can't reach: #{named(:long)}"
        )

      nil ->
        :ok

      other ->
        refused(
          "this node, #{own}, has a #{kind} name, and #{other}, which its settings name, a #{kind(other)} one, so they can't reach each other: " <>
            named(kind(other))
        )
    end
  end

  def check_own(_config, _own, _kind), do: :ok

  defp named(:long),
    do:
      "start it with --name NAME@HOST, where HOST has a dot or is an address; in a release RELEASE_NODE is such a name"

  defp named(:short),
    do:
      "start it with --sname NAME@HOST, where HOST has no dot; in a release RELEASE_NODE is such a name, and RELEASE_DISTRIBUTION is not set"

  @doc "The kind of this node's name, as Erlang takes it; `nil` when it has none."
  @spec own_kind :: kind | nil
  def own_kind do
    case :net_kernel.longnames() do
      true -> :long
      false -> :short
      :ignored -> nil
    end
  end

  defp refused(message), do: {:error, Error.new(:invalid_option, message)}
end
