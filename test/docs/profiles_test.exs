defmodule Tidepool.Docs.ProfilesTest do
  # What native/Cargo.toml says of its two profiles, as cargo understands it.
  use ExUnit.Case, async: true

  # What cargo would compile the library's crates with: for each crate its profiles, of which macros and build scripts have one
  # of their own, without optimisation.
  defp profiles(profile) do
    ~w(build -p tidepool_nif -p tidepool_core --profile #{profile})
    |> units()
    |> Enum.filter(&(&1["mode"] == "build" and hd(&1["target"]["kind"]) in ~w(lib rlib cdylib bin)))
    |> Enum.group_by(& &1["target"]["name"], & &1["profile"])
  end

  # The graph is told by cargos of stable versions, too, when they are asked so. Nothing is built for it, and no build waited for.
  defp units(arguments) do
    arguments = arguments ++ ~w(--locked --offline --unit-graph -Z unstable-options)
    assert {graph, 0} = System.cmd("cargo", arguments, cd: "native", env: [{"RUSTC_BOOTSTRAP", "1"}])
    {:ok, %{"units" => units}} = Tidepool.Native.json_decode(graph)
    units
  end

  defp levels(profiles), do: profiles |> Enum.map(& &1["opt_level"]) |> Enum.uniq() |> Enum.sort()

  test "production's library is optimised whole: each of its crates" do
    ship = profiles("ship")
    assert map_size(ship) > 200
    for {name, profiles} <- ship, do: assert(levels(profiles) -- ["0", "3"] == [], name)

    for name <- ~w(cranelift_codegen regalloc2 winch_codegen libsqlite3_sys tidepool_nif),
        do: assert("3" in levels(ship[name]), name)

    for {name, profiles} <- ship, %{"panic" => panic} <- profiles, do: assert(panic == "unwind", name)

    for name <- ~w(tidepool_core tidepool_nif wasmtime),
        %{"opt_level" => "3"} = profile <- ship[name],
        do: assert(profile["codegen_units"] == 1, name)

    assert [%{"lto" => "thin"}] = ship["tidepool_nif"]
  end

  test "what a call goes through is optimised in everyday builds, too, and what compiles guests is less" do
    release = profiles("release")

    for name <- ~w(tidepool_core tidepool_nif tidepool_http tidepool_records wasmtime wasmtime_wasi tokio hyper rustls),
        do: assert("3" in levels(release[name]), name)

    assert "2" in levels(release["cranelift_codegen"])
  end

  # The crates that bin/test names together.
  @sets """
  eval "$(sed -n '/^but_programs=(/,/^with_engine=/p' bin/test)"
  echo "${with_engine[*]}"
  echo "${but_programs[*]}"
  """

  test "all that bin/test builds with the engine has it, and each of Tidepool's crates, with the same features" do
    {sets, 0} = System.cmd("bash", ["-c", @sets])

    [all, part] =
      for line <- String.split(sets, "\n", trim: true), do: built(["test", "--release" | String.split(line)])

    nif = built(~w(build --release -p tidepool_nif -p tidepool_core))
    for {name, [_one, _more | _]} <- all, do: refute(name =~ ~r/^(tidepool_.*|axum|openraft|wasmtime)$/, name)
    for few <- [part, nif], {name, features} <- few, do: assert(features -- Map.get(all, name, features) == [], name)
  end

  # The features of each crate of the libraries and programs, in each of the ways in which it is compiled.
  defp built(arguments) do
    arguments
    |> units()
    |> Enum.filter(&(&1["mode"] == "build" and "custom-build" not in &1["target"]["kind"]))
    |> Enum.group_by(& &1["target"]["name"], & &1["features"])
    |> Map.new(fn {name, features} -> {name, Enum.uniq(features)} end)
  end
end
