defmodule TidepoolWeb.Form do
  @moduledoc """
  The form of a deploy as the options of `Tidepool.deploy/2`.
  """

  alias Tidepool.{Deploy, Error, Limits, Options}

  @doc """
  Options from form fields, checked. Fields that are left out leave their option out. Errors call fields what the form calls
  them, and have the function's name when there is one.

      iex> form = %{name: nil, file_name: "hello.wasm", operation: nil, instances: "warm:5", engine: "dense"}
      iex> form = Map.merge(form, %{snapshot: nil, limits: nil})
      iex> TidepoolWeb.Form.options(form)
      {:ok, [name: "hello", instances: {:warm, 5}, engine: :dense]}
  """
  @spec options(map) :: {:ok, keyword} | {:error, Error.t()}
  def options(form) do
    with {:ok, name} <- name(form),
         {:error, error} <- options(form, name) do
      {:error, %{error | function: name, details: %{step: :options}}}
    end
  end

  defp options(form, name) do
    with {:ok, engine} <- engine(form.engine),
         {:ok, instances} <- instances(form.instances, engine || :fast),
         {:ok, snapshot} <- snapshot(form.snapshot),
         {:ok, limits} <- limits(form.limits),
         {:ok, waits} <- waits(Map.get(form, :query, [])) do
      options = [name: name, operation: form.operation, instances: instances, engine: engine]
      options = options ++ [snapshot: snapshot, limits: limits] ++ waits
      options = Enum.reject(options, fn {_key, value} -> is_nil(value) end)
      with {:ok, _checked} <- Options.check(options, Deploy.schema(), &field/1), do: {:ok, options}
    end
  end

  defp field([:wait_timeout]), do: "the parameter `wait_timeout`"
  defp field(path), do: "the field `#{Enum.join(path, ".")}`"

  defp name(%{name: name}) when is_binary(name) and name != "", do: {:ok, name}
  defp name(%{file_name: name}) when is_binary(name) and name != "", do: {:ok, Path.basename(name, ".wasm")}
  defp name(_form), do: invalid("give the function a name: upload a file with a name, or add a field `name`")

  defp instances(nil, _engine), do: {:ok, nil}
  defp instances("fresh", _engine), do: {:ok, :fresh}

  defp instances("warm:" <> count = value, engine) do
    most = Deploy.max_idle(engine)

    case number(count) do
      count when count in 1..most -> {:ok, {:warm, count}}
      _other -> bad_instances(value)
    end
  end

  defp instances(value, _engine), do: bad_instances(value)

  defp bad_instances(value) do
    {fast, dense} = {Deploy.max_idle(:fast), Deploy.max_idle(:dense)}

    invalid(
      "the field `instances` has to be `fresh` or `warm:N` with N from 1 to #{fast}, or to #{dense} with the field " <>
        "`engine=dense`, and is #{Options.show(value)}"
    )
  end

  defp engine(nil), do: {:ok, nil}
  defp engine("fast"), do: {:ok, :fast}
  defp engine("dense"), do: {:ok, :dense}
  defp engine(value), do: invalid("the field `engine` has to be `fast` or `dense`, and is #{Options.show(value)}")

  defp snapshot(nil), do: {:ok, nil}
  defp snapshot("true"), do: {:ok, true}
  defp snapshot("false"), do: {:ok, false}
  defp snapshot(value), do: invalid("the field `snapshot` has to be `true` or `false`, and is #{Options.show(value)}")

  defp limits(nil), do: {:ok, nil}

  defp limits(limits) do
    known = Map.new(Limits.schema(), fn {key, _spec} -> {to_string(key), key} end)

    case Enum.find(limits, fn {name, _value} -> not is_map_key(known, name) end) do
      nil ->
        {:ok, for({name, value} <- limits, do: {known[name], value})}

      {name, _value} ->
        invalid(
          "the field `limits` has an unknown limit #{Options.show(name)}: known are #{known |> Map.keys() |> Enum.join(", ")}"
        )
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
            {:halt,
             invalid("the parameter `wait` has to be `local`, `majority` or `all`, and is #{Options.show(text)}")}
        end

      {"wait_timeout", text}, {:ok, waits} ->
        case number(text) do
          nil -> {:halt, invalid("the parameter `wait_timeout` has to be a number of ms, and is #{Options.show(text)}")}
          timeout -> {:cont, {:ok, [{:wait_timeout, timeout} | waits]}}
        end

      _other, waits ->
        {:cont, waits}
    end)
  end

  # More digits than any number here may have would only cost time.
  @digits 18

  defp number(text) when byte_size(text) <= @digits do
    case Integer.parse(text) do
      {number, ""} -> number
      _other -> nil
    end
  end

  defp number(_text), do: nil

  defp invalid(message), do: {:error, Error.new(:invalid_option, message, nil, %{step: :options})}
end
