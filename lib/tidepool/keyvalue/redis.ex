defmodule Tidepool.Keyvalue.Redis do
  @moduledoc """
  Keys and values in a Redis, as `Tidepool.Keyvalue`: nodes that name the same one share them, and they stay as long as it keeps them.

      config :tidepool, keyvalue: "redis://:password@cache.internal:6379/0"

  `rediss://` is by TLS; the path is the number of a database. `{Tidepool.Keyvalue.Redis, url: url, prefix: "tide"}` has another prefix than
  `tidepool`. The server is Redis 5 or newer, or one that speaks as it does, alone: clusters of them are not known here.

  A bucket is two of the server's keys: the hash `{PREFIX:BUCKET}:values`, and the sorted set `{PREFIX:BUCKET}:keys`, by which keys are listed in
  their order. Both change in one step, by scripts. How much there may be is the server's to say (`maxmemory`).

  A server that is away is an error for the guest, at once where it refuses connections, and after a second where it says nothing to one; it is
  tried anew a moment later. One that is silent for the setting `keyvalue_timeout`, since its last byte, is left, and another connection made.
  What it says of an error is in the log, and the guest is told an id. A change whose answer has not come may have been made.
  Source of commands: <https://redis.io/docs/latest/commands/>.
  """

  @behaviour Tidepool.Keyvalue

  require Logger

  alias Tidepool.Keyvalue
  alias Tidepool.Keyvalue.Redis.{Address, Connection}
  alias Tidepool.Log.Budget
  alias Tidepool.Namespaces.Name

  @connections 4
  @defaults [prefix: "tidepool"]

  @too_large "TOOLARGE"
  @set "for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) " <>
         "redis.call('ZADD', KEYS[2], 0, ARGV[i]) end"
  @delete "for i = 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) redis.call('ZREM', KEYS[2], ARGV[i]) end"
  # What another program has put there may be larger than an answer may be.
  @get "local found, size = {}, 0 for i = 2, #ARGV do size = size + redis.call('HSTRLEN', KEYS[1], ARGV[i]) " <>
         "if size > tonumber(ARGV[1]) then return redis.error_reply('#{@too_large}') end " <>
         "found[i - 1] = redis.call('HGET', KEYS[1], ARGV[i]) end return found"
  # Numbers of scripts have 53 bits: the sum is read as text.
  @increment "redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2]) redis.call('ZADD', KEYS[2], 0, ARGV[1]) " <>
               "return redis.call('HGET', KEYS[1], ARGV[1])"
  # Keys of other programs may be longer than guests' are.
  @list "local found = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], '+', 'LIMIT', '0', ARGV[2]) local size = 0 " <>
          "for i = 1, #found do size = size + #found[i] end " <>
          "if size > tonumber(ARGV[3]) then return redis.error_reply('#{@too_large}') end return found"
  @swap "if redis.call('HSTRLEN', KEYS[1], ARGV[1]) > tonumber(ARGV[5]) then " <>
          "return redis.error_reply('#{@too_large}') end local found = redis.call('HGET', KEYS[1], ARGV[1]) local expected = false " <>
          "if ARGV[2] == '1' then expected = ARGV[3] end if found ~= expected then return {0, found} end " <>
          "redis.call('HSET', KEYS[1], ARGV[1], ARGV[4]) redis.call('ZADD', KEYS[2], 0, ARGV[1]) return {1}"

  @doc "Are these options of it?"
  @spec argument?(term) :: boolean
  def argument?(options) do
    Keyword.keyword?(options) and Keyword.keys(options) -- [:url, :prefix] == [] and
      match?({:ok, _address}, Address.read(options[:url])) and prefix?(Keyword.get(options, :prefix, "tidepool"))
  end

  defp prefix?(prefix), do: is_binary(prefix) and prefix =~ ~r/\A[A-Za-z0-9_.-]{1,64}\z/

  @impl true
  # They ask for the URL when they connect: it may have a password, and what processes are started with is in reports.
  def children(_options), do: for(number <- 1..@connections, do: {Connection, name(number)})

  defp name(number), do: Module.concat(Connection, "N#{number}")

  @impl true
  def get(bucket, key, options) do
    with {:ok, [value]} <- values(bucket, [key], Keyvalue.max_value_bytes(), options), do: {:ok, value}
  end

  @impl true
  def get_many(_bucket, [], _options), do: {:ok, []}
  def get_many(bucket, keys, options), do: values(bucket, keys, Keyvalue.max_batch_bytes(), options)

  defp values(bucket, keys, most, options) do
    script(@get, bucket, [Integer.to_string(most) | keys], options, &too_large(&1, most))
  end

  # Newer servers put a word before an error of a script's.
  defp too_large(text, most), do: if(text =~ @too_large, do: Keyvalue.too_large(most))

  @impl true
  def set(bucket, key, value, options), do: done(script(@set, bucket, [key, value], options))

  @impl true
  def set_many(_bucket, [], _options), do: :ok

  def set_many(bucket, pairs, options),
    do: done(script(@set, bucket, Enum.flat_map(pairs, &Tuple.to_list/1), options))

  @impl true
  def delete(bucket, key, options), do: delete_many(bucket, [key], options)

  @impl true
  def delete_many(_bucket, [], _options), do: :ok
  def delete_many(bucket, keys, options), do: done(script(@delete, bucket, keys, options))

  @impl true
  def exists(bucket, key, options) do
    with {:ok, there} <- command(bucket, ["HEXISTS", hash(bucket, options), key]), do: {:ok, there == 1}
  end

  @impl true
  def list_keys(bucket, from, limit, options) do
    least = if from, do: "(" <> from, else: "-"
    most = Keyvalue.max_batch_bytes()
    page = [least, Integer.to_string(limit + 1), Integer.to_string(most)]

    with {:ok, keys} <- script(@list, bucket, page, options, &too_large(&1, most)),
         do: {:ok, Enum.take(keys, limit), length(keys) > limit}
  end

  @impl true
  def increment(bucket, key, delta, options) do
    with {:ok, sum} <- script(@increment, bucket, [key, Integer.to_string(delta)], options, &sum_error/1),
         do: {:ok, String.to_integer(sum)}
  end

  # Words of the server's.
  defp sum_error(text) do
    cond do
      text =~ "not an integer" -> Keyvalue.no_number()
      text =~ "overflow" -> Keyvalue.no_sum()
      true -> nil
    end
  end

  @impl true
  def swap(bucket, key, expected, value, options) do
    most = Keyvalue.max_value_bytes()
    words = [key, if(expected, do: "1", else: "0"), expected || "", value, Integer.to_string(most)]

    case script(@swap, bucket, words, options, &too_large(&1, most)) do
      {:ok, [1]} -> :ok
      {:ok, [0, found]} -> {:changed, found}
      error -> error
    end
  end

  defp done({:ok, _nothing}), do: :ok
  defp done(error), do: error

  # `known` has a sentence for errors that guests may know of.
  defp script(text, bucket, arguments, options, known \\ fn _text -> nil end),
    do: command(bucket, ["EVAL", text, "2", hash(bucket, options), set(bucket, options) | arguments], known)

  defp hash(bucket, options), do: place(bucket, options) <> ":values"
  defp set(bucket, options), do: place(bucket, options) <> ":keys"

  # In braces: on servers that share keys both are on one.
  defp place(bucket, options), do: "{#{Keyword.merge(@defaults, options)[:prefix]}:#{bucket}}"

  defp command(bucket, words, known \\ fn _text -> nil end) do
    connection = name(:erlang.phash2(self(), @connections) + 1)

    with {:refused, text} <- Connection.command(connection, Name.of(bucket), words),
         do: {:error, known.(text) || logged(bucket, text)}
  end

  # It may have addresses and names of the host's. Guests that meet it again and again, by however many buckets, fill no log.
  defp logged(bucket, text) do
    told =
      Budget.under_id({:keyvalue, Name.of(bucket)}, fn id, left_out ->
        before = if left_out > 0, do: " (#{left_out} more before this were not logged)", else: ""
        asked = "the Redis of the setting `keyvalue` refuses what the bucket #{bucket} is asked for (id #{id})"
        Logger.error("#{asked}: #{inspect(text)}#{before}")
      end)

    "the store has refused it (#{told})"
  end
end
