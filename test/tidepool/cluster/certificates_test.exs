defmodule Tidepool.Cluster.CertificatesTest do
  use Tidepool.Case, async: true

  import Bitwise, only: [band: 2]
  import ExUnit.CaptureIO

  alias Mix.Tasks.Tidepool.Certs
  alias Tidepool.Cluster.Certificates
  alias Tidepool.{Peer, TestCluster}

  setup do
    # Not empty of spaces, as folders may be.
    folder = Path.join(tmp_folder!(), "the certificates")
    %{folder: folder, cookie: String.to_charlist(unique_name("cookie_#{System.pid()}"))}
  end

  test "nodes with certificates by one authority connect", %{folder: folder, cookie: cookie} do
    nodes = [a, b] = names(2)
    certs!(folder, nodes)
    start!(a, cookie, Path.join(folder, a))
    pid = start!(b, cookie, Path.join(folder, b))
    assert connect(pid, a)
  end

  test "what is deployed on one node is called on another over TLS", %{folder: folder} do
    names = [a, b] = for stem <- ["tls_a", "tls_b"], do: Peer.name(stem)
    certs!(folder, Enum.map(names, &to_string/1))
    cookie = Peer.cookie()

    [first, second] =
      for {name, seed} <- [{a, b}, {b, a}] do
        {flags, 0} =
          System.cmd("/bin/sh", ["-c", ~S(. bin/support/tls.sh && printf %s "$ERL_ZFLAGS")],
            env: [{"TIDEPOOL_CERTS", Path.join(folder, to_string(name))}]
          )

        TestCluster.start_node!(name, cookie, [seed], [], env: [{~c"ERL_ZFLAGS", to_charlist(flags)}])
      end

    {:ok, _function} = TestCluster.deploy(first, "f", 7)
    TestCluster.assert_converged([first, second], %{"f" => [7]})
    assert Peer.call(second, :init, :get_argument, [:proto_dist]) == {:ok, [[~c"inet_tls"]]}
  end

  test "a node with a certificate by another authority stays out, even one that checks nobody itself",
       %{folder: folder, cookie: cookie} do
    [a, b] = names(2)
    certs!(folder, [a])
    certs!(folder <> "2", [b])
    start!(a, cookie, Path.join(folder, a))
    trusting = start!(b, cookie, Path.join(folder <> "2", b), [~c"-ssl_dist_opt", ~c"client_verify", ~c"verify_none"])
    refute connect(trusting, a)
  end

  test "a node checks whom it connects to, even if that one lets everybody in", %{folder: folder, cookie: cookie} do
    [a, b] = names(2)
    certs!(folder, [a])
    certs!(folder <> "2", [b])
    start!(a, cookie, Path.join(folder, a), [~c"-ssl_dist_opt", ~c"server_verify", ~c"verify_none"])
    refute connect(start!(b, cookie, Path.join(folder <> "2", b)), a)
  end

  test "a node without TLS stays out", %{folder: folder, cookie: cookie} do
    [a, b] = names(2)
    certs!(folder, [a])
    start!(a, cookie, Path.join(folder, a))
    refute connect(start!(b, cookie, nil), a)
  end

  test "keys are for their owner's eyes only", %{folder: folder} do
    [a] = names(1)
    certs!(folder, [a])

    for key <- [Path.join(folder, "ca-key.pem"), Path.join([folder, a, "key.pem"])] do
      assert band(File.stat!(key).mode, 0o777) == 0o600
    end
  end

  test "no key is written to a file that another has opened before, or has put in its place", %{folder: folder} do
    [a] = names(1)
    elsewhere = Path.join(tmp_folder!(), "elsewhere")
    File.mkdir_p!(Path.join(folder, a))
    opened = Path.join(folder, "ca-key.pem.new")
    File.write!(opened, "")
    early = File.open!(opened)
    File.ln_s!(elsewhere, Path.join([folder, a, "key.pem.new"]))
    certs!(folder, [a])
    assert IO.binread(early, 1) == :eof
    refute File.exists?(elsewhere)
    assert Path.wildcard("#{folder}/**/*.new") == []
    for key <- ["ca-key.pem", "#{a}/key.pem"], do: assert(File.read!(Path.join(folder, key)) =~ "PRIVATE KEY")
  end

  test "a later run adds and renews nodes by the authority that is there", %{folder: folder} do
    [a, b] = names(2)
    certs!(folder, [a])
    authority = File.read!(Path.join(folder, "ca.pem"))
    before = File.read!(Path.join([folder, a, "cert.pem"]))
    certs!(folder, [a, b])
    assert File.read!(Path.join(folder, "ca.pem")) == authority
    assert File.read!(Path.join([folder, b, "ca.pem"])) == authority
    renewed = File.read!(Path.join([folder, a, "cert.pem"]))
    assert renewed != before

    for certificate <- [before, renewed] do
      path = [der(authority), der(certificate)]
      assert {:ok, _} = :public_key.pkix_path_validation(hd(path), tl(path), [])
    end
  end

  test "a certificate holds for its node's host alone", %{folder: folder} do
    certs!(folder, ["a@10.0.0.1", "b@b.example"])
    {a, b} = {der(File.read!("#{folder}/a@10.0.0.1/cert.pem")), der(File.read!("#{folder}/b@b.example/cert.pem"))}
    assert :public_key.pkix_verify_hostname(a, ip: {10, 0, 0, 1})
    refute :public_key.pkix_verify_hostname(a, ip: {10, 0, 0, 2})
    assert :public_key.pkix_verify_hostname(b, dns_id: ~c"b.example")
    refute :public_key.pkix_verify_hostname(b, dns_id: ~c"c.example")
  end

  test "what can't be done is refused before a file is written", %{folder: folder} do
    for arguments <- [[], ["nonode"], ["../x@host"], ["a@h", "--days", "0"], ["a@h", "--dayz", "9"]] do
      assert_raise(
        if("--dayz" in arguments, do: OptionParser.ParseError, else: Mix.Error),
        fn -> certs!(folder, arguments) end
      )
    end

    assert Path.wildcard("#{folder}/**/cert.pem") == []
  end

  test "certificates that a node can't use are told by name: torn, expired, of another key, by another authority",
       %{folder: folder} do
    [a, b] = names(2)
    certs!(folder, [a, b])
    certs!(folder <> "2", [a])
    {good, other, strange} = {Path.join(folder, a), Path.join(folder, b), Path.join(folder <> "2", a)}
    assert Certificates.check(good) == :ok

    expired = Certificates.authority(-1)
    {:ok, old} = Certificates.node(a, -1, expired)
    pems = for file <- ~w(ca cert key), into: %{}, do: {file, File.read!(Path.join(good, file <> ".pem"))}

    for {changes, file, text} <- [
          {%{"ca" => File.read!(Path.join(strange, "ca.pem"))}, "cert", "not by that authority"},
          {%{"key" => File.read!(Path.join(other, "key.pem"))}, "key", "is not the key of"},
          {%{"ca" => expired.certificate, "cert" => old.certificate, "key" => old.key}, "cert", "not valid now"},
          {%{"cert" => String.slice(pems["cert"], 0, 200)}, "cert", "nothing that can be decoded"},
          {%{"cert" => String.replace(pems["cert"], "MII", "AAA", global: false)}, "cert",
           "nothing that can be decoded"},
          {%{"key" => "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"}, "key",
           "nothing that can"},
          {%{"ca" => ""}, "ca", "nothing that can be decoded"}
        ] do
      bad = tmp_folder!()
      for {name, pem} <- Map.merge(pems, changes), do: File.write!(Path.join(bad, name <> ".pem"), pem)
      assert {:error, message} = Certificates.check(bad)
      assert message =~ Path.join(bad, file <> ".pem")
      assert message =~ text
    end

    # A chain is for Erlang to judge.
    File.write!(Path.join(good, "cert.pem"), pems["cert"] <> pems["ca"])
    assert Certificates.check(good) == :ok
  end

  test "half of an authority is no authority", %{folder: folder} do
    certs!(folder, names(1))
    File.rm!(Path.join(folder, "ca-key.pem"))
    assert_raise Mix.Error, fn -> certs!(folder, names(1)) end
  end

  defp names(count), do: for(_ <- 1..count, do: "#{unique_name("tls#{System.pid()}_")}@127.0.0.1")

  defp certs!(folder, arguments) do
    capture_io(fn -> Certs.run(["--out", folder | arguments]) end)
  end

  defp der(pem), do: pem |> :public_key.pem_decode() |> hd() |> elem(1)

  # As bin/start and releases do: what makes the flags is what they use.
  defp start!(node, cookie, certs, flags \\ []) do
    [name, host] = String.split(node, "@")

    options = %{
      name: to_charlist(name),
      host: to_charlist(host),
      longnames: true,
      connection: :standard_io,
      exec: {~c"/bin/sh", [~c"-c", ~c(. bin/support/tls.sh && exec erl "$@"), ~c"sh"]},
      env: if(certs, do: [{~c"TIDEPOOL_CERTS", to_charlist(certs)}], else: []),
      args: [~c"-setcookie", cookie, ~c"-kernel", ~c"logger_level", ~c"emergency" | flags]
    }

    start_supervised!(%{id: node, start: {:peer, :start_link, [options]}, restart: :temporary})
  end

  defp connect(peer, node), do: :peer.call(peer, :net_kernel, :connect_node, [String.to_atom(node)], 30_000)
end
