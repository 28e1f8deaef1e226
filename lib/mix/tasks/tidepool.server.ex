defmodule Mix.Tasks.Tidepool.Server do
  @shortdoc "Starts a Tidepool node with its HTTP edge"

  @moduledoc """
  Starts the application with its HTTP edge.

      mix tidepool.server              # in the foreground, until SIGTERM
      iex -S mix tidepool.server       # with a shell
      mix tidepool.server --examples   # prints the curl lines to try, and a link to the page, too

  With a name (`iex --name a@127.0.0.1 -S mix tidepool.server`) the node finds others and shares with them what is
  deployed: docs/cluster.md.

  In Tidepool's own project `mix phx.server`, the name that Elixir developers try first, is an alias of this task, and
  `PORT`, `TIDEPOOL_ADDRESS`, `TIDEPOOL_DATA`, `TIDEPOOL_TOKEN` and others are read from the environment. All settings are
  in docs/configuration.md.
  """

  use Mix.Task

  @impl true
  def run(arguments) do
    others = arguments -- ["--examples"]

    if others != [] do
      Mix.raise(
        "mix tidepool.server takes --examples, and not #{Enum.join(others, " ")}: settings are in the environment " <>
          "(PORT, TIDEPOOL_DATA, …) or in config/"
      )
    end

    Mix.Task.run("app.config")
    for key <- [:server, :standalone], do: Application.put_env(:tidepool, key, true)
    if Application.get_env(:tidepool, :cluster) == nil, do: Application.put_env(:tidepool, :cluster, true)
    Mix.Task.run("app.start")

    if arguments != [], do: IO.puts(examples())
    unless iex?(), do: Process.sleep(:infinity)
  end

  defp examples do
    url = "#{host(Tidepool.Config.get(:address))}:#{TidepoolWeb.Listener.port()}"
    token = if Tidepool.Config.get(:token), do: ~S( -H "authorization: Bearer $TIDEPOOL_TOKEN"), else: ""

    """

    Try, in another terminal:
      curl#{token} -F wasm=@guests/hello_world/rust/hello_world.wasm #{url}/deploy
      curl #{url}/call/hello_world
      curl --data-binary 'Ada' #{url}/call/hello_world/hello
      curl #{url}/functions

    #{page(TidepoolWeb.Listener.open_code(), url)}
    """
  end

  # What is behind the # stays in the browser.
  defp page(nil, url), do: "Or look: #{scheme()}://#{url}/ui/"

  defp page(code, url),
    do: "Or look, signed in by this link once, within a minute: #{scheme()}://#{url}/ui/#code=#{code}"

  defp scheme, do: if(Tidepool.Config.get(:tls_cert), do: "https", else: "http")

  # What is bound to every address is here under the name that is easiest to read.
  defp host(address) when address in ["127.0.0.1", "0.0.0.0", "::1", "::"], do: "localhost"
  defp host(address), do: if(String.contains?(address, ":"), do: "[#{address}]", else: address)

  defp iex?, do: Code.ensure_loaded?(IEx) and IEx.started?()
end
