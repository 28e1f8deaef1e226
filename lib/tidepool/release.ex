defmodule Tidepool.Release do
  @moduledoc """
  What is done to a node that does not run, from its release:

      bin/tidepool eval 'Tidepool.Release.adopt("tidepool@localhost")'
      bin/tidepool eval 'Tidepool.Release.check()'

  and `bin/tidepool run FILE`, which needs no node. Each says what it has done; or why not, on standard error, and then the exit status is 1.
  """

  alias Tidepool.{Config, Data, Error}
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

    with {:ok, config} <- Config.check(settings),
         :ok <- Certificates.check_given(config),
         :ok <- free_data(config.data),
         :ok <- free_port(config) do
      :ok
    else
      {:error, %Error{} = error} -> fail(%{error | message: "tidepool can't start: #{error.message}"})
    end
  end

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
    with {:ok, data} <- if(data = options[:data], do: {:ok, Path.expand(data)}, else: data()),
         folder = Store.folder(data, Keyword.get_lazy(options, :node, &own_name/0)),
         :ok <- if(options[:mend], do: Check.mend(folder, options[:from]), else: :ok),
         {:ok, findings} <- Check.run(folder) do
      IO.puts(Check.render(folder, findings))
      if Enum.any?(findings, &(&1.state == :damaged)), do: exit({:shutdown, 1}), else: :ok
    else
      {:error, %Error{} = error} -> fail(error)
    end
  end

  # The node whose command this is runs elsewhere, or not at all.
  defp own_name do
    case {System.get_env("RELEASE_DISTRIBUTION"), System.get_env("RELEASE_NODE")} do
      {distribution, name} when distribution in [nil, "none"] or name == nil -> to_string(node())
      {_distribution, name} -> name
    end
  end

  defp data do
    _loaded_before = Application.load(:tidepool)

    case Application.get_env(:tidepool, :data) do
      data when is_binary(data) -> {:ok, Path.expand(data)}
      _none -> {:error, Error.new(:invalid_option, "no data folder is set (`data`), so there is nothing to do")}
    end
  end

  @spec fail(Error.t()) :: no_return
  defp fail(%Error{message: message}) do
    IO.puts(:stderr, message)
    exit({:shutdown, 1})
  end
end
