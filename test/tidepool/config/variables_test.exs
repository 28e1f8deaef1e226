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

  test "what Kubernetes says of services beside a node is nobody's slip" do
    services = %{
      "TIDEPOOL_SERVICE_HOST" => "10.0.0.1",
      "TIDEPOOL_SERVICE_PORT" => "4000",
      "TIDEPOOL_SERVICE_PORT_HTTP" => "4000",
      "TIDEPOOL_PORT" => "tcp://10.0.0.1:4000",
      "TIDEPOOL_PORT_4000_TCP" => "tcp://10.0.0.1:4000",
      "TIDEPOOL_PORT_4000_TCP_PROTO" => "tcp",
      "TIDEPOOL_PORT_4000_TCP_PORT" => "4000",
      "TIDEPOOL_PORT_4000_TCP_ADDR" => "10.0.0.1",
      "TIDEPOOL_HEADLESS_SERVICE_HOST" => "None",
      "TIDEPOOL_HEADLESS_PORT" => "tcp://10.0.0.1:4000"
    }

    assert Variables.check(services) == :ok
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
  end
end
