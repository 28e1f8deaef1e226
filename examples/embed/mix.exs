defmodule Embed.MixProject do
  use Mix.Project

  def project do
    [
      app: :embed,
      version: "0.1.0",
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      deps: [{:tidepool, path: "../.."}]
    ]
  end

  def application do
    [mod: {Embed.Application, []}, extra_applications: [:logger]]
  end
end
