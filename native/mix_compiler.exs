defmodule Mix.Tasks.Compile.TidepoolNative do
  @moduledoc """
  Builds the NIF library, and the program in whose processes modules are compiled, with cargo into `priv/native`.

  Cargo is started only when a Rust source, a manifest or the lock file differs from those of the last build, so an
  unchanged project pays for reading a few dozen file dates. `CARGO_TARGET_DIR` is respected.

  What runs in production is built by the profile `ship` of `Cargo.toml`, with link-time optimisation: calls take a seventh less,
  guests compile faster, and the first build takes twice as long. `TIDEPOOL_LTO=off` in the environment `prod` leaves that out.
  `priv` is of all environments, and the others take what it has, optimised or not.

  Where the Rust sources are those of a release, the library is the one that was built for that, if it can be had for this machine
  (`precompiled.exs`), and no Rust is needed. `TIDEPOOL_NIF=build` has it built all the same.

  With `TIDEPOOL_NIF=dev` in the environment `dev` an edit takes a fraction of the time: cargo builds by `dev.toml` in a folder of its
  own, and what it builds is neither in `priv` nor in the way of what is. Another file each time, which a running VM can
  load beside the one before: `reload.exs` does.

  Releases and packages take all of `priv` along. So what older versions kept in `priv/data` is moved out of it.
  """

  use Mix.Task.Compiler

  alias Tidepool.Native.Build

  @native __DIR__
  # What cargo builds, and what it is called in priv/native.
  @products %{"libtidepool_nif.so" => "tidepool_nif.so", "tidepool_compiler" => "tidepool_compiler"}

  @impl true
  def run(_args) do
    if Mix.env() == :dev and System.get_env("TIDEPOOL_NIF") == "dev" do
      load!()
      Build.for_dev(sources())
    else
      move_data()
      to_ship()
    end
  end

  defp to_ship do
    # What priv has been built from, and how.
    stamp = Path.join(folder(), ".built")
    wanted = if Mix.env() == :prod and System.get_env("TIDEPOOL_LTO") != "off", do: ["ship"], else: ["release", "ship"]
    taken = if System.get_env("TIDEPOOL_NIF") == "build", do: wanted, else: ["precompiled" | wanted]
    there? = Enum.all?(@products, fn {_built, name} -> File.exists?(Path.join(folder(), name)) end)
    sources = sources()

    if there? and File.read(stamp) in Enum.map(taken, &{:ok, stamp(&1, sources)}) do
      link_priv()
      :noop
    else
      load!()
      how = Build.to_ship!(taken, folder(), stamp)
      link_priv()
      File.write!(stamp, stamp(how, sources))
      :ok
    end
  end

  defp stamp(how, sources), do: "#{how}\n#{sources}"
  defp folder, do: Path.expand("../priv/native", @native)

  # Mix links priv into _build before this compiler runs, if the folder exists then: on a first build it does not.
  defp link_priv, do: Mix.Project.build_structure()

  defp move_data do
    from = Path.expand("../priv/data", @native)

    if File.dir?(from) do
      load!()
      Build.move_data(from, Path.expand("../data", @native))
    end
  end

  # Each command of Mix compiles what it loads of this folder: how to build is not among it where nothing is built.
  defp load!, do: Code.require_file("build.exs", @native)

  @doc "What cargo builds, and what it is called in `priv/native`."
  @spec products() :: %{(built :: String.t()) => name :: String.t()}
  def products, do: @products

  @impl true
  def clean do
    File.rm_rf!(folder())
    File.rm_rf!(Path.join(Mix.Project.build_path(), "native"))
  end

  # With sizes and dates: cheap to read, and different after any edit.
  defp sources do
    files()
    |> Enum.map(fn file ->
      stat = File.stat!(file, time: :posix)
      {Path.relative_to(file, @native), stat.size, stat.mtime}
    end)
    |> inspect(limit: :infinity)
  end

  @doc "The files that the library is made of."
  @spec files() :: [Path.t()]
  def files do
    crates = ~w(tidepool_errors tidepool_fields tidepool_core tidepool_http tidepool_records tidepool_nif)

    files =
      for crate <- crates, pattern <- ["Cargo.toml", "*.{rs,tsv}", "src/**/*.rs"] do
        Path.wildcard(Path.join([@native, crate, pattern]))
      end

    Enum.sort(List.flatten(files) ++ Enum.map(~w(Cargo.toml Cargo.lock), &Path.join(@native, &1)))
  end
end

defmodule Mix.Tasks.Tidepool.Precompiled do
  @shortdoc "Packs the native library for those who have no Rust"

  @moduledoc """
  Packs the native library of production for this machine's target into a folder, and writes `native/checksums.tsv`, or the table that
  is named, of all archives that are there: those of other targets are made on their machines, and put into the folder before.

      MIX_ENV=prod mix tidepool.precompiled dist
      MIX_ENV=prod mix tidepool.precompiled dist dist/checksums.tsv

  Who then depends on Tidepool at this commit compiles no Rust, if `TIDEPOOL_DOWNLOADS` names the address at which the folder is
  served: docs/embedding.md.
  """

  use Mix.Task

  @impl true
  def run(arguments) do
    Code.require_file("build.exs", __DIR__)
    Tidepool.Native.Build.archive!(arguments)
  end
end
