defmodule Tidepool.Cluster.Links.Backoff do
  @moduledoc """
  When a node that could not be met may be tried again, beyond what `Tidepool.Cluster.Gossip.Membership` waits of its own accord.

  A node that was a peer before is tried as often as that says. One that never was waits, twice as long each time, half of
  it at random: up to 30 s if the settings name it; up to 10 min if it is just some node of this machine, or one that
  answered and does not run Tidepool, for it may have nothing to do with us. One that is not to be linked with as it is now,
  a peer or not, is tried every 30 s as well.
  """

  @first_ms 1_000
  @longest_ms [configured: 30_000, apart: 30_000, guessed: 600_000, stranger: 600_000]

  @opaque t :: %{String.t() => :met | {failures :: pos_integer, until :: integer}}

  @doc "Nobody has been tried yet."
  @spec new :: t
  def new, do: %{}

  @doc "May `name` be tried at `now`?"
  @spec due?(t, String.t(), integer) :: boolean
  def due?(backoff, name, now) do
    case backoff do
      %{^name => {_failures, until}} -> now >= until
      _met_or_new -> true
    end
  end

  @doc "Was `name` tried in vain, and never met?"
  @spec failed?(t, String.t()) :: boolean
  def failed?(backoff, name), do: match?(%{^name => {_failures, _until}}, backoff)

  @doc "An attempt has failed. `why` says what is known of the node."
  @spec failed(t, String.t(), :configured | :apart | :guessed | :stranger, integer) :: t
  def failed(backoff, name, why, now) do
    case Map.get(backoff, name, {0, nil}) do
      :met when why != :apart ->
        backoff

      met_or_failed ->
        failures = if met_or_failed == :met, do: 0, else: elem(met_or_failed, 0)
        pause = min(@first_ms * Integer.pow(2, min(failures, 20)), @longest_ms[why])
        Map.put(backoff, name, {failures + 1, now + jitter(pause)})
    end
  end

  @doc "A pause of `ms`, 2 at least, of which half is random."
  @spec jitter(pos_integer) :: pos_integer
  def jitter(ms), do: div(ms, 2) + :rand.uniform(div(ms, 2))

  @doc "The node is a peer now."
  @spec met(t, String.t()) :: t
  def met(backoff, name), do: Map.put(backoff, name, :met)
end
