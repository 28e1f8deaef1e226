defmodule Tidepool.Namespaces.Setting do
  @quotas [
    instances: [
      type: {:integer, 1, 1_000_000},
      default: nil,
      doc:
        "most live instances on both engines, idle warm ones and awake actors included, and composed components as " <>
          "what they count as. Further calls wait."
    ],
    queue: [
      type: {:integer, 0, 1_000_000},
      default: 100,
      doc: "most calls that wait for one of `instances`; further ones are refused."
    ],
    memory: [
      type: {:integer, 65_536, 17_592_186_044_416},
      default: nil,
      doc: "most linear memory of all live instances together, in bytes."
    ],
    calls_per_second: [
      type: {:integer, 1, 1_000_000},
      default: nil,
      doc:
        "most calls that begin within a second; those of guests and of actors, and starts of programs, are calls, too."
    ],
    modules: [type: {:integer, 0, 1_000_000}, default: nil, doc: "most functions that are deployed."],
    module_bytes: [
      type: {:integer, 0, 17_592_186_044_416},
      default: nil,
      doc: "most bytes of the modules of functions; of versions before those are kept that have room."
    ],
    actors: [type: {:integer, 0, 1_000_000_000}, default: nil, doc: "most actors, awake and asleep."],
    disk: [
      type: {:integer, 0, 17_592_186_044_416},
      default: nil,
      doc: "most bytes that are kept of actors: their images, values and answers."
    ]
  ]

  @deploys [
    host: [
      type: {:one_of, [:all, :none]},
      default: nil,
      doc:
        "which host functions a function may ask for unless its deploy says so, in place of the node's setting `host`."
    ],
    limits: [
      type: {:keyword, Tidepool.Limits.part()},
      default: [],
      doc: "limits of functions whose deploys don't say them, in place of those of the node."
    ],
    max_limits: [
      type: {:keyword, Tidepool.Limits.part()},
      default: [],
      doc:
        "the highest limits that a deploy may say, and that a default may have. With a quota `memory` the limits `memory`, `payload` " <>
          "and `reply` are that at most, and `table` as many elements as that holds, of 8 bytes each."
    ]
  ]

  @settings @quotas ++ @deploys

  @moduledoc """
  The setting `namespaces`: what is set for which namespace, as a map or as text, checked.

  ## Quotas

  #{Tidepool.Options.docs(@quotas)}

  ## Deploys

  #{Tidepool.Options.docs(@deploys)}
  """

  alias Tidepool.Namespaces.Name
  alias Tidepool.Options

  @typedoc "What is set for a namespace; `nil` where nothing is."
  @type t :: %{
          instances: pos_integer | nil,
          queue: non_neg_integer,
          memory: pos_integer | nil,
          calls_per_second: pos_integer | nil,
          modules: non_neg_integer | nil,
          module_bytes: non_neg_integer | nil,
          actors: non_neg_integer | nil,
          disk: non_neg_integer | nil,
          host: :all | :none | nil,
          limits: %{optional(atom) => non_neg_integer},
          max_limits: %{optional(atom) => non_neg_integer}
        }

  @doc "The schema of what may be set for a namespace."
  @spec schema :: Options.schema()
  def schema, do: @settings

  @doc "What the setting `namespaces` has to be."
  @spec expectation :: String.t()
  def expectation do
    "a map of namespaces, or a string such as \"shop/instances=200\", with any of " <>
      Enum.map_join(@settings, ", ", fn {key, _spec} -> "#{key}" end)
  end

  @doc "Can the setting be this?"
  @spec valid?(term) :: boolean
  def valid?(setting), do: match?({:ok, _settings}, parse(setting))

  @doc """
  What is set, by namespace.

      iex> shop = Tidepool.Namespaces.Setting.read("shop/instances=2,shop/max_limits.time=500")["shop"]
      iex> {shop.instances, shop.queue, shop.memory, shop.max_limits}
      {2, 100, nil, %{time: 500}}
  """
  @spec read(term) :: %{String.t() => t}
  def read(setting) do
    {:ok, settings} = parse(setting)
    settings
  end

  defp parse(text) when is_binary(text) do
    text
    |> String.split(",", trim: true)
    |> Enum.map(&String.trim/1)
    |> Enum.reduce_while({:ok, %{}}, &word/2)
    |> checked()
  end

  defp parse(%{} = setting), do: checked({:ok, setting})
  defp parse(_other), do: :error

  defp word(word, {:ok, read}) do
    with [namespace, setting] <- String.split(word, "/"),
         [name, text] <- String.split(setting, "="),
         {:ok, path, type} <- path(String.split(name, "."), @settings),
         {:ok, value} <- Options.read(text, type),
         given = Map.get(read, namespace, %{}),
         nil <- get_in(given, path) do
      {:cont, {:ok, Map.put(read, namespace, put_in(given, Enum.map(path, &Access.key(&1, %{})), value))}}
    else
      _other -> {:halt, :error}
    end
  end

  defp path([name | within], schema) do
    with {key, spec} <- Enum.find(schema, fn {key, _spec} -> Atom.to_string(key) == name end) do
      case {spec[:type], within} do
        {{:keyword, within_schema}, [_one]} ->
          with {:ok, path, type} <- path(within, within_schema), do: {:ok, [key | path], type}

        {{:keyword, _schema}, _within} ->
          :error

        {type, []} ->
          {:ok, [key], type}

        _more ->
          :error
      end
    end
  end

  defp checked(:error), do: :error

  defp checked({:ok, setting}) do
    Enum.reduce_while(setting, {:ok, %{}}, fn {namespace, given}, {:ok, read} ->
      with true <- Name.valid?(namespace),
           {:ok, given} <- given |> listed() |> Options.check(@settings, "the setting") do
        said = &Map.reject(&1, fn {_limit, value} -> value == nil end)
        most = Map.merge(within(given.memory), said.(given.max_limits), fn _limit, a, b -> min(a, b) end)
        {:cont, {:ok, Map.put(read, namespace, %{given | limits: said.(given.limits), max_limits: most})}}
      else
        _other -> {:halt, :error}
      end
    end)
  end

  # What an instance may have is no more than what all of them may have together. Messages on their way, trials and what runs for a
  # snapshot are held by limits alone.
  defp within(nil), do: %{}
  defp within(memory), do: Map.new([memory: memory, payload: memory, reply: memory, table: div(memory, 8)], &highest/1)

  defp highest({limit, most}) do
    {:integer, _least, highest} = Tidepool.Limits.schema()[limit][:type]
    {limit, min(most, highest)}
  end

  defp listed(%{} = given), do: Map.to_list(given)
  defp listed(given), do: given
end
