defmodule Tidepool.Keyvalue.Supervisor do
  @moduledoc "The processes of the store that the setting `keyvalue` names."

  use Supervisor

  alias Tidepool.Config

  @doc false
  def start_link(_none), do: Supervisor.start_link(__MODULE__, [], name: __MODULE__)

  @impl true
  def init(_none), do: Supervisor.init(children(Config.get(:keyvalue)), strategy: :one_for_one)

  defp children({module, argument}) do
    # In a VM that loads modules when they are called, this is the first call.
    Code.ensure_loaded!(module)
    if function_exported?(module, :children, 1), do: module.children(argument), else: []
  end

  defp children(nil), do: []
end
