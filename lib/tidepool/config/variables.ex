defmodule Tidepool.Config.Variables do
  @moduledoc """
  The names of the environment's variables that begin with `TIDEPOOL_`. One that nobody reads is a slip: without a word about it a
  node would run without what its operator has set.
  """

  alias Tidepool.Config.Schema
  alias Tidepool.{Error, Options}

  # Of each number that a setting is.
  @numbers for {name, spec} <- Schema.settings(),
               match?({:integer, _least, _most}, spec[:type]) and name != :port,
               do: "TIDEPOOL_" <> String.upcase(to_string(name))

  # What else a node reads: `config/runtime.exs`, a release's `env.sh` and what a container begins with.
  @node @numbers ++ ~w(TIDEPOOL_ACTORS TIDEPOOL_ADDRESS TIDEPOOL_BUILTINS TIDEPOOL_CALLS TIDEPOOL_CERTS
    TIDEPOOL_CLUSTER TIDEPOOL_CLUSTER_ADDRESS TIDEPOOL_COOKIE TIDEPOOL_DATA
    TIDEPOOL_DEPLOY_KEYS TIDEPOOL_DNS TIDEPOOL_DNS_NODE TIDEPOOL_EPMD TIDEPOOL_FILES TIDEPOOL_HOST TIDEPOOL_HOSTS
    TIDEPOOL_INSTANCES TIDEPOOL_IO TIDEPOOL_KEYVALUE TIDEPOOL_LIMITS TIDEPOOL_NAMESPACES TIDEPOOL_NET
    TIDEPOOL_PERF_MAP TIDEPOOL_PROXIES TIDEPOOL_READS TIDEPOOL_REGISTRIES TIDEPOOL_REGISTRY_LOGINS TIDEPOOL_SEEDS
    TIDEPOOL_SITES_ADDRESS TIDEPOOL_TLS_CERT TIDEPOOL_TLS_CERTS TIDEPOOL_TLS_CLIENTS TIDEPOOL_TLS_KEY TIDEPOOL_TOKEN)

  # What tools, builds and tests read: who has set one of these for them may start a node beside.
  @others ~w(TIDEPOOL_ALL_MINUTES TIDEPOOL_CA TIDEPOOL_CHAOS_S TIDEPOOL_COMPILER TIDEPOOL_DOWNLOADS TIDEPOOL_FUZZ_S
    TIDEPOOL_FUZZ_SEED TIDEPOOL_GUESTS_TOOLS TIDEPOOL_IMAGES TIDEPOOL_KEY TIDEPOOL_LONG TIDEPOOL_LTO TIDEPOOL_NIF TIDEPOOL_ORDEAL_S
    TIDEPOOL_PUBLIC_KEY TIDEPOOL_RUN TIDEPOOL_SIGNING_KEY TIDEPOOL_STEP_MINUTES TIDEPOOL_TOOLCHAINS TIDEPOOL_URL)

  # Settings whose variables have names of others.
  @elsewhere %{"TIDEPOOL_PORT" => "PORT", "TIDEPOOL_NODE" => "RELEASE_NODE", "TIDEPOOL_NAME" => "RELEASE_NODE"}

  # Arguments of `bin/tidepool run`, which a release's `env.sh` passes on.
  @argument ~r/\ATIDEPOOL_RUN_\d+\z/
  # What Kubernetes gives each container of the services beside it, of which one may have a name that begins with `tidepool`:
  # https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
  @service ~r/\ATIDEPOOL_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)\z/
  @service_url ~r/\A(tcp|udp|sctp):/

  @doc """
  Checks an environment, as `System.get_env/0` has it.

      iex> Tidepool.Config.Variables.check(%{"TIDEPOOL_TOKEN" => "s3cret", "HOME" => "/root"})
      :ok
      iex> {:error, error} = Tidepool.Config.Variables.check(%{"TIDEPOOL_TOKENS" => "s3cret"})
      iex> error.message
      "the variable TIDEPOOL_TOKENS is unknown: did you mean TIDEPOOL_TOKEN?"
  """
  @spec check(%{String.t() => String.t()}) :: :ok | {:error, Error.t()}
  def check(environment) do
    case environment |> Enum.sort() |> Enum.find(&unknown?/1) do
      nil -> :ok
      {name, _value} -> {:error, Error.new(:invalid_option, "the variable #{name} is unknown: #{hint(name)}")}
    end
  end

  @doc "Names of the variables of settings that are numbers: `config/runtime.exs` reads all of them."
  @spec numbers :: [String.t()]
  def numbers, do: @numbers

  @doc "All names that somebody reads."
  @spec known :: [String.t()]
  def known, do: @node ++ @others

  defp unknown?({"TIDEPOOL_" <> _rest = name, value}) do
    name not in known() and not (name =~ @argument) and not (name =~ @service) and
      not (String.ends_with?(name, "_PORT") and value =~ @service_url)
  end

  defp unknown?(_other), do: false

  defp hint(name) when is_map_key(@elsewhere, name), do: "did you mean #{@elsewhere[name]}?"

  defp hint(name) do
    case Options.nearest(name, @node, 0.9) do
      nil -> "docs/configuration.md has those that there are"
      nearest -> "did you mean #{nearest}?"
    end
  end
end
