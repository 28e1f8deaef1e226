defmodule Mix.Tasks.Phx.Server do
  @shortdoc "Starts a Tidepool node with its HTTP edge"

  @moduledoc """
  Starts the application with its HTTP edge.

      mix phx.server              # in the foreground, until SIGTERM
      iex -S mix phx.server       # with a shell
      mix phx.server --examples   # prints the curl lines to try, too

  With a name (`iex --name a@127.0.0.1 -S mix phx.server`) the node finds others and shares with them what is deployed:
  docs/cluster.md.

  `PORT`, `TIDEPOOL_ADDRESS`, `TIDEPOOL_DATA` and `TIDEPOOL_TOKEN` are read from the environment; all settings are in
  docs/configuration.md. The task has the name that Elixir developers try first; there is no Phoenix behind it.
  """

  use Mix.Task

  @impl true
  def run(arguments) do
    Mix.Task.run("app.config")
    Application.put_env(:tidepool, :server, true)
    unless Application.get_env(:tidepool, :cluster) == false, do: Application.put_env(:tidepool, :cluster, true)

    # A wrong setting is a sentence here, not a supervisor's report.
    case Tidepool.Config.check(Application.get_all_env(:tidepool) |> Keyword.delete(:included_applications)) do
      {:ok, _config} -> Mix.Task.run("app.start")
      {:error, error} -> Mix.raise(error.message)
    end

    if "--examples" in arguments, do: IO.puts(examples())
    unless iex?(), do: Process.sleep(:infinity)
  end

  defp examples do
    url = "#{host(Tidepool.Config.get(:address))}:#{TidepoolWeb.Listener.port()}"
    token = if Tidepool.Config.get(:token), do: ~S( -H "authorization: Bearer $TIDEPOOL_TOKEN"), else: ""

    """

    Try, in another terminal:
      curl#{token} -F wasm=@guests/build/rust/hello_world.wasm #{url}/deploy
      curl #{url}/call/hello_world
      curl --data-binary 'Ada' #{url}/call/hello_world/hello
      curl #{url}/functions
    """
  end

  # What is bound to every address is here under the name that is easiest to read.
  defp host(address) when address in ["127.0.0.1", "0.0.0.0", "::1", "::"], do: "localhost"
  defp host(address), do: if(String.contains?(address, ":"), do: "[#{address}]", else: address)

  defp iex?, do: Code.ensure_loaded?(IEx) and IEx.started?()
end
