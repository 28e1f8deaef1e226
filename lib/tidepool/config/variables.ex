defmodule Tidepool.Config.Variables do
  @moduledoc """
  The names of the environment's variables that begin with `TIDEPOOL_`, or were meant to. One that nobody reads is a slip: without a word
  about it a node would run without what its operator has set, and a command would change another store than the one that was named.
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
  # What Kubernetes gives each container of the services beside it, of which one may be called `tidepool`, or `tidepool-site`. Nobody has
  # written these names, so they pass, even one that looks like a slip, as TIDEPOOL_SITE_PORT does. A service's host and port come
  # together: one that stands alone is a person's. A service without an address has none of them.
  # https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
  @of_service ~r/\A_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)\z/
  @service_url ~r/\A(tcp|udp|sctp):/

  @all @node ++ @others ++ Map.keys(@elsewhere)

  @doc """
  Checks an environment, as `System.get_env/0` has it. A variable that does not begin with `TIDEPOOL_` is a slip if its name is one
  that somebody reads but for a letter, or for its case.

      iex> Tidepool.Config.Variables.check(%{"TIDEPOOL_TOKEN" => "s3cret", "HOME" => "/root"})
      :ok
      iex> {:error, error} = Tidepool.Config.Variables.check(%{"TIDEPOOL_TOKENS" => "s3cret"})
      iex> error.message
      "the variable TIDEPOOL_TOKENS is unknown: did you mean TIDEPOOL_TOKEN?"
  """
  @spec check(%{String.t() => String.t()}) :: :ok | {:error, Error.t()}
  def check(environment) do
    services = services(environment)
    slips = for {name, _value} = variable <- environment, slip?(name), not of_service?(variable, services), do: name
    if slips == [], do: :ok, else: {:error, Error.new(:invalid_option, slips |> Enum.sort() |> said())}
  end

  @doc """
  Checks this VM's environment where it is that of a release of Tidepool's own, which has these settings. Other applications have
  variables of their own.
  """
  @spec check_release(keyword) :: :ok | {:error, Error.t()}
  def check_release(settings) do
    own? = settings[:standalone] == true and settings[:server] == true and System.get_env("RELEASE_ROOT") != nil
    if own?, do: check(System.get_env()), else: :ok
  end

  @doc "Names of the variables of settings that are numbers: `config/runtime.exs` reads all of them."
  @spec numbers :: [String.t()]
  def numbers, do: @numbers

  @doc "All names that somebody reads."
  @spec known :: [String.t()]
  def known, do: @node ++ @others

  defp slip?("TIDEPOOL_" <> _rest = name), do: name not in known() and not (name =~ @argument)
  defp slip?(name), do: near(name) != nil

  # All slips at once: who mends one after the other starts as often.
  defp said([name]), do: "the variable #{name} is unknown: #{hint(meant(name))}"

  defp said(names) do
    shown = for name <- names, do: if(meant = meant(name), do: "#{name} (#{hint(meant)})", else: name)
    where = if Enum.all?(names, &meant/1), do: "", else: ": " <> hint(nil)
    "the variables #{Enum.join(shown, ", ")} are unknown#{where}"
  end

  # An archive has no folder of documents.
  defp hint(nil), do: "docs/configuration.md has those that there are, which a node serves as /docs/configuration.html"
  defp hint(meant), do: "did you mean #{meant}?"

  defp meant("TIDEPOOL_" <> _rest = name) do
    meant = near(name) || Options.nearest(String.upcase(name, :ascii), @node, 0.9)
    Map.get(@elsewhere, meant, meant)
  end

  defp meant(name) do
    meant = near(name)
    Map.get(@elsewhere, meant, meant)
  end

  # The name that is the same but for its case or one letter. Names of others begin with another letter, as RIDEPOOL_TOKEN does; and a
  # number is on purpose, as in TIDEPOOL2_TOKEN.
  defp near(name) do
    upper = String.upcase(name, :ascii)

    if upper =~ ~r/\A[TI]\D+\z/ do
      Enum.find(@all, &(&1 == upper)) || Enum.find(@all, &one_letter?(to_charlist(&1), :binary.bin_to_list(upper)))
    end
  end

  # Is one letter another, too much, missing, or before the one that it belongs behind?
  defp one_letter?([same | meant], [same | written]), do: one_letter?(meant, written)
  defp one_letter?([first, second | rest], [second, first | rest]), do: true
  defp one_letter?([_meant | rest], [_written | rest]), do: true
  defp one_letter?(rest, [_written | rest]), do: true
  defp one_letter?([_meant | rest], rest), do: true
  defp one_letter?(_meant, _written), do: false

  defp services(environment) do
    for {name, _address} <- environment,
        String.ends_with?(name, "_SERVICE_HOST"),
        service = String.replace_suffix(name, "_SERVICE_HOST", ""),
        is_map_key(environment, service <> "_SERVICE_PORT"),
        do: service
  end

  # That of the service's name with `_PORT` is a URL.
  defp of_service?({name, value}, services) do
    Enum.any?(services, fn service ->
      case String.replace_prefix(name, service, "") do
        "_PORT" -> value =~ @service_url
        rest -> rest =~ @of_service
      end
    end)
  end
end
