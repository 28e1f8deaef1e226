Code.require_file("native/mix_compiler.exs", __DIR__)

defmodule Tidepool.MixProject do
  use Mix.Project

  def project do
    [
      app: :tidepool,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "WebAssembly functions on the Erlang VM",
      compilers: [:tidepool_native | Mix.compilers()],
      elixirc_paths: elixirc_paths(Mix.env()),
      test_paths: ["test"],
      start_permanent: Mix.env() == :prod,
      releases: [tidepool: [steps: [:assemble, &leave_data_out/1]]],
      # For mix tidepool.cluster, which starts inets itself; a node does not need it.
      xref: [exclude: [:httpc]],
      deps: []
    ]
  end

  def application do
    [
      mod: {Tidepool.Application, []},
      extra_applications: [:logger, :crypto, :public_key, :ssl, telemetry: :optional] ++ test_applications(Mix.env())
    ]
  end

  # Of the system's Erlang; newer versions of Mix hide what no application asks for.
  defp test_applications(:test), do: [proper: :optional]
  defp test_applications(_env), do: []

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # A release takes all of priv along; what was deployed on this machine is not part of it.
  defp leave_data_out(release) do
    version = Keyword.fetch!(project(), :version)
    File.rm_rf!(Path.join([release.path, "lib", "tidepool-#{version}", "priv", "data"]))
    release
  end
end
