defmodule Tidepool.Oci.Registry do
  @moduledoc """
  What is asked of one registry, by the OCI's distribution specification: a manifest, a blob, and what it takes to be let in.

  A registry may send the node elsewhere, for a blob or for a token. Elsewhere is by TLS and at a public address, or at a registry that
  the setting `registries` names. What lets the node in goes to the registry alone, and the login to where the registry itself says
  that tokens are to be had.
  """

  alias Tidepool.{Config, Native}
  alias Tidepool.Function.Reference
  alias Tidepool.Function.Reference.Registries
  alias Tidepool.Oci.{Address, Challenge, Failure, Http, Logins, Manifest}

  @most_redirects 5
  # Those of modules have a few KiB.
  @manifest_bytes 262_144
  @token_bytes 65_536
  @redirects [301, 302, 303, 307, 308]

  @enforce_keys [:reference, :function, :origin, :scope, :until, :timeout]
  defstruct @enforce_keys ++ [:authorization]

  @typedoc "Where something is asked: `{:https, \"registry.example\", 443}`."
  @type origin :: {Registries.scheme(), host :: String.t(), :inet.port_number()}

  @type t :: %__MODULE__{
          reference: Reference.t(),
          function: String.t(),
          origin: origin,
          scope: Address.scope(),
          until: integer,
          timeout: pos_integer,
          authorization: String.t() | nil
        }

  @doc "The registry of a reference, which is asked for a function, to be done with within `timeout` ms from now."
  @spec new(Reference.t(), function :: String.t(), Registries.scheme(), Address.scope(), timeout :: pos_integer) :: t
  def new(%{registry: registry} = reference, function, scheme, scope, timeout) do
    %URI{host: host, port: port} = URI.parse("#{scheme}://#{registry}")
    # What is called docker.io answers as this.
    host = if host == "docker.io", do: "registry-1.docker.io", else: host
    until = System.monotonic_time(:millisecond) + timeout

    %__MODULE__{
      reference: reference,
      function: function,
      origin: {scheme, host, port},
      scope: scope,
      until: until,
      timeout: timeout
    }
  end

  @doc "The bytes of the manifest that the reference names, and their SHA-256 in hex."
  @spec manifest(t) :: {:ok, binary, sha256 :: String.t(), t} | Failure.t()
  def manifest(%{reference: reference} = registry) do
    wanted = if reference.digest, do: "sha256:" <> reference.digest, else: reference.tag

    with {:ok, answer, registry} <-
           ask(registry, "manifests/" <> wanted, [{"accept", Manifest.accept()}], @manifest_bytes) do
      sha256 = sha256(answer.body)

      if sha256 == (reference.digest || sha256) and told?(Http.header(answer, "docker-content-digest"), sha256),
        do: {:ok, answer.body, sha256, registry},
        else: Failure.wrong_digest(reference.registry, "a manifest")
    end
  end

  # Registries need not tell it.
  defp told?("sha256:" <> told, sha256), do: told == sha256
  defp told?(_none, _sha256), do: true

  @doc "The bytes of a layer, which have its size and its digest."
  @spec blob(t, Manifest.layer()) :: {:ok, binary} | Failure.t()
  def blob(%{reference: %{registry: name}} = registry, %{sha256: sha256, size: size}) do
    with {:ok, answer, _registry} <- ask(registry, "blobs/sha256:" <> sha256, [], size) do
      cond do
        byte_size(answer.body) != size -> Failure.failed(name, "the module has another size than the manifest says")
        sha256(answer.body) != sha256 -> Failure.wrong_digest(name, "a module")
        true -> {:ok, answer.body}
      end
    end
  end

  # In pieces: a scheduler is not held for all of it.
  defp sha256(bytes), do: bytes |> hash(:crypto.hash_init(:sha256)) |> Base.encode16(case: :lower)

  defp hash(<<piece::binary-size(65_536), rest::binary>>, state), do: hash(rest, :crypto.hash_update(state, piece))
  defp hash(rest, state), do: state |> :crypto.hash_update(rest) |> :crypto.hash_final()

  defp ask(registry, path, headers, bytes) do
    target = "/v2/#{registry.reference.repository}/#{path}"

    case follow(registry, registry.origin, target, headers, bytes, @most_redirects) do
      {:challenged, answer} ->
        with {:ok, registry} <- authorise(registry, Challenge.read(answer.headers)) do
          registry |> follow(registry.origin, target, headers, bytes, @most_redirects) |> told(registry)
        end

      other ->
        told(other, registry)
    end
  end

  defp told({:ok, answer}, registry), do: {:ok, answer, registry}
  defp told({:challenged, _answer}, registry), do: denied(registry)
  defp told({:error, error}, _registry), do: {:error, error}

  defp follow(registry, origin, target, headers, bytes, redirects) do
    own? = origin == registry.origin
    own = if own? and registry.authorization, do: [{"authorization", registry.authorization}], else: []

    with {:ok, answer} <- get(registry, origin, target, own ++ headers, bytes) do
      case answer.status do
        200 -> {:ok, answer}
        401 when own? and registry.authorization == nil -> {:challenged, answer}
        status when status in @redirects -> redirect(registry, {origin, target}, answer, headers, bytes, redirects)
        status when own? -> refused(registry, status)
        status -> failed(registry, "where it sends to answers with the status #{status}")
      end
    end
  end

  defp refused(registry, status) when status in [401, 403], do: denied(registry)
  defp refused(%{reference: reference}, 404), do: Failure.unknown(reference.registry, Reference.text(reference))
  defp refused(%{reference: %{registry: name}}, 429), do: Failure.busy(name, "#{name} has been asked too much")
  defp refused(registry, status), do: failed(registry, "it answers with the status #{status}")

  defp redirect(registry, _from, _answer, _headers, _bytes, 0),
    do: failed(registry, "it sends from one place to the next")

  defp redirect(registry, {{scheme, host, port}, target}, answer, headers, bytes, redirects) do
    base = %URI{scheme: "#{scheme}", host: host, port: port, path: target |> String.split("?") |> hd()}

    with "" <> location <- Http.header(answer, "location"),
         {:ok, origin, target} <- parsed(location, base) do
      follow(registry, origin, target, headers, bytes, redirects - 1)
    else
      _none -> failed(registry, "it sends to an address that is none")
    end
  end

  # An address of somewhere else, as origin and target; there is nothing in it that ends a line.
  defp parsed(text, base \\ nil) do
    with true <- text =~ ~r/\A[\x21-\x7e]+\z/,
         # The VM reads a port in one go, however long it is.
         false <- text =~ ~r/\A(?:[^:\/?#]*:)?\/\/[^\/?#]*:[0-9]{6,}(?:[\/?#]|\z)/,
         {:ok, uri} <- URI.new(text),
         %URI{scheme: scheme, host: "" <> host, port: port, userinfo: nil} = uri when host != "" and port in 1..65_535 <-
           if(base, do: URI.merge(base, uri), else: uri),
         scheme when scheme != nil <- Enum.find([:http, :https], &("#{&1}" == scheme)) do
      query = if uri.query, do: "?" <> uri.query, else: ""
      {:ok, {scheme, String.downcase(host), port}, (uri.path || "/") <> query}
    else
      _other -> :error
    end
  end

  defp get(registry, {scheme, host, port} = origin, target, headers, bytes) do
    with {:ok, scope} <- scope(registry, origin),
         [_one | _more] = addresses <- Address.find(host, scope, registry.function, max(Http.left(registry.until), 1)) do
      request = %{scheme: scheme, host: host, port: port, addresses: addresses, target: target}

      request =
        Map.merge(request, %{headers: [{"user-agent", "tidepool"} | headers], bytes: bytes, until: registry.until})

      with {:error, fault} <- Http.get(request), do: fault(registry, origin, fault)
    else
      [] -> nowhere(registry, origin)
      {:error, error} -> {:error, error}
    end
  end

  # Where the registry is was looked at before; where it sends to is looked at here.
  defp scope(%{origin: origin, scope: scope}, origin), do: {:ok, scope}

  defp scope(registry, {scheme, host, port}) do
    written = if host =~ ":", do: "[#{host}]", else: host
    names = ["#{written}:#{port}"] ++ if(port == URI.default_port("#{scheme}"), do: [written], else: [])
    named = Enum.map(names, &Registries.named(&1, Config.get(:registries)))

    cond do
      {:named, scheme} in named ->
        {:ok, :any}

      scheme == :https ->
        {:ok, :public}

      true ->
        failed(registry, "it sends to an address in the clear, which this node's setting `registries` does not name")
    end
  end

  # Whether there is such a name, or one on a network of the node's, is all the same to who asks.
  defp nowhere(%{reference: %{registry: name}, origin: {_scheme, own, _port}}, {_, host, _}) do
    what = if host == own, do: "it", else: "where it sends to"

    why =
      "#{what} has no address that this node asks; one of a private network is named by the node's setting `registries`"

    Failure.unreachable(name, why)
  end

  defp fault(%{reference: %{registry: name}, timeout: timeout}, _origin, :timeout), do: Failure.timeout(name, timeout)
  defp fault(registry, _origin, :not_http), do: failed(registry, "what it answers is no HTTP")
  defp fault(registry, _origin, :encoded), do: failed(registry, "it has compressed what it was asked to send as it is")
  defp fault(registry, _origin, :too_long), do: failed(registry, "it sends more than it should")
  defp fault(registry, _origin, :cut), do: failed(registry, "its answer ended before its end")
  defp fault(%{reference: %{registry: name}}, _origin, {:connect, why}), do: Failure.unreachable(name, why(why))

  defp why({:tls_alert, {alert, _text}}), do: "TLS failed (#{alert})"
  defp why(:econnrefused), do: "nobody listens there"
  defp why(reason) when is_atom(reason), do: "#{:inet.format_error(reason)}"
  defp why(_other), do: "the connection failed"

  defp failed(%{reference: %{registry: name}}, why), do: Failure.failed(name, why)

  defp denied(%{reference: %{registry: name} = reference}) do
    why =
      "#{name} does not let this node have #{Reference.text(reference)}: the node's file of logins, docker's config.json, " <>
        "has none for it, or one that may not"

    Failure.denied(name, why)
  end

  # --- Being let in -------------------------------------------------------------------------------

  defp authorise(registry, challenge) do
    case {challenge, Logins.find(registry.reference.registry)} do
      {_challenge, {:error, :unreadable}} ->
        why = "this node's file of logins can't be read: it is the setting `registry_logins`, or docker's config.json"
        Failure.denied(registry.reference.registry, why)

      {:basic, {:ok, {_user, _password} = login}} ->
        {:ok, %{registry | authorization: basic(login)}}

      {{:bearer, realm, service}, {:ok, login}} ->
        with {:ok, token} <- token(registry, realm, service, login),
             do: {:ok, %{registry | authorization: "Bearer " <> token}}

      _no_way ->
        denied(registry)
    end
  end

  defp basic({user, password}), do: "Basic " <> Base.encode64("#{user}:#{password}")

  defp token(registry, realm, service, login) do
    headers = if login, do: [{"authorization", basic(login)}], else: []

    with {:ok, origin, target} <- parsed(Challenge.address(realm, service, registry.reference.repository)),
         {:ok, %{status: 200, body: body}} <- get(registry, origin, target, headers, @token_bytes),
         {:ok, %{} = answer} <- Native.json_decode(body),
         "" <> token <- answer["token"] || answer["access_token"],
         true <- token =~ ~r/\A[\x21-\x7e]+\z/ do
      {:ok, token}
    else
      {:ok, %{status: status}} when status in [401, 403] ->
        denied(registry)

      {:ok, %{status: 429}} ->
        refused(registry, 429)

      {:ok, %{status: status}} when is_integer(status) ->
        failed(registry, "where tokens are to be had answers with the status #{status}")

      {:error, %Tidepool.Error{} = error} ->
        {:error, error}

      _other ->
        failed(registry, "it says of no place where a token is to be had")
    end
  end
end
