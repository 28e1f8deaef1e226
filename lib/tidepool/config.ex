defmodule Tidepool.Config do
  @moduledoc """
  The node's settings: `config :tidepool, …`, read and checked once (`Tidepool.Config.Schema`), when the application starts.
  """

  @type t :: map

  @stops {__MODULE__, :stops}

  @doc """
  The seeds as a list of names.

      iex> Tidepool.Config.seeds("a@10.0.0.1, b@10.0.0.2")
      ["a@10.0.0.1", "b@10.0.0.2"]
      iex> Tidepool.Config.seeds([:"a@10.0.0.1"])
      ["a@10.0.0.1"]
  """
  @spec seeds(String.t() | [atom | String.t()]) :: [String.t()]
  def seeds(value), do: value |> words() |> Enum.map(&to_string/1)

  @doc """
  The words of a setting that is a list, or a string with commas: `hosts`, `proxies`, `net`.

      iex> Tidepool.Config.words("tide.example, tide.internal")
      ["tide.example", "tide.internal"]
  """
  @spec words(String.t() | [word]) :: [String.t() | word] when word: term
  def words(text) when is_binary(text), do: text |> String.split(",", trim: true) |> Enum.map(&String.trim/1)
  def words(list) when is_list(list), do: list

  @doc """
  Can a node have this name?

      iex> Enum.map(["a@127.0.0.1", "tide-1@host.example", "a", "a@b@c", "a@b c"], &Tidepool.Config.node_name?/1)
      [true, true, false, false, false]
  """
  @spec node_name?(term) :: boolean
  def node_name?(name), do: is_binary(name) and byte_size(name) <= 255 and name =~ ~r/\A[\w.-]+@[\w.:-]+\z/

  @doc "Does the node's edge take changes from anybody who reaches it?"
  @spec open?(t) :: boolean
  def open?(config), do: config.server and config.token == nil

  @doc "Makes `config` the one that `get/1` reads, of a node that starts."
  @spec put(t) :: :ok
  def put(config) do
    :persistent_term.erase(@stops)
    :persistent_term.put(__MODULE__, config)
  end

  @doc "Notes that the node stops."
  @spec stop :: :ok
  def stop, do: :persistent_term.put(@stops, true)

  @doc "Does the node stop, or has it stopped since it was started last? What it keeps in processes is not coming back then."
  @spec stops? :: boolean
  def stops?, do: :persistent_term.get(@stops, false)

  @doc """
  One setting of the running node.

  Raises `ArgumentError` for a setting that there is not, and when Tidepool has not been started.
  """
  @spec get(atom) :: term
  def get(key) do
    case :persistent_term.get(__MODULE__, nil) do
      %{^key => value} -> value
      # Not a KeyError, which would show the settings, the token among them.
      %{} = config -> raise ArgumentError, "the setting #{inspect(key)} is unknown: #{hint(key, Map.keys(config))}"
      nil -> raise ArgumentError, "Tidepool has not been started: Application.ensure_all_started(:tidepool) does so"
    end
  end

  defp hint(key, known) when is_atom(key), do: Tidepool.Options.hint(key, known)
  defp hint(_key, _known), do: "settings are atoms"
end
