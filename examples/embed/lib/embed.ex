defmodule Embed do
  @moduledoc """
  A small application with WebAssembly functions inside: one that only computes, and one that asks the application for
  data while it runs.

      iex> Embed.greet("Ada")
      {:ok, "Hello, Ada!"}

      iex> Embed.Store.put("some_key1", "tide")
      iex> Embed.Store.put("some_key2", "-")
      iex> Embed.Store.put("some_key3", "pool")
      iex> Embed.concat()
      {:ok, "tide-pool"}
  """

  @doc "Greets somebody by name."
  @spec greet(String.t()) :: {:ok, String.t()} | {:error, Tidepool.Error.t()}
  def greet(name), do: Tidepool.call("hello_world", "hello", name)

  @doc "What the store has under three keys, put together by a guest that asks for each."
  @spec concat :: {:ok, String.t()} | {:error, Tidepool.Error.t()}
  def concat, do: Tidepool.call("redis_concat", nil)
end
