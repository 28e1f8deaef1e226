Code.require_file("progress.exs", __DIR__)
Code.require_file("precompiled.exs", __DIR__)

defmodule Tidepool.Native.Build do
  @moduledoc """
  How `Mix.Tasks.Compile.TidepoolNative` comes to a library when what is there is none of these sources: from a release, or by
  cargo. `mix_compiler.exs` loads it when it is needed.
  """

  alias Mix.Tasks.Compile.TidepoolNative
  alias Tidepool.Native.{Precompiled, Progress}

  @native __DIR__
  # What the library and the program are made of.
  @packages ~w(tidepool_nif tidepool_core)
  # How often a build says how far it is.
  @told_ms 15_000
  # Builds for developers that are kept.
  @kept 3

  @doc """
  Puts the library and the program into `folder`, in the first of these ways that can be had, and says which it was. The stamp, which
  tells what is in the folder, is gone from when it may be wrong.
  """
  @spec to_ship!([how :: String.t()], Path.t(), stamp :: Path.t()) :: how :: String.t()
  def to_ship!(["precompiled" | others], folder, stamp) do
    if precompiled!(folder, stamp), do: "precompiled", else: to_ship!(others, folder, stamp)
  end

  def to_ship!([profile | _others], folder, stamp) do
    target = System.get_env("CARGO_TARGET_DIR") || Path.join(@native, "target")
    build!(["--profile", profile], target)
    built = Path.join(target, profile)
    # Until here it tells of what is there, whoever interrupts the build.
    File.rm(stamp)

    Enum.each(TidepoolNative.products(), fn {from, name} -> install(Path.join(built, from), Path.join(folder, name)) end)

    profile
  end

  # Whether the library is that of a release now. What can't be had from nowhere is built; what should be there and is not, or is
  # another one, is told: who has no Rust could not do anything about a build that fails.
  defp precompiled!(folder, stamp) do
    with {:ok, archive} <- Precompiled.find(digest()),
         true <- Precompiled.reachable?(archive) do
      Mix.shell().info("Taking the native library from #{elem(archive, 0)}")
      File.rm(stamp)

      case Precompiled.install(archive, folder, Map.values(TidepoolNative.products())) do
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
    TidepoolNative.files()
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

    for {_built, name} <- Enum.sort(TidepoolNative.products()) do
      stripped = Path.join(folder, name)
      {_output, 0} = System.cmd("strip", ["-o", stripped, Path.expand("../priv/native/#{name}", @native)])
      stripped
    end
  end

  @doc "Builds what was edited for this VM alone, into a folder of its own: any other has what is in `priv`."
  @spec for_dev(sources :: String.t()) :: :ok | :noop
  def for_dev(sources) do
    built = Path.join(Mix.Project.build_path(), "native")
    name = :crypto.hash(:sha256, sources) |> Base.encode16(case: :lower) |> binary_part(0, 16)
    folder = Path.join(built, name)
    found = Enum.all?(TidepoolNative.products(), fn {_built, name} -> File.exists?(Path.join(folder, name)) end)

    unless found do
      {target, 0} = System.cmd(Path.expand("../bin/support/seed.sh", @native), [])
      target = String.trim(target)
      build!(["--release", "--config", Path.join(@native, "dev.toml"), "--target-dir", target], target)

      Enum.each(TidepoolNative.products(), fn {from, name} ->
        install(Path.join([target, "release", from]), Path.join(folder, name))
      end)

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

  @doc "What `mix tidepool.precompiled` does: packs the native library of production for this machine's target."
  @spec archive!([String.t()]) :: :ok
  def archive!([folder]), do: archive!([folder, Precompiled.table_path()])

  def archive!([folder, table]) do
    if Mix.env() != :prod, do: Mix.raise("what production runs is built in the environment prod: MIX_ENV=prod")
    System.put_env("TIDEPOOL_NIF", "build")
    Mix.Task.run("compile")
    File.mkdir_p!(folder)
    archive = Path.join(folder, Precompiled.name())
    Precompiled.pack(stripped!(), archive)
    names = Precompiled.write_table(folder, digest(), table)
    table = Path.relative_to_cwd(table)
    Mix.shell().info("#{archive}: #{File.stat!(archive).size} bytes; #{table} has #{Enum.join(names, ", ")}")
  end

  def archive!(_arguments),
    do: Mix.raise("name the folder for the archives: MIX_ENV=prod mix tidepool.precompiled dist")

  @doc "Moves what is in the folder `from` to the folder `to`, where nothing is replaced, and says so."
  def move_data(from, to) do
    for name <- list(from), [path, target] = [Path.join(from, name), free(Path.join(to, name))] do
      with :ok <- File.mkdir_p(to), :ok <- File.rename(path, target) do
        Mix.shell().info("#{path} is #{target} now: it would become part of releases where it was")
      else
        # Another Mix, which compiles at the same time, has moved it.
        {:error, :enoent} -> :ok
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

  # Crates that are not Tidepool's are compiled once for each of the two profiles.
  defp build!(options, target) do
    Mix.shell().info("Building the native library (some minutes the first time; what is compiled stays in #{target})")
    packages = Enum.flat_map(@packages, &["-p", &1])
    cargo!(~w(build --locked --message-format=json-render-diagnostics) ++ packages ++ options)
  end

  defp cargo!(args) do
    cargo = System.find_executable("cargo") || Mix.raise("cargo was not found: run bin/setup, or install Rust")
    options = [:binary, :exit_status, :stderr_to_stdout, :hide, {:line, 65_536}, args: args, cd: @native]
    port = Port.open({:spawn_executable, cargo}, options)
    build = Progress.new(System.schedulers_online(), now(), crates(cargo))

    case follow(port, build, now() + @told_ms) do
      0 -> :ok
      status -> Mix.raise("cargo #{Enum.join(args, " ")} failed with status #{status}: see above")
    end
  end

  # How many the library is built of, for the count of those that are done.
  defp crates(cargo) do
    arguments = ~w(tree --locked --prefix none -e normal,build) ++ Enum.flat_map(@packages, &["-p", &1])
    {tree, _status} = System.cmd(cargo, arguments, cd: @native, stderr_to_stdout: true)
    Progress.crates(tree)
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
        {line, build} = Progress.told(build, now())
        Mix.shell().info(line)
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
end
