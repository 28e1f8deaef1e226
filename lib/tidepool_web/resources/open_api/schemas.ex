defmodule TidepoolWeb.Resources.OpenApi.Schemas do
  @moduledoc "The schemas of the document, by name."

  alias TidepoolWeb.Resources.OpenApi.Schemas.{Errors, Functions, Guests, Node}

  @doc "All of them."
  @spec all :: %{atom => map}
  def all, do: Map.new(Errors.all() ++ Functions.all() ++ Guests.all() ++ Node.all())
end
