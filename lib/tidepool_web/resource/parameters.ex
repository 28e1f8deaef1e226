defmodule TidepoolWeb.Resource.Parameters do
  @moduledoc """
  The parameters of a query, read by what a resource knows of them. Who misspells one is told so, and gets nothing else than was
  meant: `unknown_field`, `duplicate_field` or `invalid_option`, as for the fields of a deploy.
  """

  alias Tidepool.{Error, Options}
  alias Tidepool.Function.Fields

  @typedoc """
  Parameters by name: a type of `Tidepool.Options`, or `:text` for any, or `{:each, type}` for one that may be given several times,
  and what it is when it is not given.
  """
  @type known :: [{String.t(), {Options.type() | :text | {:each, Options.type() | :text}, default :: term}}]

  @doc """
  What a query says.

      iex> known = [{"limit", {{:integer, 1, 9}, 5}}, {"from", {:text, nil}}, {"label", {{:each, :text}, []}}]
      iex> TidepoolWeb.Resource.Parameters.read([{"limit", "3"}, {"label", "a"}, {"label", "b"}], known)
      {:ok, %{"limit" => 3, "from" => nil, "label" => ["a", "b"]}}
      iex> for query <- [[{"limti", "3"}], [{"limit", "3"}, {"limit", "3"}], [{"limit", "10"}]] do
      ...>   {:error, error} = TidepoolWeb.Resource.Parameters.read(query, known)
      ...>   error.reason
      ...> end
      [:unknown_field, :duplicate_field, :invalid_option]
  """
  @spec read([{String.t(), String.t()}], known) :: {:ok, %{String.t() => term}} | {:error, Error.t()}
  def read(query, known) do
    read = Map.new(known, fn {name, {_type, default}} -> {name, default} end)
    read(query, known, [], read)
  end

  defp read([], _known, _seen, read), do: {:ok, read}

  defp read([{name, text} | query], known, seen, read) do
    with {:ok, {kind, type}} <- type(name, known),
         :ok <- if(kind == :once and name in seen, do: twice(name), else: :ok),
         {:ok, value} <- value(name, text, type) do
      read =
        if kind == :each,
          do: Map.update!(read, name, &((name in seen && &1 ++ [value]) || [value])),
          else: %{read | name => value}

      read(query, known, [name | seen], read)
    end
  end

  defp type(name, known) do
    case List.keyfind(known, name, 0) do
      {_name, {{:each, type}, _default}} -> {:ok, {:each, type}}
      {_name, {type, _default}} -> {:ok, {:once, type}}
      nil -> Fields.unknown("parameter", name, Enum.map(known, &elem(&1, 0)))
    end
  end

  defp value(_name, text, :text), do: {:ok, text}

  defp value(name, text, type) do
    with {:ok, value} <- Options.read(text, type), true <- Options.type?(value, type) do
      {:ok, value}
    else
      _other ->
        message = "the parameter `#{name}` has to be #{Options.describe(type)}, and is #{Options.show(text)}"
        {:error, Error.new(:invalid_option, message)}
    end
  end

  defp twice(name), do: {:error, Error.new(:duplicate_field, "give the parameter `#{name}` once", nil, %{field: name})}
end
