defmodule Tidepool.Cli.AccessTest do
  # Tokens, keys and certificates of a private authority, by the tool against nodes.
  use Tidepool.Case, async: true

  import Tidepool.Certificates

  alias Tidepool.{Peer, Tool}
  alias TidepoolWeb.Listener

  @own "s3cret"

  setup_all do
    Tool.path!()
    :ok
  end

  defp env(peer, token \\ @own), do: [{"TIDEPOOL_URL", Peer.url(peer, "")}, {"TIDEPOOL_TOKEN", token}]

  test "a token is made, is good for what it was made for, is listed, and is revoked with what it has made" do
    peer = Peer.start!(server: true, token: @own, reads: :token)
    own = env(peer)
    create = ["token", "create", "ci", "--scope", "deploy,read", "--functions", "shop-*", "--expires", "90d"]
    # What it says of the secret is kept apart from that.
    said = Path.join(tmp_folder!(), "said")
    apart = ["-c", ~s(exec "$@" 2>"$0"), said, Tool.path!() | create]
    assert {secret, 0} = System.cmd("sh", apart ++ ["--grant", "net:dns"], env: own)
    assert ["tidepool_" <> _random = secret] = String.split(secret, "\n", trim: true)
    assert File.read!(said) =~ "ci is made, for "
    module = guest_path("rust", "hello_world")
    deploy = fn name, more -> Tool.run(["deploy", module, "--name", name, "--json" | more], env: env(peer, secret)) end
    assert {_deployed, 0} = deploy.("shop-a", ["--field", "net=dns"])

    for refused <- [deploy.("other", []), deploy.("shop-a", ["--field", "net=*"])],
        do: assert({~s({"error":{) <> _forbidden, 1} = refused)

    # How the node is, which all are told, and nothing of its cluster.
    assert %{"health" => %{"status" => "ok"}, "cluster" => nil} = Tool.json!(["status"], env: env(peer, secret))
    assert {error, 1} = Tool.run(["token", "list", "--json"], env: env(peer, secret))
    assert error =~ ~s("reason":"forbidden")

    assert %{"secret" => root} = Tool.json!(["token", "create", "root", "--scope", "admin"], env: own)
    assert %{"made_by" => "root"} = Tool.json!(["token", "create", "child", "--scope", "call"], env: env(peer, root))
    assert %{"tokens" => [_child, ci, _root]} = Tool.json!(["token", "list"], env: own)
    assert %{"scopes" => ["deploy", "read"], "functions" => "shop-*", "grants" => ["net:dns"]} = ci
    assert {table, 0} = Tool.run(["token", "list"], env: own)
    assert table =~ ~r/^ci +deploy,read +shop-\* +net:dns .* (89|90)days$/m
    assert {error, 1} = Tool.run(["token", "create", "ci", "--scope", "read", "--json"], env: own)
    assert error =~ "token_exists"
    assert {"root is revoked, and child\n", 0} = Tool.run(["token", "revoke", "root", "--with-children"], env: own)
    assert {"ci is revoked\n", 0} = Tool.run(["token", "revoke", "ci"], env: own)
    assert {error, 1} = deploy.("shop-a", [])
    assert error =~ "unauthorized"
  end

  test "what is deployed with a key runs on a node that has it, and openssl reads and checks the same" do
    folder = tmp_folder!()
    key = Path.join(folder, "deploy.pem")
    assert %{"public" => public} = Tool.json!(["keygen", key])
    assert Bitwise.band(File.stat!(key).mode, 0o777) == 0o600
    before = File.read!(key)
    assert {error, 2} = Tool.run(["keygen", key, "--json"])
    assert error =~ "no_key"
    assert File.read!(key) == before

    {der, 0} = System.cmd("openssl", ["pkey", "-in", key, "-pubout", "-outform", "DER"])
    assert Base.encode64(binary_part(der, byte_size(der) - 32, 32)) == public
    other = Path.join(folder, "other.pem")
    {_output, 0} = System.cmd("openssl", ["genpkey", "-algorithm", "ed25519", "-out", other])

    peer = Peer.start!(server: true, deploy_keys: public)
    env = [{"TIDEPOOL_URL", Peer.url(peer, "")}]
    module = guest_path("rust", "hello_world")
    assert %{"signature" => signature} = Tool.json!(["sign", module, "--key", key])
    assert Tidepool.Function.Signature.check(File.read!(module), %{signature: signature, name: "f"}, [public]) == :ok

    for arguments <- [[], ["--key", other]] do
      assert {error, 1} = Tool.run(["deploy", module, "--json" | arguments], env: env)
      assert error =~ ~s("reason":"unsigned")
    end

    assert %{"signature" => ^signature} = Tool.json!(["deploy", module, "--name", "f", "--key", key], env: env)
    assert {"Hello, Ada!", 0} = Tool.run(["call", "f", "hello", "--data", "Ada"], env: env)

    for wrong <- [module, Path.join(folder, "none"), folder] do
      assert {error, 2} = Tool.run(["sign", module, "--key", wrong, "--json"])
      assert error =~ "no_key"
    end
  end

  test "a node with a certificate of a private authority is talked to by who names that, and by nobody else" do
    {server, client} = certificates()
    folder = tmp_folder!()
    {cert, key} = identity(server)
    files = for {name, text} <- [{"cert.pem", cert}, {"key.pem", key}], do: {name, write!(folder, name, text)}
    roots = write!(folder, "roots.pem", Enum.map(client[:cacerts], &pem(:Certificate, &1)))
    settings = [tls_cert: elem(Enum.at(files, 0), 1), tls_key: elem(Enum.at(files, 1), 1)]
    peer = Peer.start!([server: true, token: @own] ++ settings)
    url = "https://localhost:#{Peer.call(peer, Listener, :port, [])}"
    env = [{"TIDEPOOL_URL", url}, {"TIDEPOOL_TOKEN", @own}]
    module = guest_path("rust", "hello_world")
    assert %{"version" => 1} = Tool.json!(["deploy", module, "--name", "f", "--ca", roots], env: env)
    assert %{"functions" => [_one]} = Tool.json!(["list"], env: [{"TIDEPOOL_CA", roots} | env])
    stranger = write!(folder, "stranger.pem", elem(identity(elem(certificates(), 0)), 0))

    for arguments <- [[], ["--ca", stranger]] do
      assert {error, 3} = Tool.run(["list", "--json" | arguments], env: env)
      assert error =~ ~s("reason":"untrusted")
      assert error =~ "UnknownIssuer"
    end

    for {wrong, reason} <- [{module, "no_certificate"}, {Path.join(folder, "none"), "unreadable"}] do
      assert {error, 2} = Tool.run(["list", "--json", "--ca", wrong], env: env)
      assert error =~ ~s("reason":"#{reason}")
    end

    assert {error, 2} = Tool.run(["list", "--json", "--token-file", Path.join(folder, "none")], env: env)
    assert error =~ ~s("reason":"unreadable")
  end

  test "a certificate that vouches for itself is taken as the node's, and said to be an authority's where it is" do
    # As the document shows it.
    [command] = Regex.run(~r/^openssl req .*?[^\\]$/ms, File.read!("docs/http.md"))
    own = "-addext basicConstraints=critical,CA:FALSE"
    assert command =~ own

    for {command, expected} <- [{command, :taken}, {String.replace(command, own, ""), :refused}] do
      folder = tmp_folder!()
      {_said, 0} = System.cmd("sh", ["-c", command], cd: folder, stderr_to_stdout: true)
      [cert, key] = for name <- ["cert.pem", "key.pem"], do: Path.join(folder, name)
      peer = Peer.start!(server: true, tls_cert: cert, tls_key: key)
      env = [{"TIDEPOOL_URL", "https://localhost:#{Peer.call(peer, Listener, :port, [])}"}]
      outcome = Tool.run(["list", "--ca", cert], env: env, stderr_to_stdout: true)

      if expected == :taken do
        assert {_table, 0} = outcome
      else
        assert {text, 3} = outcome
        assert text =~ "basicConstraints=critical,CA:FALSE"
      end
    end
  end

  defp write!(folder, name, text) do
    path = Path.join(folder, name)
    File.write!(path, text)
    path
  end
end
