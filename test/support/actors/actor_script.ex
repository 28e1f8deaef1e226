defmodule Tidepool.ActorScript do
  @moduledoc "Host calls for the operation `host` of the guest ledger, in the formats of docs/actors.md."

  @doc "A host call."
  def ask(namespace, operation, payload),
    do: IO.iodata_to_binary(["#{namespace} #{operation} #{IO.iodata_length(payload)}\n", payload])

  def get(key), do: ask("kv", "get", key)
  def put(key, value), do: ask("kv", "put", [<<byte_size(key)::little-16>>, key, value])
  def delete(key), do: ask("kv", "delete", key)

  def list(prefix, after_key, limit) do
    texts = for text <- [prefix, after_key], do: [<<byte_size(text)::little-16>>, text]
    ask("kv", "list", [texts, <<limit::little-32>>])
  end

  @doc "The end of a script: an operation."
  def then_do(operation, payload), do: "#{operation}\n#{payload}"

  @doc "What `list` is answered."
  def read_list(<<a::little-16, key::binary-size(a), b::little-32, value::binary-size(b), rest::binary>>),
    do: [{key, value} | read_list(rest)]

  def read_list(""), do: []
end
