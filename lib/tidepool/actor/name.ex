defmodule Tidepool.Actor.Name do
  @moduledoc "What an actor can be called."

  alias Tidepool.{Error, Options}
  alias Tidepool.Actor.Bucket
  alias Tidepool.Function.Spec

  @most_bytes 512

  @doc "Can an actor have this name?"
  @spec valid?(term) :: boolean
  def valid?(name), do: is_binary(name) and byte_size(name) in 1..@most_bytes and Options.line?(name)

  @doc "Can there be an actor of this name, in a class of this one?"
  @spec check(class :: term, name :: term) :: :ok | {:error, Error.t()}
  def check(class, name) do
    cond do
      not (Spec.name?(class) or Bucket.class?(class)) ->
        {:error, Error.new(:not_deployed, "no function is deployed as #{Options.show(class)}")}

      valid?(name) ->
        :ok

      true ->
        message =
          "an actor's name has 1 to #{@most_bytes} bytes of UTF-8 without control characters, unlike #{Options.show(name)}"

        {:error, Error.new(:invalid_option, message, class)}
    end
  end
end
