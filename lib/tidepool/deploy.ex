defmodule Tidepool.Deploy do
  @moduledoc """
  A deploy, step by step: options → size → compile → start → store. A module that fails one changes nothing.

  Errors carry the step in `details.step`: `:options`, `:size`, `:compile`, `:start` or `:store`.
  """

  alias Tidepool.{BlobStore, Catalog, Config, Error, Function, Limits, Loader, Options}
  alias Tidepool.Catalog.Entry

  @max_name_bytes 128

  @doc "The schema of a deploy's options, with this node's defaults."
  @spec schema :: Options.schema()
  def schema do
    [
      name: [
        type:
          {:check, &valid_name?/1, "a name of 1 to #{@max_name_bytes} letters, digits, dots, dashes or underscores"},
        doc: "the function's name."
      ],
      operation: [type: :string, default: nil, doc: "what a call without an operation means; `nil` is the name."],
      instances: [
        type: {:check, &Config.instances?/1, ":fresh or {:warm, max_idle} with max_idle from 1 to 16000"},
        default: Config.get(:instances),
        doc: "a new instance for each call, or a pool of up to `max_idle` idle ones."
      ],
      limits: [type: {:keyword, Limits.schema(Config.get(:limits))}, default: [], doc: "see `Tidepool.Limits`."]
    ]
  end

  @doc "Deploys `wasm`. `:unchanged` says that the newest version is the same module with the same options."
  @spec run(binary, keyword) :: {:ok, Function.t(), :created | :unchanged} | {:error, Error.t()}
  def run(wasm, options) do
    with {:ok, options} <- step(:options, options[:name], Options.check(options, schema(), "the option")),
         :ok <- step(:size, options.name, check_size(byte_size(wasm))),
         entry = entry(wasm, options),
         {:version, version} <- Catalog.prepare(entry),
         entry = %{entry | version: version},
         {:ok, loaded} <- step(:compile, entry.name, Loader.compile(wasm)),
         {:ok, function} <- step(:compile, entry.name, Loader.function(loaded, entry)),
         :ok <- step(:start, entry.name, Loader.try_start(function, entry)) do
      step(:store, entry.name, Catalog.commit(entry, loaded, wasm))
    else
      {:unchanged, function} -> {:ok, function, :unchanged}
      {:error, error} -> {:error, error}
    end
  end

  @doc """
  Can a function have this name? It is used in URLs, file names and metrics.

      iex> Enum.map(["hello_world", "a.b-c", "", "a/b", "..", "é"], &Tidepool.Deploy.valid_name?/1)
      [true, true, false, false, false, false]
  """
  @spec valid_name?(term) :: boolean
  def valid_name?(name) do
    is_binary(name) and byte_size(name) <= @max_name_bytes and name =~ ~r/\A[A-Za-z0-9_][A-Za-z0-9_.-]*\z/
  end

  defp entry(wasm, options) do
    %Entry{
      name: options.name,
      version: 1,
      sha256: BlobStore.sha256(wasm),
      size: byte_size(wasm),
      operation: options.operation || options.name,
      instances: options.instances,
      limits: options.limits,
      deployed_at: System.os_time(:second)
    }
  end

  defp check_size(size) do
    allowed = Config.get(:max_module)

    if size <= allowed do
      :ok
    else
      message = "the module has #{size} bytes, more than the #{allowed} allowed (setting :max_module)"
      {:error, Error.new(:too_large, message, nil, %{allowed: allowed, unit: "bytes"})}
    end
  end

  defp step(step, name, {:error, error}) do
    name = if is_binary(name), do: name
    {:error, %{error | function: error.function || name, details: Map.put(error.details, :step, step)}}
  end

  defp step(_step, _name, ok), do: ok
end
