defmodule Tidepool.Namespaces do
  @moduledoc """
  Namespaces: what stands before the slash in names of functions, what the functions of one may have together, and what their
  deploys may say.

  A function without a namespace, and one of a namespace for which nothing is set, has what the node has: calls of it don't look for
  any quota. What is set holds on each node for itself.

  `Tidepool.Namespaces.Setting` has what may be set. What is over a quota is an error with the reason `{:quota, quota}`.
  """

  alias Tidepool.{Config, Error, Limits}
  alias Tidepool.Namespaces.{Name, Setting}

  @doc "What is set for a function's namespace; `nil` when nothing is."
  @spec settings(String.t()) :: Setting.t() | nil
  def settings(name), do: with(namespace when namespace != nil <- Name.of(name), do: Config.get(:namespaces)[namespace])

  @doc "The quotas that the native library keeps."
  @spec native(%{String.t() => Setting.t()}) :: [
          {String.t(), instances :: pos_integer | nil, queue :: non_neg_integer, memory :: pos_integer | nil,
           calls_per_second :: pos_integer | nil}
        ]
  def native(namespaces) do
    for {name, %{instances: instances, queue: queue, memory: memory, calls_per_second: calls}} <- namespaces,
        do: {name, instances, queue, memory, calls}
  end

  @doc "May a function be deployed, where its namespace has so many others?"
  @spec room(String.t(), others :: (() -> non_neg_integer)) :: :ok | {:error, Error.t()}
  def room(name, others) do
    with %{modules: most} when most != nil <- settings(name), true <- others.() >= most do
      namespace = Name.of(name)
      message = "the namespace #{namespace} may have #{most} functions, and has them: remove one first"
      {:error, Error.new({:quota, :modules}, message, name, %{namespace: namespace, allowed: most})}
    else
      _room -> :ok
    end
  end

  @doc "The limits and the grants of the host of a function whose deploy says nothing of them, by those of the node."
  @spec defaults(name :: term, limits, :all | :none) :: {limits, :all | :none} when limits: %{optional(atom) => term}
  def defaults(name, limits, host) do
    case is_binary(name) && settings(name) do
      %{} = own ->
        {limits |> Map.merge(own.limits) |> Map.merge(own.max_limits, fn _key, a, b -> min(a, b) end), own.host || host}

      _none ->
        {limits, host}
    end
  end

  @doc "Are a deploy's limits within what the namespace lets them be?"
  @spec within(String.t(), Limits.t()) :: :ok | {:error, Error.t()}
  def within(name, limits) do
    with %{max_limits: most} <- settings(name),
         {limit, allowed} <- Enum.find(most, fn {limit, allowed} -> Map.fetch!(limits, limit) > allowed end) do
      message =
        "the limit #{limit} of functions in #{Name.of(name)} is #{allowed} at most here (setting :namespaces), and is to be #{limits[limit]}"

      {:error, Error.new(:invalid_option, message, name)}
    else
      _within -> :ok
    end
  end
end
