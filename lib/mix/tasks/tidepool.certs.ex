defmodule Mix.Tasks.Tidepool.Certs do
  @shortdoc "Makes certificates for a cluster over TLS"

  @moduledoc """
  Makes a certificate authority, and a certificate for each node of a cluster.

      mix tidepool.certs a@10.0.0.1 b@10.0.0.2
      mix tidepool.certs --out /secure/place c@10.0.0.3    # one more, by the authority that is there

  The folder `--out` (default `certs`) then has:

    * `ca.pem` and `ca-key.pem`, the authority; made when they are missing. The key belongs on no node.
    * a folder for each node, named like it, with `ca.pem`, `cert.pem` and `key.pem`: copy it to the node and set
      `TIDEPOOL_CERTS` to where it lies.

  A node that has certificates already gets new ones, which is how they are renewed.

  ## Options

    * `--out FOLDER`: where everything is written
    * `--days N`: how long the nodes' certificates are valid, default 365; the authority is for ten years
  """

  use Mix.Task

  alias Tidepool.Cluster.Certificates

  @authority_days 3_650

  @impl true
  def run(arguments) do
    {options, nodes} = OptionParser.parse!(arguments, strict: [out: :string, days: :integer])
    days = options[:days] || 365
    if nodes == [], do: Mix.raise("name the nodes: mix tidepool.certs a@10.0.0.1 b@10.0.0.2")
    unless days in 1..@authority_days, do: Mix.raise("--days has to be from 1 to #{@authority_days}, and is #{days}")

    out = Path.expand(options[:out] || "certs")
    File.mkdir_p!(out)
    authority = authority(out)
    Enum.each(nodes, &node(&1, days, authority, out))
  end

  defp authority(out) do
    {certificate, key} = {Path.join(out, "ca.pem"), Path.join(out, "ca-key.pem")}

    case {File.read(certificate), File.read(key)} do
      {{:ok, certificate}, {:ok, key}} ->
        %{certificate: certificate, key: key}

      {{:error, :enoent}, {:error, :enoent}} ->
        authority = Certificates.authority(@authority_days)
        secret!(key, authority.key)
        File.write!(certificate, authority.certificate)
        Mix.shell().info("#{certificate}: a new authority; keep #{key} off the nodes")
        authority

      _half ->
        Mix.raise("of #{certificate} and #{key} only one can be read: an authority is both")
    end
  end

  defp node(node, days, authority, out) do
    case Certificates.node(node, days, authority) do
      {:ok, made} ->
        folder = Path.join(out, node)
        File.mkdir_p!(folder)
        secret!(Path.join(folder, "key.pem"), made.key)
        File.write!(Path.join(folder, "cert.pem"), made.certificate)
        File.write!(Path.join(folder, "ca.pem"), authority.certificate)
        Mix.shell().info("#{folder}: for #{node}, valid for #{days} days; set TIDEPOOL_CERTS to where it lies there")

      {:error, message} ->
        Mix.raise(message)
    end
  end

  # Nobody else may read it, at no moment: it is made in a folder that was closed to others before, as a file that was not there.
  defp secret!(path, bytes) do
    folder = path <> ".new"
    beside = Path.join(folder, "key")
    File.rm_rf!(folder)
    File.mkdir!(folder)
    File.chmod!(folder, 0o700)
    File.write!(beside, bytes, [:exclusive])
    File.chmod!(beside, 0o600)
    File.rename!(beside, path)
    File.rmdir!(folder)
  end
end
