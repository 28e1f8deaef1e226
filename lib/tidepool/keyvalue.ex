defmodule Tidepool.Keyvalue do
  @moduledoc """
  Where components keep what they set by `wasi:keyvalue`: a module of the host's. The node's setting `keyvalue` names it, and the
  option `keyvalue` of a deploy the buckets that a function may open.

  Three come along: `Tidepool.Keyvalue.Memory`, tables of the node, `Tidepool.Keyvalue.Actors`, where actors are, and `Tidepool.Keyvalue.Redis`, a server that
  nodes share. Another one is a module of this behaviour:

      config :tidepool, keyvalue: {MyApp.Store, repo: MyApp.Repo}

      defmodule MyApp.Store do
        @behaviour Tidepool.Keyvalue

        @impl true
        def get(bucket, key, argument), do: {:ok, argument[:repo].value(bucket, key)}
        …
      end

  ## Buckets

  A bucket is a namespace's: `sessions` of the function `shop/checkout` is the bucket `shop/sessions`, and functions without a namespace
  share `sessions`. So functions of one namespace share what their deploys grant them, and no other sees it. Names of buckets
  have no slash of their own.

  ## What a callback may rely on, and what not

  Keys are text of at most 1,024 bytes, values at most 1 MiB; one request has at most 1,000 keys and 4 MiB of values. What a store
  answers is held to the same.

  Each request to a module of yours runs in a process of its own, which ends with the guest's call, and after the setting `keyvalue_timeout` in any case: then
  the guest has the error `other`, with a sentence, and so when a callback answers `{:error, text}`. One that fails, or answers
  what it should not, is logged, and the guest is told an id, as of handlers of host functions (`Tidepool.Host`). Requests of
  many guests run at the same time: what has to be done as one, `c:increment/4` and `c:swap/5`, is the store's to do as one.

  The last argument of all callbacks is what the setting has beside the module; `nil` where that is a module alone.
  """

  @typedoc "A bucket's name, behind its namespace and a slash where it has one."
  @type bucket :: String.t()

  @type key :: String.t()
  @type argument :: term

  @typedoc "A sentence for the guest."
  @type error :: {:error, String.t()}

  @doc "What is under a key; `nil` is nothing."
  @callback get(bucket, key, argument) :: {:ok, binary | nil} | error

  @doc "Puts a value under a key, in place of what is there."
  @callback set(bucket, key, value :: binary, argument) :: :ok | error

  @doc "Removes a key, if it is there."
  @callback delete(bucket, key, argument) :: :ok | error

  @doc """
  At most so many keys, in the order of their bytes, that come after one, or the first ones; and whether there are more.

  Keys that no guest could ask for, which are no text or longer than its keys, are left out of what it is told. The next ones are asked
  for behind them, so `after_key` may be such a key, if the store has some.
  """
  @callback list_keys(bucket, after_key :: binary | nil, limit :: pos_integer, argument) ::
              {:ok, [binary], more? :: boolean} | error

  @doc """
  Adds to the number under a key, which is decimal text, and fits into 64 bits with its sign: the sum. A key that is not there is 0
  before.
  """
  @callback increment(bucket, key, delta :: integer, argument) :: {:ok, integer} | error

  @doc "Puts a value under a key if what is there is `expected`, and says otherwise what is there."
  @callback swap(bucket, key, expected :: binary | nil, value :: binary, argument) ::
              :ok | {:changed, binary | nil} | error

  @doc "Is a key there?"
  @callback exists(bucket, key, argument) :: {:ok, boolean} | error

  @doc "What is under several keys, in their order."
  @callback get_many(bucket, [key], argument) :: {:ok, [binary | nil]} | error

  @doc "Sets several. When one fails, others may be set."
  @callback set_many(bucket, [{key, value :: binary}], argument) :: :ok | error

  @doc "Removes several. When one fails, others may be removed."
  @callback delete_many(bucket, [key], argument) :: :ok | error

  @doc "Processes that the store needs, which the node starts and ends."
  @callback children(argument) :: [Supervisor.child_spec() | {module, term} | module]

  @optional_callbacks exists: 3, get_many: 3, set_many: 3, delete_many: 3, children: 1

  @doc "Longest value, in bytes."
  @spec max_value_bytes :: pos_integer
  def max_value_bytes, do: 1_048_576

  @doc "Most bytes of values that one answer has."
  @spec max_batch_bytes :: pos_integer
  def max_batch_bytes, do: 4_194_304

  @doc """
  Are these options bounds, each a whole number above 0, of those that a store has by default?

      iex> defaults = %{max_bytes: 1_000}
      iex> Enum.map([[], [max_bytes: 1], [max_bytes: 0], [most: 1], "max_bytes"], &Tidepool.Keyvalue.bounds?(&1, defaults))
      [true, true, false, false, false]
  """
  @spec bounds?(options :: term, defaults :: %{atom => term}) :: boolean
  def bounds?(options, defaults) do
    Keyword.keyword?(options) and
      Enum.all?(options, fn {key, value} -> is_map_key(defaults, key) and is_integer(value) and value > 0 end)
  end

  # As Redis has numbers: one text for each. Longer ones are not read, which would take seconds for a value of digits.
  @numbers -0x8000_0000_0000_0000..0x7FFF_FFFF_FFFF_FFFF
  @most_digits 20

  @doc """
  The sum of the number that a value is, and another; of 0, where there is no value.

      iex> Enum.map([nil, "41", "041", "9223372036854775807"], &Tidepool.Keyvalue.add(&1, 1))
      [
        {:ok, 1},
        {:ok, 42},
        {:error, "what is under this key is no number: it has to be decimal text of 64 bits"},
        {:error, "the sum does not fit into 64 bits"}
      ]
  """
  @spec add(binary | nil, integer) :: {:ok, integer} | error
  def add(value, delta) do
    with {:ok, number} <- number(value) do
      if (number + delta) in @numbers, do: {:ok, number + delta}, else: {:error, no_sum()}
    end
  end

  defp number(nil), do: {:ok, 0}

  defp number(text) when byte_size(text) <= @most_digits do
    with {number, ""} <- Integer.parse(text), true <- number in @numbers and Integer.to_string(number) == text do
      {:ok, number}
    else
      _other -> {:error, no_number()}
    end
  end

  defp number(_long), do: {:error, no_number()}

  @doc "What a guest is told of a value that is no number."
  @spec no_number :: String.t()
  def no_number, do: "what is under this key is no number: it has to be decimal text of 64 bits"

  @doc "What a guest is told of a sum that is too large, or too small."
  @spec no_sum :: String.t()
  def no_sum, do: "the sum does not fit into 64 bits"

  @doc "What a guest is told of values that are too many bytes together."
  @spec too_large(most :: pos_integer) :: String.t()
  def too_large(most), do: "what is there has more than the #{most} bytes that one answer may have"
end
