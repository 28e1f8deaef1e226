Code.require_file("progress.exs", __DIR__)
Code.require_file("precompiled.exs", __DIR__)

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

  alias Tidepool.Native.{Precompiled, Progress}

  @native __DIR__
  # How often a build says how far it is.
  @told_ms 15_000
  # Builds for developers that are kept.
  @kept 3
  # What cargo builds, and what it is called in priv/native.
  @products %{"libtidepool_nif.so" => "tidepool_nif.so", "tidepool_compiler" => "tidepool_compiler"}

  @impl true
  def run(_args) do
    if Mix.env() == :dev and System.get_env("TIDEPOOL_NIF") == "dev", do: run_for_dev(), else: run_to_ship()
  end

  defp run_to_ship do
    folder = Path.expand("../priv/native", @native)
    sources = sources()
    move_data(Path.expand("../priv/data", @native), Path.expand("../data", @native))

    # What priv has been built from, and how.
    stamp = Path.join(folder, ".built")
    wanted = if Mix.env() == :prod and System.get_env("TIDEPOOL_LTO") != "off", do: ["ship"], else: ["release", "ship"]
    taken = if System.get_env("TIDEPOOL_NIF") == "build", do: wanted, else: ["precompiled" | wanted]
    there? = Enum.all?(@products, fn {_built, name} -> File.exists?(Path.join(folder, name)) end)

    if there? and File.read(stamp) in Enum.map(taken, &{:ok, stamp(&1, sources)}) do
      link_priv()
      :noop
    else
      how =
        if "precompiled" in taken and precompiled!(folder, stamp),
          do: "precompiled",
          else: build_to_ship!(hd(wanted), folder, stamp)

      link_priv()
      File.write!(stamp, stamp(how, sources))
      :ok
    end
  end

  defp stamp(how, sources), do: "#{how}\n#{sources}"

  defp build_to_ship!(profile, folder, stamp) do
    target = System.get_env("CARGO_TARGET_DIR") || Path.join(@native, "target")
    build!(["--profile", profile], target)
    built = Path.join(target, profile)
    # Until here it tells of what is there, whoever interrupts the build.
    File.rm(stamp)
    Enum.each(@products, fn {from, name} -> install(Path.join(built, from), Path.join(folder, name)) end)
    profile
  end

  # Whether the library is that of a release now. What can't be had from nowhere is built; what should be there and is not, or is
  # another one, is told: who has no Rust could not do anything about a build that fails.
  defp precompiled!(folder, stamp) do
    with {:ok, archive} <- Precompiled.find(digest()),
         true <- Precompiled.reachable?(archive) do
      Mix.shell().info("Taking the native library from #{elem(archive, 0)}")
      File.rm(stamp)

      case Precompiled.install(archive, folder, Map.values(@products)) do
        :ok ->
          true

        {:error, sentence} ->
          Mix.raise("#{sentence}. With TIDEPOOL_NIF=build it is built from its sources, which takes Rust")
      end
    else
      _none -> false
    end
  end

  @doc "The SHA-256 of what the library is built from, the same on every machine."
  @spec digest() :: String.t()
  def digest do
    files()
    |> Enum.map(&[Path.relative_to(&1, @native), 0, :crypto.hash(:sha256, File.read!(&1))])
    |> then(&:crypto.hash(:sha256, &1))
    |> Base.encode16(case: :lower)
  end

  @doc "The library and the program as they are in `priv/native`, without what debuggers want, in the build's folder."
  @spec stripped!() :: [Path.t()]
  def stripped! do
    # Not where others could put something else in their place before they are packed.
    folder = Path.join(Mix.Project.build_path(), "stripped")
    File.mkdir_p!(folder)

    for {_built, name} <- Enum.sort(@products) do
      stripped = Path.join(folder, name)
      {_output, 0} = System.cmd("strip", ["-o", stripped, Path.expand("../priv/native/#{name}", @native)])
      stripped
    end
  end

  # In this VM alone: any other has what is in `priv`.
  defp run_for_dev do
    built = Path.join(Mix.Project.build_path(), "native")
    name = :crypto.hash(:sha256, sources()) |> Base.encode16(case: :lower) |> binary_part(0, 16)
    folder = Path.join(built, name)
    found = Enum.all?(@products, fn {_built, name} -> File.exists?(Path.join(folder, name)) end)

    unless found do
      {target, 0} = System.cmd(Path.expand("../bin/support/seed.sh", @native), [])
      target = String.trim(target)
      build!(["--release", "--config", Path.join(@native, "dev.toml"), "--target-dir", target], target)

      Enum.each(@products, fn {from, name} -> install(Path.join([target, "release", from]), Path.join(folder, name)) end)

      forget(built)
    end

    :persistent_term.put({Tidepool.Native, :folder}, folder)
    if found, do: :noop, else: :ok
  end

  # Another VM may still run the one before.
  defp forget(built) do
    built
    |> File.ls!()
    |> Enum.map(&Path.join(built, &1))
    |> Enum.sort_by(&File.stat!(&1, time: :posix).mtime, :desc)
    |> Enum.drop(@kept)
    |> Enum.each(&File.rm_rf!/1)
  end

  @impl true
  def clean do
    File.rm_rf!(Path.expand("../priv/native", @native))
    File.rm_rf!(Path.join(Mix.Project.build_path(), "native"))
  end

  @doc "Moves what is in the folder `from` to the folder `to`, where nothing is replaced, and says so."
  def move_data(from, to) do
    for name <- list(from), [path, target] = [Path.join(from, name), free(Path.join(to, name))] do
      with :ok <- File.mkdir_p(to), :ok <- File.rename(path, target) do
        Mix.shell().info("#{path} is #{target} now: it would become part of releases where it was")
      else
        {:error, reason} -> Mix.raise("move #{path} elsewhere, such as to #{target}: #{:file.format_error(reason)}")
      end
    end

    File.rmdir(from)
  end

  defp list(folder) do
    case File.ls(folder) do
      {:ok, names} -> names
      {:error, _reason} -> []
    end
  end

  defp free(path), do: if(File.exists?(path), do: free(path <> ".old"), else: path)

  # With sizes and dates: cheap to read, and different after any edit.
  defp sources do
    files()
    |> Enum.map(fn file ->
      stat = File.stat!(file, time: :posix)
      {Path.relative_to(file, @native), stat.size, stat.mtime}
    end)
    |> inspect(limit: :infinity)
  end

  # What the library is made of.
  defp files do
    crates = ~w(tidepool_errors tidepool_core tidepool_http tidepool_records tidepool_nif)

    files =
      for crate <- crates, pattern <- ["Cargo.toml", "*.{rs,tsv}", "src/**/*.rs"] do
        Path.wildcard(Path.join([@native, crate, pattern]))
      end

    Enum.sort(List.flatten(files) ++ Enum.map(~w(Cargo.toml Cargo.lock), &Path.join(@native, &1)))
  end

  # Crates that are not Tidepool's are compiled once for each of the two profiles.
  defp build!(options, target) do
    Mix.shell().info("Building the native library (some minutes the first time; what is compiled stays in #{target})")
    cargo!(~w(build --locked -p tidepool_nif -p tidepool_core --message-format=json-render-diagnostics) ++ options)
  end

  defp cargo!(args) do
    cargo = System.find_executable("cargo") || Mix.raise("cargo was not found: run bin/setup, or install Rust")
    options = [:binary, :exit_status, :stderr_to_stdout, :hide, {:line, 65_536}, args: args, cd: @native]
    port = Port.open({:spawn_executable, cargo}, options)
    build = Progress.new(System.schedulers_online(), now())

    case follow(port, build, now() + @told_ms) do
      0 -> :ok
      status -> Mix.raise("cargo #{Enum.join(args, " ")} failed with status #{status}: see above")
    end
  end

  # Passes on what cargo says for people, but for the name of each crate, and says from time to time how far it is.
  defp follow(port, build, tell_at, begun \\ "") do
    receive do
      # A message that is longer than a line may be comes in pieces.
      {^port, {:data, {:noeol, piece}}} ->
        follow(port, build, tell_at, begun <> piece)

      {^port, {:data, {:eol, text}}} ->
        text = begun <> text

        case Progress.line(build, text) do
          {:crate, build} ->
            follow(port, build, tell_at)

          :other ->
            unless text =~ ~r/^ +(Compiling|Downloaded|Downloading) /, do: Mix.shell().info(text)
            follow(port, build, tell_at)
        end

      {^port, {:exit_status, status}} ->
        status
    after
      max(tell_at - now(), 0) ->
        Mix.shell().info(Progress.told(build, now()))
        follow(port, build, tell_at + @told_ms, begun)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  # Renamed into place: a running node has the old file mapped, and writing into that would crash it.
  defp install(built, target) do
    built = Path.expand(built, @native)
    File.mkdir_p!(Path.dirname(target))
    beside = "#{target}.#{System.pid()}.new"
    File.cp!(built, beside)
    File.rename!(beside, target)
  end

  # Mix links priv into _build before this compiler runs, if the folder exists then: on a first build it does not.
  defp link_priv, do: Mix.Project.build_structure()
end
