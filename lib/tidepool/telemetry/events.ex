defmodule Tidepool.Telemetry.Events do
  @moduledoc "Which events there are: `Tidepool.Telemetry` says what is in each."

  @events [
    [:tidepool, :call, :start],
    [:tidepool, :call, :stop],
    [:tidepool, :call, :exception],
    [:tidepool, :queue, :stop],
    [:tidepool, :host_call, :start],
    [:tidepool, :host_call, :stop],
    [:tidepool, :deploy, :start],
    [:tidepool, :deploy, :stop],
    [:tidepool, :deploy, :exception],
    [:tidepool, :compile, :start],
    [:tidepool, :compile, :stop],
    [:tidepool, :compile, :exception],
    [:tidepool, :optimise, :stop],
    [:tidepool, :optimise, :exception]
  ]

  @doc "All of them."
  @spec all :: [Tidepool.Telemetry.event()]
  def all, do: @events
end
