defmodule Tidepool.Cluster.Notices do
  @moduledoc "What the log says of other nodes and their changes: a sentence each, with the remedy where there is one."

  alias Tidepool.Cluster.Wire

  # Names in one sentence.
  @max_names 10

  @doc "A node can be reached that could not be before; `count` can be now, this one included."
  @spec joined(String.t(), pos_integer) :: String.t()
  def joined(name, count), do: "#{name} is there: #{reachable(count)}"

  @doc "A node can't be reached any more."
  @spec lost(String.t(), pos_integer) :: String.t()
  def lost(name, count), do: "#{name} is lost, no chain of links leads to it: #{reachable(count)}"

  @doc "A lost node was forgotten by hand."
  @spec forgotten(String.t()) :: String.t()
  def forgotten(name), do: "#{name} is forgotten: other nodes are told"

  @doc "A node is not linked with, whose edge is open, or which takes no links from this one, whose edge is."
  @spec apart(String.t(), open? :: boolean) :: String.t()
  def apart(name, true) do
    "#{name} is not linked with: its edge takes changes from anybody, and this node's does not; start it with a token " <>
      "(TIDEPOOL_TOKEN) to have it in the cluster"
  end

  def apart(name, false) do
    "#{name} is not linked with: it takes no changes from nodes whose edge takes them from anybody, as this one's does; " <>
      "start this one with a token (TIDEPOOL_TOKEN) to have it in the cluster"
  end

  @doc "A node that the settings name answers no hello."
  @spec silent(String.t()) :: String.t()
  def silent(name) do
    "#{name} can be reached and takes part in no cluster: it does not run Tidepool, or an earlier version, or has neither " <>
      "seeds nor a DNS name (TIDEPOOL_CLUSTER=true has it take part without)"
  end

  @doc "Changes of this node that others are not told of."
  @spec withheld([String.t(), ...]) :: String.t()
  def withheld(names) do
    some = names |> Enum.sort() |> Enum.take(@max_names) |> Enum.join(", ")
    more = if length(names) > @max_names, do: " and #{length(names) - @max_names} more", else: ""

    "other nodes are not told of changes that were made here while anybody could, of #{some}#{more}: deploy or remove " <>
      "them again with the token to have them told"
  end

  @doc "A change that anybody could make is not taken from a peer."
  @spec no_token(peer :: String.t(), replica :: String.t()) :: String.t()
  def no_token(peer, replica) do
    "changes of #{replica} are refused, which #{peer} passed on: anybody could make them, and this node's edge takes " <>
      "none without its token"
  end

  @doc "A change by a clock that is `ms` ahead, of which `max_skew` are allowed."
  @spec ahead(peer :: String.t(), replica :: String.t(), ms :: pos_integer, max_skew :: pos_integer) :: String.t()
  def ahead(peer, replica, ms, max_skew) do
    "changes of #{replica} are refused, which #{peer} passed on: its clock is #{ms} ms ahead of this node's, and " <>
      "#{max_skew} are allowed (setting :max_skew)"
  end

  @doc "A peer's message can't be read."
  @spec unread(String.t(), {:version, byte} | :malformed) :: String.t()
  def unread(name, {:version, version}) do
    "#{name} speaks version #{version} of the cluster's protocol, and this node #{Wire.version()}: it is ignored"
  end

  def unread(name, :malformed), do: "#{name} sends what is no message of the cluster's protocol: it is ignored"

  defp reachable(1), do: "this node is alone"
  defp reachable(count), do: "#{count} nodes can be reached, this one included"
end
