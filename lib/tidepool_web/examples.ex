defmodule TidepoolWeb.Examples do
  @moduledoc "What to try of a node that has just been started: lines for a shell, and a link to its page."

  alias Tidepool.Config
  alias TidepoolWeb.Listener

  @doc """
  The lines, for the edge that runs. `modules` is the folder with the project's modules, as a shell is to see it: `guests` in a
  checkout.

  Where the node has a token the link has a code in it, which signs a browser in once, within a minute.
  """
  @spec text(modules :: Path.t()) :: String.t()
  def text(modules) do
    url = "#{host(Config.get(:address))}:#{Listener.port()}"
    token = if Config.get(:token), do: ~S( -H "authorization: Bearer $TIDEPOOL_TOKEN"), else: ""

    """

    Try, in another terminal:
      curl#{token} -F wasm=@#{modules}/hello_world/rust/hello_world.wasm #{url}/deploy
      curl #{url}/call/hello_world
      curl --data-binary 'Ada' #{url}/call/hello_world/hello
      curl #{url}/functions

    #{page(Listener.open_code(), url)}
    """
  end

  # What is behind the # stays in the browser.
  defp page(nil, url), do: "Or look: #{scheme()}://#{url}/ui/"

  defp page(code, url),
    do: "Or look, signed in by this link once, within a minute: #{scheme()}://#{url}/ui/#code=#{code}"

  defp scheme, do: if(Config.get(:tls_cert), do: "https", else: "http")

  # What is bound to every address is here under the name that is easiest to read.
  defp host(address) when address in ["127.0.0.1", "0.0.0.0", "::1", "::"], do: "localhost"
  defp host(address), do: if(String.contains?(address, ":"), do: "[#{address}]", else: address)
end
