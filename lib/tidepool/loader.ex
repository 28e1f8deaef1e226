defmodule Tidepool.Loader do
  @moduledoc """
  From a module's bytes to a function that can be called, by way of the native library.
  """

  alias Tidepool.{Engine, Error, Execution, Native}
  alias Tidepool.Catalog.Entry

  @typedoc "A compiled module and what it says of itself."
  @type t :: %{module: Native.module_ref(), abi: :wapc | :wasi, imports: [String.t()], compile_us: non_neg_integer}

  @doc "Checks and compiles a module, on a dirty scheduler. Errors name what refused it."
  @spec compile(binary) :: {:ok, t} | {:error, Error.t()}
  def compile(wasm) do
    case Native.compile(Engine.runtime(), wasm) do
      {:ok, module, facts} -> {:ok, Map.put(facts, :module, module)}
      {:error, reason, message, details} -> {:error, Error.new(reason, message, nil, details)}
    end
  end

  @doc "Makes a function of a compiled module."
  @spec function(t, Entry.t()) :: {:ok, Native.function_ref()} | {:error, Error.t()}
  def function(loaded, entry) do
    config = Map.take(entry, [:name, :version, :instances, :limits])

    case Native.new_function(loaded.module, config) do
      {:ok, function} -> {:ok, function}
      {:error, reason, message, details} -> {:error, Error.new(reason, message, entry.name, details)}
    end
  end

  @doc "Makes one instance and drops it again: start functions have to come through."
  @spec try_start(Native.function_ref(), Entry.t()) :: :ok | {:error, Error.t()}
  def try_start(function, entry) do
    with {:ok, _empty} <- Execution.trial(function, entry.name), do: :ok
  end
end
