defmodule TidepoolWeb.Deploys do
  @moduledoc """
  Places of deploys that have come over HTTP. A namespace gets no more of them than it leaves to others: a module may take its time to
  compile, and a trial a minute.
  """

  alias Tidepool.{Deploy, Error}
  alias Tidepool.Catalog.Origin
  alias Tidepool.Namespaces.Name
  alias TidepoolWeb.Resource.Shares

  @most 32

  @doc "How many there may be at a time: so many the edge hands on."
  @spec most :: pos_integer
  def most, do: @most

  @doc "How many there are now, and may be."
  @spec held :: %{held: non_neg_integer, max: pos_integer}
  def held, do: %{held: Shares.count(:deploys), max: @most}

  @doc """
  Runs a deploy of the function of this name, if its namespace has a place for that. One without a namespace has whatever place there is.
  """
  @spec within(String.t(), Origin.t(), (() -> result)) :: result | {:error, Error.t()} when result: term
  def within(name, origin, deploy) do
    namespace = Name.of(name)

    case Shares.take(:deploys, namespace, @most) do
      :ok ->
        try do
          deploy.()
        after
          Shares.give_back(:deploys, namespace)
        end

      :full ->
        message = "deploys of #{namespace}/* have their share of the #{@most} places that there are: try again later"
        Deploy.refuse(Error.new(:overloaded, message, name), origin)
    end
  end
end
