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
      package: [
        files: ~w(.formatter.exs CHANGELOG.md LICENSE README.md docs lib mix.exs priv/testing priv/ui) ++ native()
      ],
      # The name that Elixir developers try first. Only an alias of this project's: applications may have Phoenix beside it.
      aliases: ["phx.server": "tidepool.server", "tidepool.elixir": &compile_elixir/1],
      releases: [tidepool: [steps: [:assemble, &hide_cookie/1]]],
      deps: []
    ]
  end

  def application do
    [
      mod: {Tidepool.Application, []},
      extra_applications:
        [:logger, :crypto, :public_key, :ssl, :inets, telemetry: :optional] ++ test_applications(Mix.env())
    ]
  end

  # The library is compiled where it is used.
  defp native,
    do:
      Enum.map(
        ~w(Cargo.lock Cargo.toml build.exs checksums.tsv costs.tsv mix_compiler.exs precompiled.exs progress.exs tidepool_* fuzz/Cargo.toml fuzz/src),
        &Path.join("native", &1)
      )

  # Of the system's Erlang; newer versions of Mix hide what no application asks for.
  defp test_applications(:test), do: [proper: :optional]
  defp test_applications(_env), do: []

  # Elixir alone, without the library: Mix ends well after a compiler that is run by itself, whatever came of it.
  defp compile_elixir(arguments) do
    # As Mix's `compile` does, which knows from them whose modules are called.
    for application <- application()[:extra_applications], do: load(application)
    with {:error, _diagnostics} <- Mix.Task.run("compile.elixir", arguments), do: exit({:shutdown, 1})
  end

  defp load({application, :optional}), do: load(application)
  defp load(application), do: Application.load(application)

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # Who has the cookie, and reaches the node, can run code in it. Arguments are shown to all users of a machine, so VMs get it from a
  # file, which rel/env.sh.eex makes.
  defp hide_cookie(release) do
    File.chmod!(Path.join([release.path, "releases", "COOKIE"]), 0o600)
    script = Path.join([release.path, "bin", Atom.to_string(release.name)])
    argument = ~r/ --cookie "\$RELEASE_COOKIE"/
    text = File.read!(script)
    text =~ argument || Mix.raise("#{script} does not have the cookie where it is taken out by mix.exs")
    File.write!(script, String.replace(text, argument, ""))
    release
  end
end
