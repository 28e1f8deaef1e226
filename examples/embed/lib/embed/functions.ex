defmodule Embed.Functions do
  @moduledoc """
  Deploys the application's functions when it starts.

  Tidepool keeps what was deployed, and the same module again changes nothing: so this may run at every start, and takes
  effect when a module has changed. A module that can't be deployed keeps the application from starting.
  """

  alias Tidepool.Error

  @functions [
    [name: "hello_world"],
    [name: "redis_concat", instances: {:warm, 4}]
  ]

  @doc "A child without a process: its start is the work."
  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_options), do: %{id: __MODULE__, start: {__MODULE__, :deploy, []}}

  @doc "Deploys all of them; `:ignore` tells the supervisor that there is no process."
  @spec deploy :: :ignore | {:error, {name :: String.t(), Error.t() | File.posix()}}
  def deploy do
    folder = Application.fetch_env!(:embed, :modules)
    Enum.find_value(@functions, :ignore, &failure(&1, folder))
  end

  defp failure(options, folder) do
    with {:ok, wasm} <- File.read(Path.join(folder, "#{options[:name]}.wasm")),
         {:ok, _function} <- Tidepool.deploy(wasm, options) do
      nil
    else
      {:error, reason} -> {:error, {options[:name], reason}}
    end
  end
end
