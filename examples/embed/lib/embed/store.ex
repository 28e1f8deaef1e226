defmodule Embed.Store do
  @moduledoc """
  Keys and values, for the application and for its guests.

  A guest's host call to `host`/`redis`/`GET` arrives as a message, like any other; its payload is the key. Whoever has
  the `ref` may answer, here or in another process. A guest gets an error for a key that is not there, and also when this
  process dies or stays silent.
  """

  use GenServer

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Sets the value of a key."
  @spec put(String.t(), String.t()) :: :ok
  def put(key, value), do: GenServer.call(__MODULE__, {:put, key, value})

  @impl true
  def init(nil) do
    Tidepool.Host.register({"host", "redis", "GET"}, __MODULE__)
    {:ok, %{}}
  end

  @impl true
  def handle_call({:put, key, value}, _from, values), do: {:reply, :ok, Map.put(values, key, value)}

  @impl true
  def handle_info({:invoke_callback, "host", "redis", "GET", key, ref}, values) do
    result =
      case values do
        %{^key => value} -> {:ok, value}
        _other -> {:error, "no such key: #{key}"}
      end

    Tidepool.Host.reply(ref, result)
    {:noreply, values}
  end
end
