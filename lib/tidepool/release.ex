defmodule Tidepool.Release do
  @moduledoc """
  What is done beside a node, which mostly does not run then, from its release:

      bin/tidepool eval 'Tidepool.Release.adopt("tidepool@localhost")'
      bin/tidepool eval 'Tidepool.Release.check()'
      bin/tidepool eval 'Tidepool.Release.export_actors("FILE")'
      bin/tidepool eval 'Tidepool.Release.accept_actors()'

  and `bin/tidepool run FILE`, which needs no node. Each says what it has done; or why not, on standard error, and then the exit status is 1.
  A variable that nobody reads (`Tidepool.Config.Variables`) is such a reason, before anything is changed.
  """

  alias Tidepool.{Config, Data, Error}
  alias Tidepool.Actor.Journal.Archive
  alias Tidepool.Catalog.Store
  alias Tidepool.Cluster.Certificates
  alias Tidepool.Command.Run
  alias Tidepool.Data.Check

  @doc "Runs a program (`Tidepool.Command.Run`), whose command line is in the variables that `rel/env.sh.eex` sets."
  @spec run :: no_return
  def run do
    count = String.to_integer(System.fetch_env!("TIDEPOOL_RUN"))
    arguments = for number <- 1..count//1, do: System.fetch_env!("TIDEPOOL_RUN_#{number}")
    arguments |> Run.main(Process.group_leader()) |> System.halt()
  end

  @doc """
  Makes the data of node `from` in the configured data folder that of node `to`, without a second name that of the
  release's own node (`RELEASE_NODE`). See `Tidepool.Data.adopt/3`.
  """
  @spec adopt(from :: String.t(), to :: String.t()) :: :ok
  def adopt(from, to \\ own_name()) do
    with {:ok, data} <- data(), {:ok, functions} <- Data.adopt(data, from, to) do
      IO.puts("#{to} has the data of #{from} now: #{Data.count(functions)}, in #{Store.folder(data, to)}")
    else
      {:error, %Error{} = error} -> fail(error)
    end
  end

  @doc """
  Could the release's node start? What a daemon runs before it has nobody to tell: the settings, the data folder and the
  port are tried, and let go again.
  """
  @spec check_start :: :ok
  def check_start do
    _loaded_before = Application.load(:tidepool)
    settings = :tidepool |> Application.get_all_env() |> Keyword.delete(:included_applications)

    with :ok <- Config.Variables.check(System.get_env()),
         {:ok, config} <- Config.Schema.check(settings),
         :ok <- Config.Names.check_own(config, own_name(), coming_kind()),
         :ok <- Certificates.check_given(config),
         :ok <- free_data(config.data),
         :ok <- free_port(config) do
      :ok
    else
      {:error, %Error{} = error} -> fail(%{error | message: "tidepool can't start: #{error.message}"})
    end
  end

  # The kind of the name that the node is about to have: the VM of this command has another.
  defp coming_kind, do: %{"name" => :long, "sname" => :short}[System.get_env("RELEASE_DISTRIBUTION")]

  defp free_data(data) when is_binary(data) do
    with {:ok, _lock} <- Store.claim(Store.folder(data, own_name())), do: :ok
  end

  defp free_data(_temporary), do: :ok

  defp free_port(%{server: false}), do: :ok

  defp free_port(%{address: address, port: port}) do
    {:ok, ip} = :inet.parse_address(to_charlist(address))
    family = if tuple_size(ip) == 4, do: :inet, else: :inet6

    case :gen_tcp.listen(port, [family, ip: ip, reuseaddr: true]) do
      {:ok, socket} ->
        :gen_tcp.close(socket)

      {:error, reason} ->
        {:error, Error.new(:listen, "can't listen on #{address}, port #{port}: #{:inet.format_error(reason)}")}
    end
  end

  @doc """
  Says what is in the data folder of a node that does not run, and what of it is damaged (`Tidepool.Data.Check`). The exit status
  is 1 if anything is.

  ## Options

  - `:node`: whose; without it the release's own node
  - `:data`: another data folder than that of the settings
  - `:mend`: mends what can be mended, then says what is left
  - `:from`: a folder of the same kind, such as a backup, from which modules are taken then
  """
  @spec check(node: String.t(), data: Path.t(), mend: boolean, from: Path.t()) :: :ok
  def check(options \\ []) do
    with {:ok, folder} <- folder(options),
         :ok <- if(options[:mend], do: Check.mend(folder, options[:from]), else: :ok),
         {:ok, findings} <- Check.run(folder) do
      IO.puts(Check.render(folder, findings))
      if Enum.any?(findings, &(&1.state == :damaged)), do: exit({:shutdown, 1}), else: :ok
    else
      {:error, %Error{} = error} -> fail(error)
    end
  end

  @doc """
  Writes actors to a file: `Tidepool.Actor.Journal.Archive.export/4`. They are those of the store that the settings name.

  ## Options

  - `:class`: those of one class
  - `:overwrite`: replaces a file that there is
  - `:node` and `:data`: whose data folder, as for `check/1`
  """
  @spec export_actors(file :: Path.t(), class: String.t(), overwrite: boolean, node: String.t(), data: Path.t()) :: :ok
  def export_actors(file, options \\ []) do
    with {:ok, place} <- actors(options, &has_or_named/3),
         {:ok, moved} <- Archive.export(place, file, options[:class], options[:overwrite] == true) do
      IO.puts("#{file} has #{counted(moved)}")
      place |> doubt() |> IO.write()
    else
      {:error, %Error{} = error} -> fail(error)
    end
  end

  @doc """
  Puts actors of a file, or of several, into the store that the settings name, which no node may use meanwhile:
  `Tidepool.Actor.Journal.Archive.import/3`.

  ## Options

  - `:overwrite`: replaces actors that there are
  - `:node` and `:data`: whose data folder, as for `check/1`
  """
  @spec import_actors(Path.t() | [Path.t(), ...], overwrite: boolean, node: String.t(), data: Path.t()) :: :ok
  def import_actors(files, options \\ []) do
    with {:ok, place} <- actors(options, &named_there/3),
         {:ok, moved} <- Archive.import(place, files, options[:overwrite] == true) do
      for actor <- moved.differing, do: IO.puts(differs(actor))
      IO.puts("imported #{counted(moved)}")
    else
      {:error, %Error{} = error} -> fail(error)
    end
  end

  @doc """
  Accepts actors that are older than what was answered, for the log of their last changes is damaged, and which the node refuses to
  serve since: `Tidepool.Actor.Journal.Archive.accept/1`. No node may use the folder meanwhile.

  ## Options

  - `:node` and `:data`: whose data folder, as for `check/1`
  """
  @spec accept_actors(node: String.t(), data: Path.t()) :: :ok
  def accept_actors(options \\ []) do
    with {:ok, place} <- actors(options, &has_or_named/3),
         {:ok, missing} <- Archive.accept(place) do
      IO.puts(if missing, do: "accepted without what is missing: #{missing}", else: "nothing is missing of the actors")
    else
      {:error, %Error{} = error} -> fail(error)
    end
  end

  defp doubt({:voter, folder, node} = place) do
    others = Archive.others(place)

    if others == [] or Data.running?(folder),
      do: "",
      else:
        "#{node} does not run: the file has what it had when it ended. #{Enum.join(others, ", ")} kept the same actors, and may have later " <>
          "changes: if one of these runs, export from that one\n"
  end

  defp doubt(_place), do: ""

  defp differs(%{class: class, name: name} = actor),
    do: "#{class}/#{name}: the state of #{actor.kept} is imported, and that of #{actor.of} is in #{actor.differing}"

  defp counted(%{actors: actors, modules: modules}),
    do: "#{many(actors, "actor")}, and #{many(modules, "module")} that they run"

  defp many(1, thing), do: "1 #{thing}"
  defp many(count, thing), do: "#{count} #{thing}s"

  # A folder that is named is meant, and not a database. `may?` says whether a node's voter is one that is meant.
  defp actors(options, may?) do
    with {:ok, settings} <- settings(),
         given = Keyword.merge(Keyword.take(settings, [:actors, :data]), Keyword.take(options, [:data])),
         {:ok, config} <- Config.Schema.check(given) do
      case {config.actors, options[:data]} do
        {{:postgres, url}, nil} ->
          {:ok, {:postgres, url}}

        {{:replicated, names}, _or_another} ->
          with {:ok, folder} <- folder(options), do: voter(named(options), folder, names, may?)

        _local ->
          with {:ok, folder} <- folder(options), do: {:ok, {:folder, folder}}
      end
    end
  end

  defp voter(node, folder, names, may?) do
    if may?.(node, folder, names) do
      {:ok, {:voter, folder, node}}
    else
      message = "nodes keep actors together, and #{node} is none of them: name one of #{Enum.join(names, ", ")}"
      {:error, Error.new(:no_store, message)}
    end
  end

  # Who begins a group is found by the others by its name.
  defp named_there(node, _folder, names), do: node in names

  # One that was added later may be named nowhere, and has all.
  defp has_or_named(node, folder, names), do: node in names or Archive.voter?(folder)

  defp folder(options) do
    with {:ok, data} <- if(data = options[:data], do: {:ok, Path.expand(data)}, else: data()),
         do: {:ok, Store.folder(data, named(options))}
  end

  defp named(options), do: Keyword.get_lazy(options, :node, &own_name/0)

  # The node whose command this is runs elsewhere, or not at all.
  defp own_name do
    case {System.get_env("RELEASE_DISTRIBUTION"), System.get_env("RELEASE_NODE")} do
      {distribution, name} when distribution in [nil, "none"] or name == nil -> to_string(node())
      {_distribution, name} -> name
    end
  end

  defp data do
    with {:ok, settings} <- settings() do
      case settings[:data] do
        data when is_binary(data) -> {:ok, Path.expand(data)}
        _none -> {:error, Error.new(:invalid_option, "no data folder is set (`data`), so there is nothing to do")}
      end
    end
  end

  # Without slips: by what is left of them, they would be those of another store.
  defp settings do
    _loaded_before = Application.load(:tidepool)
    settings = Application.get_all_env(:tidepool)
    with :ok <- Config.Variables.check_release(settings), do: {:ok, settings}
  end

  @spec fail(Error.t()) :: no_return
  defp fail(%Error{message: message}) do
    IO.puts(:stderr, message)
    exit({:shutdown, 1})
  end
end
