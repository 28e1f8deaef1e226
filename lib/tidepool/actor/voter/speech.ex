defmodule Tidepool.Actor.Voter.Speech do
  @moduledoc "The protocol by which voters of nodes ask each other (`Tidepool.Nodes.Ask`): bytes, of which the native library knows what they say."

  alias Tidepool.Nodes.Protocol

  @doc """
  At most 2,048 questions are being answered, and `:busy` is the answer to more. What they bring has no bound of its own, for one of 256 MiB
  is not to be in the way of a heartbeat; a voter sends another one such question at a time.
  """
  @spec protocol :: Protocol.t()
  def protocol,
    do: %Protocol{
      server: __MODULE__,
      tag: :tidepool_voters,
      version: 1,
      what: "what actors' voters keep",
      at_once: 2_048,
      refused: fn why -> if why == :busy, do: :busy, else: :not_open end
    }
end
