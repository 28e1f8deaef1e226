defmodule Tidepool.Docs.ProfilesTest do
  # What native/Cargo.toml says of its two profiles, as cargo understands it.
  use ExUnit.Case, async: true

  # What cargo would compile the library's crates with: for each crate its profiles, of which macros and build scripts have one
  # of their own, without optimisation.
  defp profiles(profile) do
    arguments =
      ~w(build --locked --offline -p tidepool_nif -p tidepool_core --profile #{profile} --unit-graph -Z unstable-options)

    # The graph is told by cargos of stable versions, too, when they are asked so. Nothing is built for it, and no build waited for.
    assert {graph, 0} = System.cmd("cargo", arguments, cd: "native", env: [{"RUSTC_BOOTSTRAP", "1"}])
    {:ok, %{"units" => units}} = Tidepool.Native.json_decode(graph)

    units
    |> Enum.filter(&(&1["mode"] == "build" and hd(&1["target"]["kind"]) in ~w(lib rlib cdylib bin)))
    |> Enum.group_by(& &1["target"]["name"], & &1["profile"])
  end

  defp levels(profiles), do: profiles |> Enum.map(& &1["opt_level"]) |> Enum.uniq() |> Enum.sort()

  test "production's library is optimised whole: each of its crates" do
    ship = profiles("ship")
    assert map_size(ship) > 200
    for {name, profiles} <- ship, do: assert(levels(profiles) -- ["0", "3"] == [], name)

    for name <- ~w(cranelift_codegen regalloc2 winch_codegen libsqlite3_sys tidepool_nif),
        do: assert("3" in levels(ship[name]), name)

    for {name, profiles} <- ship, %{"panic" => panic} <- profiles, do: assert(panic == "unwind", name)
    assert [%{"lto" => "thin"}] = ship["tidepool_nif"]
  end

  test "what a call goes through is optimised in everyday builds, too, and what compiles guests is less" do
    release = profiles("release")

    for name <- ~w(tidepool_core tidepool_nif tidepool_http tidepool_records wasmtime wasmtime_wasi tokio hyper rustls),
        do: assert("3" in levels(release[name]), name)

    assert "2" in levels(release["cranelift_codegen"])
  end
end
