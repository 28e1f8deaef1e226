defmodule Tidepool.Oci do
  @moduledoc """
  Modules by reference: fetched from a registry by the node that a deploy comes to, in the process that deploys.

  What is fetched is what the manifest says, which is what its digest says: both are looked at, and a reference without a digest
  comes back with the one that it had at this moment. No more is read than the node's `max_module`, and nothing after
  `registry_timeout`. Whose process ends has fetched nothing.
  """

  alias Tidepool.{Config, Error}
  alias Tidepool.Catalog.Origin
  alias Tidepool.Function.{Loader, Reference}
  alias Tidepool.Function.Reference.Registries
  alias Tidepool.Namespaces.Name
  alias Tidepool.Oci.{Failure, Manifest, Places, Registry}
  alias Tidepool.Tokens.Access

  @doc "The module of a reference, and the reference with its digest, for a function of this name and whoever may have it from there."
  @spec fetch(String.t(), function :: String.t(), Origin.t()) ::
          {:ok, wasm :: binary, ref :: String.t()} | {:error, Error.t()}
  def fetch(text, function, origin) do
    with {:ok, reference} <- parse(text),
         {:ok, granted} <- Access.permit_registry(origin, reference),
         {:ok, scheme, scope} <- reach(reference, granted, origin) do
      placed(reference, Name.of(function), fn ->
        pull(Registry.new(reference, function, scheme, scope, Config.get(:registry_timeout)))
      end)
    end
  end

  defp parse(text) do
    with :error <- Reference.parse(text) do
      {:error, Error.new(:invalid_option, "the option :ref has to be #{Reference.expectation()}")}
    end
  end

  # What may do everything grants no registry by its name, and a name that is granted may come to lead anywhere: just an address means what
  # it says. On a node of one's own, those of the machine are meant by their names.
  defp reach(%{registry: registry}, granted, origin) do
    trusted? = granted == :named or (own?(origin) and Registries.local?(registry))

    case {Registries.named(registry, Config.get(:registries)), Registries.scheme(registry)} do
      {{:named, scheme}, _usual} -> {:ok, scheme, :any}
      {:any, :http} when trusted? -> {:ok, :http, :loopback}
      {:any, :https} -> {:ok, :https, if(trusted? and Registries.address?(registry), do: :any, else: :public)}
      _no -> unnamed(registry)
    end
  end

  defp own?(:elixir), do: true
  defp own?({kind, _peer}), do: kind == :no_token

  defp unnamed(registry) do
    message = "this node fetches nothing from #{registry}: its setting `registries` says which registries there are"
    {:error, Error.new(:invalid_option, message)}
  end

  defp placed(%{registry: name}, namespace, pull) do
    case Places.with_place(name, namespace, pull) do
      {:ok, outcome} -> outcome
      :full -> Failure.busy(name, "this node fetches other modules, and has no place for one more from #{name}")
    end
  end

  defp pull(%{reference: %{registry: name} = reference} = registry) do
    with {:ok, manifest, digest, registry} <- Registry.manifest(registry),
         resolved = Reference.text(%{reference | digest: digest}),
         {:ok, layer} <- layer(manifest, name, resolved),
         :ok <- Loader.check_size(layer.size),
         {:ok, wasm} <- Registry.blob(registry, layer) do
      {:ok, wasm, resolved}
    end
  end

  defp layer(manifest, name, resolved) do
    case Manifest.layer(manifest) do
      {:ok, layer} -> {:ok, layer}
      {:error, {:no_module, why}} -> Failure.no_module(name, resolved, why)
      {:error, :no_manifest} -> Failure.failed(name, "what it has of that name is no manifest")
    end
  end
end
