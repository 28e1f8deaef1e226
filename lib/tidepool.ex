defmodule Tidepool do
  @moduledoc """
  WebAssembly functions as ordinary calls of the Erlang VM.

      {:ok, function} = Tidepool.deploy(File.read!("hello_world.wasm"), name: "hello_world")
      {:ok, "Hello, Ada!"} = Tidepool.call("hello_world", "hello", "Ada")

  A call runs in the process that makes it, a millisecond at a time, and ends with it. Every call gets an answer: a
  reply, or a `Tidepool.Error` whose `:reason` says what happened.
  """

  alias Tidepool.{Catalog, Deploy, Error, Execution, Function}

  @doc """
  Deploys a module: it is checked, compiled, started once on trial and stored; then it is the newest version of its name.

  Calls in flight finish on the version before. The same bytes with the same options again change nothing.

  ## Options

  - `:name` (required): letters, digits, `_`, `-` and `.`, 128 at most.
  - `:operation`: what a call without one means. Default: the name.
  - `:instances`: `:fresh` (a new instance for each call) or `{:warm, n}` (a pool of up to `n` idle ones, which keep
    their memory from call to call).
  - `:engine`: `:fast`, or `:dense` for functions of which very many instances live at once: up to 100,000 and more where
    `:fast` ends at some thousands, at the price of bounds checks (memory access 1.3 to 1.6 times slower).
  - `:snapshot`: `false` runs start functions in each instance instead of once at the deploy.
  - `:limits`: see `Tidepool.Limits`.
  - `:wait`: `:local`, `:majority` or `:all` of the nodes that can be reached have to be able to serve the version; default
    `:local`. When they can't within `:wait_timeout` ms (30,000), the error has the reason `:not_spread`, and the deploy
    stands.
  """
  @spec deploy(binary, keyword) :: {:ok, Function.t()} | {:error, Error.t()}
  def deploy(wasm, options) when is_binary(wasm) and is_list(options) do
    with {:ok, function, _change, _spread} <- Deploy.run(wasm, options), do: {:ok, function}
  end

  @doc """
  Calls a function and returns the guest's reply. An `operation` of `nil` is the one named at the deploy.

  ## Options

  - `:timeout`: time for the call in ms, or `:infinity`; the function's time limit holds as well.
  """
  @spec call(String.t(), String.t() | nil, binary, timeout: timeout) :: {:ok, binary} | {:error, Error.t()}
  def call(name, operation, payload \\ "", options \\ [])

  def call(name, operation, payload, []) when is_binary(name) and is_binary(payload) do
    Execution.call(name, operation, payload, :infinity)
  end

  def call(name, operation, payload, timeout: timeout)
      when is_binary(name) and is_binary(payload) and
             (timeout == :infinity or (is_integer(timeout) and timeout >= 0)) do
    Execution.call(name, operation, payload, timeout)
  end

  @doc "Like `call/4`, but returns the reply itself and raises the `Tidepool.Error`."
  @spec call!(String.t(), String.t() | nil, binary, timeout: timeout) :: binary
  def call!(name, operation, payload \\ "", options \\ []) do
    case call(name, operation, payload, options) do
      {:ok, reply} -> reply
      {:error, error} -> raise error
    end
  end

  @doc "All deployed functions, by name."
  @spec list :: [Function.t()]
  defdelegate list, to: Catalog

  @doc "The newest version of a function."
  @spec fetch(String.t()) :: {:ok, Function.t()} | {:error, Error.t()}
  defdelegate fetch(name), to: Catalog

  @doc "Removes a function. Calls in flight finish; the next ones get `:not_deployed`."
  @spec remove(String.t()) :: :ok | {:error, Error.t()}
  defdelegate remove(name), to: Catalog
end
