defmodule Tidepool.Cluster.Links.FirstVersion do
  @moduledoc """
  Nodes of the first version of the cluster's protocol do not tell in their hellos whether their edges are open. They are
  asked by evaluating an expression there: all that travels is the answer, and no token.
  """

  @expression "config = Tidepool.Config; config.get(:server) and config.get(:token) == nil"
  @timeout_ms 5_000

  @doc "Does the edge of a node take changes from anybody? `:error`: it does not tell. Takes as long as the link does."
  @spec open?(node) :: {:ok, boolean} | :error
  def open?(node) do
    case :erpc.call(node, Code, :eval_string, [@expression], @timeout_ms) do
      {open?, _binding} when is_boolean(open?) -> {:ok, open?}
      _other -> :error
    end
  catch
    _kind, _reason -> :error
  end
end
