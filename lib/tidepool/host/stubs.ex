defmodule Tidepool.Host.Stubs do
  @moduledoc """
  Answers to host calls that are written down beforehand, for trials without the host: from arguments and from JSON.

  The JSON is an object with a member for each target, `"binding/namespace/operation"`, whose value is one of:

  - a string: the reply;
  - `{"error": "text"}`: the guest gets an error;
  - `{"base64": "…"}`: a reply that is not text;
  - `{"payloads": {"apple": …, "pear": …}}`: one of these for each payload.

  An import of a plain module, `"import/MODULE/NAME"`, is answered with the value that the reply says as JSON, and its payload is the
  array of its arguments: `"42"`, or `{"payloads": {"[19,23]": "42"}}`.
  """

  alias Tidepool.{Host, Native}
  alias Tidepool.Host.Call

  @typedoc "What to answer, or what for each payload."
  @type answer :: Host.result() | %{binary => Host.result()}
  @type t :: %{{binary, binary, binary} => answer}

  @doc """
  A stub as an argument has it.

      iex> Tidepool.Host.Stubs.argument("shop/products/price=250")
      {:ok, {{"shop", "products", "price"}, {:ok, "250"}}}
      iex> Tidepool.Host.Stubs.argument("price=250")
      {:error, ~s(a stub is binding/namespace/operation=reply, and not "price=250")}

  The first `=` ends the target; one that has such a sign itself is for the JSON.
  """
  @spec argument(String.t()) :: {:ok, {{binary, binary, binary}, answer}} | {:error, String.t()}
  def argument(text) do
    with [name, reply] <- String.split(text, "=", parts: 2),
         {:ok, target} <- target(name) do
      {:ok, {target, {:ok, reply}}}
    else
      _other -> {:error, "a stub is binding/namespace/operation=reply, and not #{inspect(text)}"}
    end
  end

  @doc """
  The stubs of a JSON text.

      iex> Tidepool.Host.Stubs.json(~s({"shop/products/price": {"payloads": {"apple": "250", "kiwi": {"error": "none"}}}}))
      {:ok, %{{"shop", "products", "price"} => %{"apple" => {:ok, "250"}, "kiwi" => {:error, "none"}}}}
  """
  @spec json(binary) :: {:ok, t} | {:error, String.t()}
  def json(text) do
    case Native.json_decode(text) do
      {:ok, stubs} when is_map(stubs) -> collect(stubs, &member/1)
      {:ok, _other} -> {:error, "the stubs have to be a JSON object"}
      {:error, message} -> {:error, "the stubs are no JSON: #{message}"}
    end
  end

  @doc "What a stub answers a call. A payload that it has nothing for is an error in the guest."
  @spec reply(answer, Call.t()) :: Host.result()
  def reply(answers, %Call{args: nil, payload: payload}) when is_map(answers) do
    with nil <- answers[payload], do: {:error, "the stub has no answer to the payload #{inspect(payload)}"}
  end

  # The payload of an import is the JSON of its arguments, and so is what it is answered.
  def reply(answers, %Call{args: args}) when is_map(answers) do
    payload = Native.json_encode(args)

    with answer when answer != nil <- answers[payload],
         do: value(answer),
         else: (nil -> {:error, "the stub has no answer to the arguments #{payload}"})
  end

  def reply(answer, %Call{args: nil}), do: answer
  def reply(answer, _import), do: value(answer)

  defp value({:ok, json}) do
    case Native.json_decode(json) do
      {:ok, value} -> {:ok, value}
      {:error, _message} -> {:ok, json}
    end
  end

  defp value(error), do: error

  defp member({name, value}) do
    with {:ok, target} <- target(name), {:ok, answer} <- answer(name, value), do: {:ok, {target, answer}}
  end

  defp answer(name, %{"payloads" => answers} = object) when map_size(object) == 1 and is_map(answers) do
    collect(answers, fn {payload, value} ->
      with {:ok, result} <- result(name, value), do: {:ok, {payload, result}}
    end)
  end

  defp answer(name, value), do: result(name, value)

  defp result(_name, reply) when is_binary(reply), do: {:ok, {:ok, reply}}

  defp result(_name, %{"error" => text} = object) when map_size(object) == 1 and is_binary(text),
    do: {:ok, {:error, text}}

  defp result(name, %{"base64" => text} = object) when map_size(object) == 1 and is_binary(text) do
    case Base.decode64(text) do
      {:ok, bytes} -> {:ok, {:ok, bytes}}
      :error -> {:error, "the stub #{name} is not base64: #{inspect(text)}"}
    end
  end

  defp result(name, _value) do
    {:error, ~s(the stub #{name} has to be a string, {"error": …}, {"base64": …} or {"payloads": {…}})}
  end

  defp target(name) do
    case String.split(name, "/", parts: 3) do
      [binding, namespace, operation] -> {:ok, {binding, namespace, operation}}
      _other -> {:error, "a stub is for binding/namespace/operation, and not for #{inspect(name)}"}
    end
  end

  defp collect(members, make) do
    Enum.reduce_while(members, {:ok, %{}}, fn member, {:ok, made} ->
      case make.(member) do
        {:ok, {key, value}} -> {:cont, {:ok, Map.put(made, key, value)}}
        error -> {:halt, error}
      end
    end)
  end
end
