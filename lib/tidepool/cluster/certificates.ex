defmodule Tidepool.Cluster.Certificates do
  @moduledoc """
  X.509 certificates for distributed Erlang over TLS: an authority, and nodes that it vouches for.

  Keys are on the curve P-256, signatures are ECDSA with SHA-256. A node's certificate serves both ends of a connection,
  names the node as its common name, and its host, by which the other end checks it, as alternative name (RFC 5280).
  """

  require Record

  alias Tidepool.Error

  # The documented records of `public_key`, written out because its header files are not everywhere that Erlang is:
  # https://www.erlang.org/doc/apps/public_key/public_key_records.html
  @optional :asn1_NOVALUE

  Record.defrecordp(:certificate, :OTPCertificate, [:tbsCertificate, :signatureAlgorithm, :signature])

  Record.defrecordp(:tbs, :OTPTBSCertificate, [
    :version,
    :serialNumber,
    :signature,
    :issuer,
    :validity,
    :subject,
    :subjectPublicKeyInfo,
    issuerUniqueID: @optional,
    subjectUniqueID: @optional,
    extensions: @optional
  ])

  Record.defrecordp(:signature, :SignatureAlgorithm, [:algorithm, parameters: @optional])
  Record.defrecordp(:validity, :Validity, [:notBefore, :notAfter])
  Record.defrecordp(:key_info, :OTPSubjectPublicKeyInfo, [:algorithm, :subjectPublicKey])
  Record.defrecordp(:key_algorithm, :PublicKeyAlgorithm, [:algorithm, :parameters])
  Record.defrecordp(:attribute, :AttributeTypeAndValue, [:type, :value])
  Record.defrecordp(:extension, :Extension, [:extnID, :critical, :extnValue])
  Record.defrecordp(:constraints, :BasicConstraints, [:cA, pathLenConstraint: @optional])

  Record.defrecordp(:authority_key, :AuthorityKeyIdentifier,
    keyIdentifier: @optional,
    authorityCertIssuer: @optional,
    authorityCertSerialNumber: @optional
  )

  # Only read: it has more fields, by version.
  Record.defrecordp(:private_key, :ECPrivateKey, [:version, :privateKey, :parameters, :publicKey])

  # Object identifiers of RFC 5280 and RFC 5480.
  @common_name {2, 5, 4, 3}
  @subject_key {2, 5, 29, 14}
  @key_usage {2, 5, 29, 15}
  @alternative_name {2, 5, 29, 17}
  @basic_constraints {2, 5, 29, 19}
  @authority_key {2, 5, 29, 35}
  @extended_usage {2, 5, 29, 37}
  @server {1, 3, 6, 1, 5, 5, 7, 3, 1}
  @client {1, 3, 6, 1, 5, 5, 7, 3, 2}
  @ec_public_key {1, 2, 840, 10_045, 2, 1}
  @ecdsa_sha256 {1, 2, 840, 10_045, 4, 3, 2}
  @p256 {1, 2, 840, 10_045, 3, 1, 7}

  # Clocks differ: a certificate made here is valid at once on a machine that is a little behind.
  @backdate_s 3_600
  @day_s 86_400

  @typedoc "A certificate and its private key, both in PEM."
  @type t :: %{certificate: String.t(), key: String.t()}

  @doc "A new authority, valid for `days`."
  @spec authority(pos_integer) :: t
  def authority(days) do
    key = new_key()
    name = subject("Tidepool cluster #{Base.encode16(:crypto.strong_rand_bytes(4), case: :lower)}")

    extensions = [
      extension(@basic_constraints, true, constraints(cA: true, pathLenConstraint: 0)),
      extension(@key_usage, true, [:keyCertSign, :cRLSign]),
      extension(@subject_key, false, key_id(key))
    ]

    issue(name, key, extensions, days, name, key)
  end

  @doc """
  A certificate for the node of this name, valid for `days`, by `authority`.

  Errors say what is wrong with the node's name or the authority.
  """
  @spec node(String.t(), pos_integer, t) :: {:ok, t} | {:error, String.t()}
  def node(node, days, authority) do
    with {:ok, host} <- host(node),
         {:ok, issuer, issuer_key} <- read(authority) do
      key = new_key()

      extensions = [
        extension(@basic_constraints, true, constraints(cA: false)),
        extension(@key_usage, true, [:digitalSignature]),
        extension(@extended_usage, false, [@server, @client]),
        extension(@alternative_name, false, alternatives(host)),
        extension(@subject_key, false, key_id(key)),
        extension(@authority_key, false, authority_key(keyIdentifier: key_id(issuer_key)))
      ]

      {:ok, issue(subject(node), key, extensions, days, issuer, issuer_key)}
    end
  end

  @doc """
  Checks what `TIDEPOOL_CERTS` names, where the node has a VM of its own: other applications see to their certificates.

  Erlang reads them when nodes meet, so with ones that are of no use the node would just stay alone.
  """
  @spec check_given(Tidepool.Config.t()) :: :ok | {:error, Error.t()}
  def check_given(%{standalone: standalone?}) do
    with folder when standalone? and folder not in [nil, ""] <- System.get_env("TIDEPOOL_CERTS"),
         {:error, message} <- check(folder) do
      {:error, Error.new(:invalid_option, "#{message} (TIDEPOOL_CERTS)")}
    else
      _none_or_fine -> :ok
    end
  end

  @doc """
  Are the certificate, key and authority in this folder some that a node can use now? The error is a sentence.

  Chains of certificates and other kinds of keys, which no task of Tidepool's makes, are only decoded.
  """
  @spec check(Path.t()) :: :ok | {:error, String.t()}
  def check(folder) do
    [authority, certificate, key] = paths = for name <- ~w(ca cert key), do: Path.join(folder, name <> ".pem")

    with {:ok, [authorities, certificates, keys]} <- decode(paths) do
      case {authorities, certificates, keys} do
        {[by], [of], [secret]} when elem(secret, 0) == :ECPrivateKey ->
          cond do
            not pair?(of, secret) -> {:error, "#{key} is not the key of #{certificate}"}
            reason = flaw(by, of) -> {:error, "#{certificate} can't be used with #{authority}: #{reason}"}
            true -> :ok
          end

        _other ->
          :ok
      end
    end
  end

  defp decode(paths) do
    Enum.reduce_while(paths, {:ok, []}, fn path, {:ok, decoded} ->
      case entries(path) do
        [] -> {:halt, {:error, "#{path} has nothing that can be decoded"}}
        entries -> {:cont, {:ok, decoded ++ [entries]}}
      end
    end)
  end

  # What is in a file, as far as it can be read: certificates in DER, private keys as records.
  defp entries(path) do
    for entry <- path |> File.read!() |> :public_key.pem_decode() do
      case entry do
        {:Certificate, der, :not_encrypted} ->
          _whole = :public_key.pkix_decode_cert(der, :otp)
          der

        _key ->
          :public_key.pem_entry_decode(entry)
      end
    end
  rescue
    # What bytes that are no certificate raise differs between versions of Erlang.
    _undecodable -> []
  end

  defp pair?(der, key) do
    info = certificate(:public_key.pkix_decode_cert(der, :otp), :tbsCertificate) |> tbs(:subjectPublicKeyInfo)
    key_info(info, :subjectPublicKey) == {:ECPoint, public(key)}
  end

  defp flaw(authority, der) do
    case :public_key.pkix_path_validation(authority, [der], []) do
      {:ok, _validated} -> nil
      {:error, {:bad_cert, :cert_expired}} -> "it is not valid now"
      {:error, {:bad_cert, _reason}} -> "it is not by that authority"
    end
  end

  defp host(node) do
    with [name, host] when name != "" <- String.split(node, "@"),
         true <- node =~ ~r/\A[A-Za-z0-9_.@:-]{3,64}\z/ and host != "" do
      {:ok, host}
    else
      _other -> {:error, "#{inspect(node)} is no node name: give it as name@host, 64 characters at most"}
    end
  end

  # Distributed Erlang asks for the host that the node's name has as a DNS name, even where that is an address.
  defp alternatives(host) do
    name = {:dNSName, to_charlist(host)}

    case :inet.parse_address(to_charlist(host)) do
      {:ok, {a, b, c, d}} -> [name, {:iPAddress, <<a, b, c, d>>}]
      {:ok, ip} -> [name, {:iPAddress, for(word <- Tuple.to_list(ip), into: <<>>, do: <<word::16>>)}]
      {:error, :einval} -> [name]
    end
  end

  defp read(%{certificate: certificate, key: key}) do
    with [{:Certificate, der, :not_encrypted}] <- :public_key.pem_decode(certificate),
         [entry] <- :public_key.pem_decode(key) do
      tbs = certificate(:public_key.pkix_decode_cert(der, :otp), :tbsCertificate)
      {:ok, tbs(tbs, :subject), :public_key.pem_entry_decode(entry)}
    else
      _other -> {:error, "the authority's files are not a certificate and a key in PEM"}
    end
  end

  defp issue(subject, key, extensions, days, issuer, issuer_key) do
    now = System.os_time(:second)

    tbs =
      tbs(
        version: :v3,
        serialNumber: :binary.decode_unsigned(<<0, 1, :crypto.strong_rand_bytes(15)::binary>>),
        signature: signature(algorithm: @ecdsa_sha256, parameters: :asn1_NOVALUE),
        issuer: issuer,
        validity: validity(notBefore: time(now - @backdate_s), notAfter: time(now + days * @day_s)),
        subject: subject,
        subjectPublicKeyInfo:
          key_info(
            algorithm: key_algorithm(algorithm: @ec_public_key, parameters: {:namedCurve, @p256}),
            subjectPublicKey: {:ECPoint, public(key)}
          ),
        extensions: extensions
      )

    certificate = {:Certificate, :public_key.pkix_sign(tbs, issuer_key), :not_encrypted}
    key = :public_key.pem_entry_encode(:ECPrivateKey, key)
    %{certificate: :public_key.pem_encode([certificate]), key: :public_key.pem_encode([key])}
  end

  defp new_key, do: :public_key.generate_key({:namedCurve, @p256})

  defp public(key), do: private_key(key, :publicKey)

  defp key_id(key), do: :crypto.hash(:sha, public(key))

  defp subject(name), do: {:rdnSequence, [[attribute(type: @common_name, value: {:utf8String, name})]]}

  defp extension(id, critical, value), do: extension(extnID: id, critical: critical, extnValue: value)

  # Years from 2050 on don't fit into the short form.
  defp time(seconds) do
    time = DateTime.from_unix!(seconds)
    text = Calendar.strftime(time, "%Y%m%d%H%M%SZ")
    if time.year < 2050, do: {:utcTime, to_charlist(binary_part(text, 2, 13))}, else: {:generalTime, to_charlist(text)}
  end
end
