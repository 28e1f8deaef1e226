defmodule TidepoolWeb.Form do
  @moduledoc """
  The form of a deploy as the options of `Tidepool.deploy/2`.
  """

  alias Tidepool.{Error, Limits}

  @doc """
  Options from form fields. Fields that are left out leave their option out.

      iex> form = %{name: nil, file_name: "hello.wasm", operation: nil, instances: "warm:5", limits: %{"time" => 9}}
      iex> TidepoolWeb.Form.options(form)
      {:ok, [name: "hello", instances: {:warm, 5}, limits: [time: 9]]}
  """
  @spec options(map) :: {:ok, keyword} | {:error, Error.t()}
  def options(form) do
    with {:ok, name} <- name(form),
         {:ok, instances} <- instances(form.instances),
         {:ok, limits} <- limits(form.limits) do
      options = [name: name, operation: form.operation, instances: instances, limits: limits]
      {:ok, Enum.reject(options, fn {_key, value} -> is_nil(value) end)}
    end
  end

  defp name(%{name: name}) when is_binary(name) and name != "", do: {:ok, name}
  defp name(%{file_name: name}) when is_binary(name) and name != "", do: {:ok, Path.basename(name, ".wasm")}
  defp name(_form), do: invalid("give the function a name: upload a file with a name, or add a field `name`")

  defp instances(nil), do: {:ok, nil}
  defp instances("fresh"), do: {:ok, :fresh}

  defp instances("warm:" <> count = value) do
    case Integer.parse(count) do
      {count, ""} -> {:ok, {:warm, count}}
      _other -> bad_instances(value)
    end
  end

  defp instances(value), do: bad_instances(value)

  defp bad_instances(value) do
    invalid("the field `instances` has to be `fresh` or `warm:N`, and is #{inspect(value)}")
  end

  defp limits(nil), do: {:ok, nil}

  defp limits(limits) do
    known = Map.new(Limits.schema(), fn {key, _spec} -> {to_string(key), key} end)

    case Enum.find(limits, fn {name, _value} -> not is_map_key(known, name) end) do
      nil ->
        {:ok, for({name, value} <- limits, do: {known[name], value})}

      {name, _value} ->
        invalid("the limit #{inspect(name)} is unknown: known are #{known |> Map.keys() |> Enum.join(", ")}")
    end
  end

  defp invalid(message), do: {:error, Error.new(:invalid_option, message, nil, %{step: :options})}
end
