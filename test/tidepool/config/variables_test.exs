defmodule Tidepool.Config.VariablesTest do
  use ExUnit.Case, async: true

  alias Tidepool.Config.Variables

  doctest Variables

  test "every variable that something here reads is known, and nothing else is" do
    files =
      for pattern <- ~w(config/*.exs rel/* ops/** bin/** lib/**/*.ex bench/** native/*/src/**/*.rs guests/builder/*.py
            test/**/*.{ex,exs} docs/**/*.md .github/**/*.yml mix.exs),
          file <- Path.wildcard(pattern, match_dot: true),
          File.regular?(file),
          file not in ["lib/tidepool/config/variables.ex", "test/tidepool/config/variables_test.exs"],
          do: file

    read =
      for file <- files,
          [name] <- Regex.scan(~r/(?<![A-Z_])TIDEPOOL_[A-Z_]*[A-Z](?![A-Z_\d])/, File.read!(file)),
          uniq: true,
          do: name

    assert read -- (Variables.known() ++ ["TIDEPOOL_TOKENS"]) == []
    # `config/runtime.exs` makes the names of these of the settings'.
    assert (Variables.known() -- Variables.numbers()) -- read == []
  end

  # Of a service of that name, with two ports.
  defp service(name) do
    for {end_of_name, value} <- [
          {"SERVICE_HOST", "10.0.0.1"},
          {"SERVICE_PORT", "4000"},
          {"SERVICE_PORT_HTTP", "4000"},
          {"SERVICE_PORT_SERVICE_PORT", "4001"},
          {"PORT", "tcp://10.0.0.1:4000"},
          {"PORT_4000_TCP", "tcp://10.0.0.1:4000"},
          {"PORT_4000_TCP_PROTO", "tcp"},
          {"PORT_4000_TCP_PORT", "4000"},
          {"PORT_4000_TCP_ADDR", "10.0.0.1"},
          {"PORT_4001_UDP", "udp://10.0.0.1:4001"},
          {"PORT_4001_UDP_ADDR", "10.0.0.1"}
        ],
        into: %{},
        do: {"#{name}_#{end_of_name}", value}
  end

  test "what Kubernetes says of services beside a node is nobody's slip, even where it looks like one" do
    # The port of the third is one letter away from a setting's, and so is that of the fourth from one that another variable sets.
    for name <- ~w(TIDEPOOL TIDEPOOL_MAX TIDEPOOL_SITE TIDEPOOLS TIDEPOOL_SERVICE) do
      assert Variables.check(service(name)) == :ok
    end

    assert Variables.check(Map.merge(service("TIDEPOOL"), service("TIDEPOOL_SITES"))) == :ok
  end

  test "a variable that has the form of a service's, and no service beside it, is unknown" do
    for {name, value} <- service("TIDEPOOL") do
      assert {:error, error} = Variables.check(%{name => value})
      assert error.message =~ "the variable #{name} is unknown"
    end

    for name <- ~w(TIDEPOOL_MAX_SERVICE_PORT TIDEPOOL_PORT TIDEPOOL_PORT_4000) do
      assert {:error, error} = Variables.check(Map.put(service("TIDEPOOL"), name, "4000"))
      assert error.message =~ "the variable #{name} is unknown"
    end
  end

  test "a slip of the beginning, or of the case, is told with the variable that was meant" do
    for {slip, meant} <- %{
          "TIDPOOL_TOKEN" => "TIDEPOOL_TOKEN",
          "TIDEPOLL_TOKEN" => "TIDEPOOL_TOKEN",
          "TDIEPOOL_DATA" => "TIDEPOOL_DATA",
          "IDEPOOL_ACTORS" => "TIDEPOOL_ACTORS",
          "TIDEPOOLTOKEN" => "TIDEPOOL_TOKEN",
          "TIDE_POOL_MAX_MEMORY" => "TIDEPOOL_MAX_MEMORY",
          "TIDEPOOLS_URL" => "TIDEPOOL_URL",
          "TIDPOOL_PORT" => "PORT",
          "tidepool_token" => "TIDEPOOL_TOKEN",
          "TIDEPOOL_token" => "TIDEPOOL_TOKEN",
          "Tidepool_Ulr" => "TIDEPOOL_URL",
          "TIDEPOOL_ULR" => "TIDEPOOL_URL"
        } do
      assert {:error, error} = Variables.check(%{slip => "x"})
      assert error.message == "the variable #{slip} is unknown: did you mean #{meant}?"
    end
  end

  test "variables of others pass, however much they look like one" do
    for name <-
          ~w(RIDEPOOL_TOKEN SIDEPOOL_DATA TIDE_TOKEN TIDEPOOL TIDEPOOL2_TOKEN TIDEPOOL2_PORT TADPOLE_TOKEN MY_TIDEPOOL_TOKEN
          _TIDEPOOL_TOKEN WHIRLPOOL_TOKEN TOKEN PORT tidepool_folder IO TERM TMPDIR IFS) do
      assert Variables.check(%{name => "x"}) == :ok
    end

    assert Variables.check(%{<<"TIDEPOL", 255, "_TOKEN">> => "x", "" => ""}) == :ok
  end

  test "all slips are told at once, and where the variables are that there are" do
    environment = %{"TIDEPOOL_TOKENS" => "x", "TIDPOOL_DATA" => "x", "TIDEPOOL_DATA" => "x"}
    assert {:error, error} = Variables.check(environment)

    assert error.message ==
             "the variables TIDEPOOL_TOKENS (did you mean TIDEPOOL_TOKEN?), TIDPOOL_DATA (did you mean TIDEPOOL_DATA?) are unknown"

    assert {:error, error} = Variables.check(Map.put(environment, "TIDEPOOL_COLOUR", "blue"))
    assert error.message =~ ~r/\Athe variables TIDEPOOL_COLOUR, TIDEPOOL_TOKENS .* are unknown: docs\/configuration/
  end

  test "a setting that another variable sets is said by that one's name" do
    for {slip, meant} <- %{
          "TIDEPOOL_PORT" => "PORT",
          "TIDEPOOL_NODE" => "RELEASE_NODE",
          "TIDEPOOL_SEED" => "TIDEPOOL_SEEDS"
        } do
      assert {:error, error} = Variables.check(%{slip => "x"})
      assert error.message == "the variable #{slip} is unknown: did you mean #{meant}?"
    end

    assert {:error, error} = Variables.check(%{"TIDEPOOL_COLOUR" => "blue"})
    assert error.message =~ "docs/configuration.md"
    # Who has an archive has no folder `docs`.
    assert error.message =~ "/docs/configuration.html"
  end
end
