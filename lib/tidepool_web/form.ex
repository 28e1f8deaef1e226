defmodule TidepoolWeb.Form do
  @moduledoc """
  The form of a deploy as the options of `Tidepool.deploy/2`.
  """

  alias Tidepool.{Error, Limits}

  @doc """
  Options from form fields. Fields that are left out leave their option out.

      iex> form = %{name: nil, file_name: "hello.wasm", operation: nil, instances: "warm:5", engine: "dense"}
      iex> form = Map.merge(form, %{snapshot: nil, limits: nil})
      iex> TidepoolWeb.Form.options(form)
      {:ok, [name: "hello", instances: {:warm, 5}, engine: :dense]}
  """
  @spec options(map) :: {:ok, keyword} | {:error, Error.t()}
  def options(form) do
    with {:ok, name} <- name(form),
         {:ok, instances} <- instances(form.instances),
         {:ok, engine} <- engine(form.engine),
         {:ok, snapshot} <- snapshot(form.snapshot),
         {:ok, limits} <- limits(form.limits),
         {:ok, waits} <- waits(Map.get(form, :query, [])) do
      options = [name: name, operation: form.operation, instances: instances, engine: engine]
      options = options ++ [snapshot: snapshot, limits: limits] ++ waits

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

  defp engine(nil), do: {:ok, nil}
  defp engine("fast"), do: {:ok, :fast}
  defp engine("dense"), do: {:ok, :dense}
  defp engine(value), do: invalid("the field `engine` has to be `fast` or `dense`, and is #{inspect(value)}")

  defp snapshot(nil), do: {:ok, nil}
  defp snapshot("true"), do: {:ok, true}
  defp snapshot("false"), do: {:ok, false}
  defp snapshot(value), do: invalid("the field `snapshot` has to be `true` or `false`, and is #{inspect(value)}")

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

  @extents %{"local" => :local, "majority" => :majority, "all" => :all}

  # Parameters of the query; others mean nothing.
  defp waits(query) do
    Enum.reduce_while(query, {:ok, []}, fn
      {"wait", text}, {:ok, waits} ->
        case @extents do
          %{^text => extent} ->
            {:cont, {:ok, [{:wait, extent} | waits]}}

          _other ->
            {:halt, invalid("the parameter `wait` has to be `local`, `majority` or `all`, and is #{inspect(text)}")}
        end

      {"wait_timeout", text}, {:ok, waits} ->
        case Integer.parse(text) do
          {timeout, ""} -> {:cont, {:ok, [{:wait_timeout, timeout} | waits]}}
          _other -> {:halt, invalid("the parameter `wait_timeout` has to be a number of ms, and is #{inspect(text)}")}
        end

      _other, waits ->
        {:cont, waits}
    end)
  end

  defp invalid(message), do: {:error, Error.new(:invalid_option, message, nil, %{step: :options})}
end
