defmodule Tidepool.Host.Target do
  @moduledoc """
  Which handlers a host call may have: those of its binding, namespace and operation, or of some of them, for `:_` stands
  for any.
  """

  alias Tidepool.Host

  @doc "The targets that a call matches, the most specific first."
  @spec matched(binary, binary, binary) :: [Host.target(), ...]
  def matched(binding, namespace, operation) do
    [
      {binding, namespace, operation},
      {binding, namespace, :_},
      {binding, :_, operation},
      {binding, :_, :_},
      {:_, namespace, operation},
      {:_, namespace, :_},
      {:_, :_, operation},
      {:_, :_, :_}
    ]
  end
end
