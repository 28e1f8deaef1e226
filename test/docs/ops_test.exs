defmodule Tidepool.Docs.OpsTest do
  # What an image is made of. What runs of ops/ is run in test/ship/.
  use ExUnit.Case, async: true

  alias Tidepool.Error.Reason

  test "a container's image is built with the Rust that the sources ask for, and what makes it, and has known settings" do
    image = File.read!("ops/Dockerfile")
    [_line, rust] = Regex.run(~r/^rust-version = "(.*)"$/m, File.read!("native/Cargo.toml"))
    assert image =~ "FROM rust:#{rust}-bookworm AS build\n"

    [_line, installed] = Regex.run(~r/--no-install-recommends (.*) \\$/m, image)
    [_line, copied] = Regex.run(~r/^packages=\((.*)\)$/m, File.read!("ops/rootfs"))
    assert String.split(copied) -- String.split(installed) == []

    settings = for [name] <- Regex.scan(~r/\bTIDEPOOL_\w+(?==)/, image), uniq: true, do: name
    assert "TIDEPOOL_ADDRESS" in settings
    assert Enum.reject(settings, &String.contains?(File.read!("config/runtime.exs"), ~s("#{&1}"))) == []
  end

  test "an image is made of a checkout without what git ignores: what was built elsewhere, and data" do
    [ignored, left_out] =
      for file <- [".gitignore", ".dockerignore"] do
        for line <- String.split(File.read!(file), "\n", trim: true), not String.starts_with?(line, "#"), do: line
      end

    # Git means all folders by a name without a slash in front, Docker the topmost one.
    wanted =
      for pattern <- ignored do
        if String.starts_with?(pattern, "/"), do: String.trim(pattern, "/"), else: "**/" <> String.trim(pattern, "/")
      end

    assert Enum.sort([".git" | wanted]) == Enum.sort(left_out)
  end

  test "the alert of deploys asks for the reasons that are counted from the start, and that of calls for outcomes" do
    rules = File.read!("ops/prometheus.rules.yml")

    asked = fn metric ->
      for [names] <- Regex.scan(~r/#{metric}\{reason=~?"([\w|]+)"\}/, rules, capture: :all_but_first),
          name <- String.split(names, "|"),
          do: name
    end

    watched =
      for subject <- Reason.subjects(),
          reason <- Reason.all(subject),
          Reason.is?(reason, :watched),
          uniq: true,
          do: reason

    assert Enum.sort(asked.("tidepool_deploys_total")) == watched |> Enum.map(&to_string/1) |> Enum.sort()
    {outcomes, _bounds, _functions} = Tidepool.Native.figures(Tidepool.Engine.runtime())
    assert [_one | _more] = asked.("tidepool_calls_total")
    assert asked.("tidepool_calls_total") -- outcomes == []
  end
end
