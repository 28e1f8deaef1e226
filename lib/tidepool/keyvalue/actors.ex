defmodule Tidepool.Keyvalue.Actors do
  @moduledoc """
  Keys and values where actors are, as `Tidepool.Keyvalue`: in the node's data folder, or in the store that the nodes of
  a cluster share, which is a PostgreSQL database or their own disks. What was answered is on disk.

      config :tidepool, keyvalue: :actors

  A bucket is an actor without a guest (`Tidepool.Actor.Bucket`): one process of one node has it, and does one request after the other. With
  the quotas `actors` and `disk` of its namespace it is one of its actors. It moves with its shard, and is in a backup of actors as they are. In a
  cluster that has no shared store there are none: a guest is told an id, under which the log says why.

  What a bucket has read or written lately is in the memory of its node, where whoever asks for it there reads it without a message to the
  bucket's process (`Tidepool.Actor.Activation.ReadCache`).

  `{Tidepool.Keyvalue.Actors, max_bucket_bytes: 1_073_741_824}` says how large a bucket may be (256 MiB), where an entry counts with its key, its
  value and 128 bytes.
  """

  @behaviour Tidepool.Keyvalue

  alias Tidepool.{Actor, Config, Error, Keyvalue}
  alias Tidepool.Actor.Bucket
  alias Tidepool.Error.Reason
  alias Tidepool.Namespaces.Name

  @defaults %{max_bucket_bytes: 268_435_456}
  @unknown :unknown_actor
  # Keys that are removed at once.
  @page 1_000
  # What is encoded of more bytes is not left on the heap of a process that waits.
  @left_bytes 65_536

  @doc "Are these options of it?"
  @spec argument?(term) :: boolean
  def argument?(options), do: Keyvalue.bounds?(options, @defaults)

  @doc "The buckets of a namespace, by their names, with what their entries count, as far as that is on disk; `:damaged` where it can't be read."
  @spec buckets(namespace :: String.t() | nil) ::
          {:ok, %{String.t() => non_neg_integer | :damaged}} | {:error, Error.t()}
  def buckets(namespace \\ nil), do: namespace |> Bucket.class() |> Actor.buckets()

  @doc "Removes a bucket, such as `shop/visits`, with all its entries, be it damaged."
  @spec clear(Keyvalue.bucket()) :: :ok | {:error, Error.t()}
  def clear(bucket) do
    emptied(bucket)
    {class, name} = place(bucket)
    with {:error, %Error{reason: @unknown}} <- Actor.delete_bucket(class, name), do: :ok
  end

  # In pieces, for as long as it can be read: others write meanwhile.
  defp emptied(bucket) do
    with {:ok, [_one | _more] = keys, _more?} <- ask(bucket, {:list, nil, @page}, false, []),
         :ok <- ask(bucket, {:put, Enum.map(keys, &{&1, nil}), 0}, false, []),
         do: emptied(bucket)
  end

  @impl Keyvalue
  def get(bucket, key, options) do
    with :none <- known(bucket, key),
         {:ok, [value]} <- get_many(bucket, [key], options),
         do: {:ok, value}
  end

  @doc "What is under a key, where that is in memory here: that asks no process, and does not fail. `:none` says that the bucket is to be asked."
  @spec known(Keyvalue.bucket(), Keyvalue.key()) :: {:ok, binary | nil} | :none
  def known(bucket, key) do
    {class, name} = place(bucket)
    Actor.read_bucket(class, name, key)
  end

  @doc "Options by which no other node is asked: what is asked of a bucket that another node has is `:elsewhere`, and has done nothing."
  @spec here(keyword) :: keyword
  def here(options), do: Keyword.put(options, :here, true)

  @impl Keyvalue
  def get_many(bucket, keys, options) do
    most = Keyvalue.max_batch_bytes()

    with :too_large <- read(bucket, {:get, keys, most}, {:ok, Enum.map(keys, fn _key -> nil end)}, options),
         do: {:error, Keyvalue.too_large(most)}
  end

  @impl Keyvalue
  def exists(bucket, key, options) do
    with :none <- known(bucket, key),
         do: read(bucket, {:exists, key}, {:ok, false}, options),
         else: ({:ok, value} -> {:ok, value != nil})
  end

  @impl Keyvalue
  def list_keys(bucket, from, limit, options), do: read(bucket, {:list, from, limit}, {:ok, [], false}, options)

  @impl Keyvalue
  def set(bucket, key, value, options), do: set_many(bucket, [{key, value}], options)

  @impl Keyvalue
  def set_many(_bucket, [], _options), do: :ok
  def set_many(bucket, pairs, options), do: change(bucket, &{:put, pairs, &1}, options)

  @impl Keyvalue
  def delete(bucket, key, options), do: delete_many(bucket, [key], options)

  @impl Keyvalue
  def delete_many(bucket, keys, options),
    do: read(bucket, {:put, Enum.map(keys, &{&1, nil}), max_bucket_bytes(options)}, :ok, options)

  # Another may have added meanwhile: few of them can, for a namespace has few requests under way.
  @impl Keyvalue
  def increment(bucket, key, delta, options) do
    with {:ok, before} <- get(bucket, key, options), do: increment_from(before, bucket, key, delta, options)
  end

  defp increment_from(before, bucket, key, delta, options) do
    with {:ok, sum} <- Keyvalue.add(before, delta) do
      case swap(bucket, key, before, Integer.to_string(sum), options) do
        :ok -> {:ok, sum}
        {:changed, other} -> increment_from(other, bucket, key, delta, options)
        error -> error
      end
    end
  end

  @impl Keyvalue
  def swap(bucket, key, nil, value, options), do: change(bucket, &{:swap, key, nil, value, &1}, options)

  def swap(bucket, key, expected, value, options) do
    question = {:swap, key, expected, value, max_bucket_bytes(options)}
    bucket |> read(question, {:changed, nil}, options) |> room(options)
  end

  defp change(bucket, question, options),
    do: bucket |> ask(question.(max_bucket_bytes(options)), true, options) |> told() |> room(options)

  # Of a bucket that there is not, and that is not made for it, the answer is `none`.
  defp read(bucket, question, none, options) do
    with {:error, %Error{reason: @unknown}} <- ask(bucket, question, false, options),
         do: none,
         else: (answer -> told(answer))
  end

  # What is the host's own is for the log.
  defp told({:error, %Error{reason: reason, message: message} = error}),
    do: if(Reason.is?(reason, :private), do: raise(error), else: {:error, message})

  defp told(answer), do: answer

  defp room(:full, options),
    do: {:error, "the bucket would have more than the #{max_bucket_bytes(options)} bytes that it may have"}

  defp room(answer, _options), do: answer

  defp ask(bucket, question, create, options) do
    {answer, bytes} = asked(bucket, question, create, Keyword.get(options, :here, false))
    if bytes > @left_bytes, do: :erlang.garbage_collect()
    answer
  end

  # Encoded bytes, and how many there were of them, which are garbage when it returns.
  defp asked(bucket, question, create, here?) do
    {class, name} = place(bucket)
    question = :erlang.term_to_binary(question)

    case Actor.ask_bucket(class, name, question, Config.get(:keyvalue_timeout), create, here?) do
      {:ok, answer} -> {:erlang.binary_to_term(answer, [:safe]), byte_size(question) + byte_size(answer)}
      {:elsewhere, _place} -> {:elsewhere, byte_size(question)}
      error -> {error, byte_size(question)}
    end
  end

  defp max_bucket_bytes(options), do: Keyword.get(options, :max_bucket_bytes, @defaults.max_bucket_bytes)

  defp place(bucket) do
    case Name.parts(bucket) do
      [namespace, name] -> {Bucket.class(namespace), name}
      [name] -> {Bucket.class(nil), name}
    end
  end
end
