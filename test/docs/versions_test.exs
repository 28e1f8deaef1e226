defmodule Tidepool.Docs.VersionsTest do
  # One number is the version of all that is made of a checkout.
  use ExUnit.Case, async: true

  alias Tidepool.Tool

  @version Mix.Project.config()[:version]

  test "the library, the tool, the image and what runs it have one version, and the changelog tells of it" do
    manifest = File.read!("native/Cargo.toml")
    assert [_all, @version] = Regex.run(~r/^\[workspace\.package\]\n(?:.+\n)*?version = "(.*)"$/m, manifest)
    [_all, members] = Regex.run(~r/^members = \[(.*?)\]/ms, manifest)
    members = Regex.scan(~r/"([^"]+)"/, members, capture: :all_but_first) |> List.flatten()
    assert "tidepool_cli" in members

    for crate <- members,
        do: assert(File.read!("native/#{crate}/Cargo.toml") =~ ~r/^version\.workspace = true$/m, crate)

    locked =
      Regex.scan(~r/^name = "(tidepool_\w+)"\nversion = "(.*)"$/m, File.read!("native/Cargo.lock"),
        capture: :all_but_first
      )

    assert length(locked) >= length(members) - 1
    for [crate, version] <- locked, do: assert({crate, version} == {crate, @version})

    assert File.read!("ops/Dockerfile") =~ ~s(org.opencontainers.image.version="#{@version}"\n)

    for file <- ["ops/compose.yaml", "ops/kubernetes/tidepool.yaml"],
        do: assert(File.read!(file) =~ "image: tidepool:#{@version}\n")

    # Which version an example of these names, too.
    for file <- Path.wildcard("docs/*.md") ++ Path.wildcard("ops/**/*"),
        File.regular?(file),
        [_all, version] <- Regex.scan(~r/\btidepool(?:_native)?[:_-](\d+\.\d+\.\d+)/, File.read!(file)),
        do: assert({file, version} == {file, @version})

    [_all, newest] = Regex.run(~r/^## (?:Unreleased \()?(\d+\.\d+\.\d+)/m, File.read!("CHANGELOG.md"))
    assert newest == @version
  end

  test "the page of versions names those that there are: of this checkout, of Elixir, Rust and Wasmtime" do
    text = File.read!("docs/versions.md")
    manifest = File.read!("native/Cargo.toml")
    [_all, rust] = Regex.run(~r/^rust-version = "(.*)"$/m, manifest)
    [_all, wasmtime] = Regex.run(~r/^wasmtime = \{ version = "(\d+\.\d+)/m, manifest)
    "~> " <> elixir = Mix.Project.config()[:elixir]
    assert text =~ "The version of this checkout is #{@version}"

    for {row, version} <- [{"Rust", rust}, {"Wasmtime", wasmtime}, {"Elixir, Erlang/OTP", elixir}] do
      [cells] = Regex.run(~r/^\| #{row} \|.*$/m, text)
      assert cells =~ version
    end
  end

  test "the tool says that version" do
    assert Tool.run(["--version"]) == {"tidepool #{@version}\n", 0}
  end
end
