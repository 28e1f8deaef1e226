defmodule TidepoolWeb.Renewal do
  @moduledoc """
  Looks at the files of the edge's certificates (`TidepoolWeb.Identity`) every second.

  When they have changed, and are the same for two looks, so that nobody is still writing them, connections from then on see what
  is in them. Those that are open go on. What can't be used is said in the log, once, and the edge goes on with what it has: with all of
  its certificates, or with the one of a host.
  """

  use GenServer

  require Logger

  alias TidepoolWeb.{Identity, Listener}

  @look_ms 1_000

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(%{tls_cert: nil}), do: :ignore

  def init(config) do
    now = Identity.look(config)
    Process.send_after(self(), :look, @look_ms)
    # What can't be used to begin with is said by who listens.
    identity = with {:ok, identity, _left_out} <- Identity.read(config), do: identity, else: (_error -> nil)
    # Within a function its keys are in no report of this process.
    {:ok, %{config: config, used: now, seen: now, identity: fn -> identity end}}
  end

  @impl true
  def handle_info(:look, %{config: config, used: used, seen: seen} = state) do
    now = Identity.look(config)
    state = if now != used and now == seen, do: renew(state), else: state
    Process.send_after(self(), :look, @look_ms)
    {:noreply, %{state | seen: now, used: if(now == seen, do: now, else: used)}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp renew(%{config: config} = state) do
    with {:ok, identity, left_out} <- Identity.read(config, state.identity.()), :ok <- Listener.identify(identity) do
      Logger.info("Tidepool has read its certificates again: #{paths(config)}")

      for message <- left_out,
          do: Logger.error("a certificate is left out, or the one before it goes on: #{message}")

      %{state | identity: fn -> identity end}
    else
      {:error, message} ->
        Logger.error("Tidepool goes on with the certificates that it has: #{message}")
        state
    end
  end

  defp paths(config), do: Enum.join(for(path <- [config.tls_cert, config.tls_certs], path != nil, do: path), ", ")
end
