defmodule TidepoolWeb.TlsTest do
  # Nodes whose edge speaks TLS, with certificates of the test's own.
  use Tidepool.Case, async: true

  import Tidepool.Certificates

  alias Tidepool.{LogWatch, Peer}
  alias TidepoolWeb.Listener

  @patience 30_000

  setup_all do
    {:ok, _started} = Application.ensure_all_started(:ssl)
    {server, client} = certificates()
    folder = tmp_folder!()
    roots = Path.join(folder, "roots.pem")
    File.write!(roots, Enum.map(client[:cacerts], &pem(:Certificate, &1)))
    %{folder: folder, server: server, client: client, roots: roots}
  end

  # A node that shows a certificate, from files of its own.
  defp start!(context, settings \\ []) do
    folder = Path.join(context.folder, "#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    show(folder, context.server)
    files = [tls_cert: Path.join(folder, "cert.pem"), tls_key: Path.join(folder, "key.pem")]
    peer = Peer.start!([server: true] ++ files ++ settings)
    %{peer: peer, port: Peer.call(peer, Listener, :port, []), folder: folder}
  end

  # Each file as a whole, as tools that renew certificates do it.
  defp show(folder, server, {cert_file, key_file} \\ {"cert.pem", "key.pem"}) do
    {cert, key} = identity(server)

    for {name, content} <- [{key_file, key}, {cert_file, cert}] do
      path = Path.join(folder, name)
      File.write!(path <> ".new", content)
      File.rename!(path <> ".new", path)
    end
  end

  defp url(node, path), do: "https://localhost:#{node.port}#{path}"

  defp ask(context, node, path, arguments \\ []),
    do: curl_url(url(node, path), ["--cacert", context.roots | arguments])

  defp connect(node, options),
    do: :ssl.connect(~c"localhost", node.port, [:binary, active: false] ++ options, @patience)

  defp trusting(client), do: [verify: :verify_peer, cacerts: client[:cacerts]]

  # The certificate that who asks for a host is shown.
  defp shown(node, host \\ ~c"localhost") do
    {:ok, socket} = connect(node, verify: :verify_none, server_name_indication: host)
    {:ok, certificate} = :ssl.peercert(socket)
    :ssl.close(socket)
    certificate
  end

  defp status!(socket) do
    :ok = :ssl.send(socket, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    {:ok, "HTTP/1.1 200 OK" <> _rest} = :ssl.recv(socket, 0, @patience)
  end

  test "what works in the clear works by TLS, with HTTP/1.1 and HTTP/2, large bodies too", context do
    node = start!(context)
    form = [name: "echo", operation: "echo", limits: ~s({"payload": 10000000, "reply": 10000000})]
    wasm = guest("rust", "hello_world")
    assert {201, _headers, _function} = curl_deploy_url(url(node, "/deploy"), wasm, form, ["--cacert", context.roots])
    path = Path.join(context.folder, "payload")
    File.write!(path, :binary.copy("0123456789abcdef", 300_000))

    for {version, option} <- [{"1.1", "--http1.1"}, {"2", "--http2"}] do
      written = Path.join(context.folder, "reply-#{version}")
      arguments = ["-sS", "--cacert", context.roots, option, "--data-binary", "@#{path}", "-o", written]

      assert {^version, 0} = System.cmd("curl", arguments ++ ["-w", "%{http_version}", url(node, "/call/echo")])

      assert File.read!(written) == File.read!(path)
      assert {404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = ask(context, node, "/call/nobody", [option])
    end
  end

  test "sites are asked by TLS, with HTTP/1.1 and HTTP/2, and a function sees that they are", context do
    node = start!(context, sites_port: 0)
    sites = %{node | port: Peer.call(node.peer, Listener, :sites_port, [])}
    options = [name: "site", routes: ["localhost/headers"]]
    {:ok, _function} = Peer.call(node.peer, Tidepool, :deploy, [guest("rust", "http"), options])

    for {version, option} <- [{"1.1", "--http1.1"}, {"2", "--http2"}] do
      arguments = ["-sS", "--cacert", context.roots, option, "-w", "%{http_version}", url(sites, "/headers")]
      {output, 0} = System.cmd("curl", arguments)
      lines = String.split(output, "\n")
      for line <- [":authority: localhost:#{sites.port}", ":scheme: https", version], do: assert(line in lines)
    end
  end

  test "who asks in the clear is told to use TLS, on every route, and nothing is done", context do
    node = start!(context)

    for arguments <- [[], ["--http2-prior-knowledge"], ["-d", String.duplicate("x", 100_000)]],
        path <- ["/health", "/call/nobody", "/deploy", "/functions"] do
      assert {400, headers, %{"error" => %{"reason" => "tls_needed", "message" => message}}} =
               curl_url("http://localhost:#{node.port}#{path}", arguments)

      assert message =~ "https://"
      refute headers["strict-transport-security"]
    end
  end

  test "a certificate that is replaced is shown to new connections, and no connection is lost", context do
    node = start!(context)
    before = shown(node)
    {:ok, kept} = connect(node, trusting(context.client))
    status!(kept)

    test = self()

    asking =
      spawn_link(fn ->
        ask = fn ask, count ->
          {200, _headers, %{"status" => "ok"}} = curl_url(url(node, "/health"), ["--insecure"])

          receive do
            :enough -> send(test, {:asked, count})
          after
            0 -> ask.(ask, count + 1)
          end
        end

        ask.(ask, 1)
      end)

    {server, _client} = certificates()
    show(node.folder, server)
    assert eventually(fn -> shown(node) != before end, @patience)
    assert shown(node) == server[:cert]
    status!(kept)
    send(asking, :enough)
    assert_receive {:asked, count} when count > 0, @patience
  end

  test "a certificate that can't be used is told of once, and the one before goes on", context do
    node = start!(context)
    before = shown(node)
    Peer.call(node.peer, LogWatch, :collect, [])
    File.write!(Path.join(node.folder, "cert.pem"), "no certificate")

    told = fn ->
      for {:error, text} <- Peer.call(node.peer, LogWatch, :collected, []), text =~ "certificate", do: text
    end

    assert eventually(fn -> told.() != [] end, @patience)
    assert shown(node) == before
    # The next one counts.
    {server, _client} = certificates()
    show(node.folder, server)
    assert eventually(fn -> shown(node) == server[:cert] end, @patience)
    assert [text] = told.()
    assert text =~ "goes on with the certificates that it has: tls_cert: there is no certificate in PEM"
  end

  defp server_of(names), do: certificates(for name <- names, do: {:dNSName, name}) |> elem(0)

  test "a host that one of tls_certs is for is shown that one, on both ports, and others the node's", context do
    certs = Path.join(context.folder, "certs")
    File.mkdir_p!(certs)
    [shop, below] = for names <- [[~c"shop.example", ~c"www.SHOP.example"], [~c"*.shop.example"]], do: server_of(names)
    show(certs, shop, {"shop.crt", "shop.key"})
    show(certs, below, {"below.crt", "below.key"})
    node = start!(context, tls_certs: certs, sites_port: 0)
    sites = %{node | port: Peer.call(node.peer, Listener, :sites_port, [])}

    for node <- [node, sites],
        {host, server} <- [
          {~c"shop.example", shop},
          {~c"Shop.Example", shop},
          {~c"www.shop.example", shop},
          {~c"a.shop.example", below},
          {~c"a.b.shop.example", context.server},
          {~c"example", context.server},
          {~c"localhost", context.server},
          {:disable, context.server}
        ] do
      assert shown(node, host) == server[:cert], inspect(host)
    end

    # What comes later counts, and what goes is nobody's any more.
    later = server_of([~c"later.example"])
    show(certs, later, {"later.crt", "later.key"})
    File.rm!(Path.join(certs, "below.crt"))
    assert eventually(fn -> shown(sites, ~c"later.example") == later[:cert] end, @patience)
    eventually(fn -> assert shown(sites, ~c"a.shop.example") == context.server[:cert] end, @patience)
    assert shown(node, ~c"shop.example") == shop[:cert]
  end

  test "a certificate of tls_certs that can't be used is left out and told, and no other host's is", context do
    certs = Path.join(context.folder, "mixed")
    File.mkdir_p!(certs)
    put = fn name, content -> File.write!(Path.join(certs, name), content) end
    {cert, key} = identity(server_of([~c"good.example"]))
    {nameless, nameless_key} = certificates(iPAddress: <<127, 0, 0, 1>>) |> elem(0) |> identity()
    good = server_of([~c"good.example", ~c"also.example"])
    show(certs, good, {"a_good.crt", "a_good.key"})
    put.("keyless.crt", cert)
    put.("nameless.crt", nameless)
    put.("nameless.key", nameless_key)
    put.("none.crt", "nothing")
    put.("none.key", key)
    put.("strange.crt", cert)
    put.("strange.key", nameless_key)
    put.("twice.crt", cert)
    put.("twice.key", key)
    put.("unkeyed.crt", cert)
    put.("unkeyed.key", "nothing")
    node = start!(context, tls_certs: certs)
    for host <- [~c"good.example", ~c"also.example"], do: assert(shown(node, host) == good[:cert])
    assert shown(node, ~c"else.example") == context.server[:cert]

    Peer.call(node.peer, LogWatch, :collect, [])
    told = fn -> for {:error, text} <- Peer.call(node.peer, LogWatch, :collected, []), do: text end
    # One that is replaced by rubbish goes on as it was, and others are replaced.
    put.("a_good.crt", "nothing")
    show(certs, server_of([~c"new.example"]), {"keyless.crt", "keyless.key"})
    assert eventually(fn -> shown(node, ~c"new.example") != context.server[:cert] end, @patience)
    assert shown(node, ~c"good.example") == good[:cert]

    for sentence <- [
          "tls_certs: a_good.crt: there is no certificate in PEM",
          "tls_certs: nameless.crt: the certificate has no name of a host",
          "tls_certs: none.crt: there is no certificate in PEM",
          "tls_certs: strange.crt and tls_certs: strange.key can't be used",
          "tls_certs: unkeyed.key: there is no private key in PEM"
        ],
        do: eventually(fn -> assert(Enum.join(told.(), "\n") =~ sentence) end, @patience)

    # One with a host of another's is shown for its other ones.
    put.("a_good.crt", elem(identity(good), 0))
    show(certs, both = server_of([~c"good.example", ~c"both.example"]), {"twice.crt", "twice.key"})
    eventually(fn -> assert shown(node, ~c"both.example") == both[:cert] end, @patience)
    assert shown(node, ~c"good.example") == good[:cert]
    sentence = "tls_certs: twice.crt: the certificate is for good.example, as another is"
    eventually(fn -> assert(Enum.join(told.(), "\n") =~ sentence) end, @patience)
  end

  test "with tls_clients a client without a certificate of theirs gets nothing", context do
    known = Path.join(context.folder, "clients.pem")
    # What vouches for the client is what the server was told to trust.
    File.write!(known, Enum.map(context.server[:cacerts], &pem(:Certificate, &1)))
    node = start!(context, tls_clients: known)
    {_server, stranger} = certificates()

    for own <- [[], [cert: stranger[:cert], key: stranger[:key]]] do
      # By TLS 1.3 a client hears of it when it reads.
      refused =
        with {:ok, socket} <- connect(node, trusting(context.client) ++ own),
             :ok <- :ssl.send(socket, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"),
             do: :ssl.recv(socket, 0, @patience)

      assert {:error, _reason} = refused
    end

    own = [cert: context.client[:cert], key: context.client[:key]]
    {:ok, socket} = connect(node, trusting(context.client) ++ own)
    status!(socket)
  end

  test "who begins with TLS and does not go on is hung up, and holds up neither others nor a drain", context do
    node = start!(context, header_timeout: 3_000, drain: 20_000, lame_duck: 0)
    hello = <<22, 3, 1, 0, 200, 1>>

    silent =
      for bytes <- ["", <<22>>, hello, hello <> :binary.copy(<<0>>, 199), "G", "GET / HT"] do
        {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, node.port, [:binary, active: false])
        :ok = :gen_tcp.send(socket, bytes)
        socket
      end

    assert {200, _headers, _body} = ask(context, node, "/health")
    for socket <- silent, do: assert({:error, _closed} = read_all(socket))
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, node.port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, hello)
    # Without waiting for the time that the drain may take.
    assert :ok = Peer.stop_application(node.peer)
    assert {:error, _closed} = read_all(socket)
  end

  # A hello that is none is answered with an alert first.
  defp read_all(socket) do
    with {:ok, _bytes} <- :gen_tcp.recv(socket, 0, @patience), do: read_all(socket)
  end

  test "browsers are told to use TLS from then on, where that holds for one server alone", context do
    for {address, token, expected} <- [{"0.0.0.0", "secret", "max-age=31536000"}, {"127.0.0.1", nil, nil}] do
      node = start!(context, address: address, token: token)

      for path <- ["/health", "/call/nobody", "/nowhere", "/functions"] do
        assert {_status, headers, _body} = ask(context, node, path)
        assert headers["strict-transport-security"] == expected, path
      end
    end
  end

  test "settings that can't be are refused with a sentence, and nothing is listened on", context do
    {cert, key} = identity(context.server)
    {_other, other_key} = certificates() |> elem(0) |> identity()

    rubbish = pem(:Certificate, "rubbish")
    contents = [{"c.pem", cert}, {"k.pem", key}, {"o.pem", other_key}, {"n.pem", "nothing"}, {"r.pem", rubbish}]

    [cert, key, other_key, none, rubbish] =
      for {name, content} <- contents do
        path = Path.join(context.folder, name)
        File.write!(path, content)
        path
      end

    absent = Path.join(context.folder, "absent.pem")

    for {settings, sentence} <- [
          {[tls_cert: cert], "set tls_key, too"},
          {[tls_key: key], "set tls_cert, too"},
          {[tls_clients: cert], "set tls_cert and tls_key, too"},
          {[tls_certs: context.folder], "tls_certs is for an edge that speaks TLS: set tls_cert and tls_key, too"},
          {[tls_cert: cert, tls_key: key, tls_certs: absent], "tls_certs: #{absent} can't be read: no such file"},
          {[tls_cert: absent, tls_key: key], "tls_cert: #{absent} can't be read: no such file"},
          {[tls_cert: cert, tls_key: context.folder], "tls_key: #{context.folder} is no file of PEM"},
          {[tls_cert: none, tls_key: key], "tls_cert: there is no certificate in PEM"},
          {[tls_cert: cert, tls_key: none], "tls_key: there is no private key in PEM"},
          {[tls_cert: cert, tls_key: other_key], "tls_cert and tls_key can't be used"},
          {[tls_cert: cert, tls_key: key, tls_clients: none], "tls_clients: there is no certificate in PEM"},
          {[tls_cert: cert, tls_key: key, tls_clients: rubbish], "tls_clients can't be used"}
        ] do
      peer = Peer.boot!([server: true] ++ settings)
      assert {:error, reason} = Peer.start_application(peer)
      assert inspect(reason) =~ sentence
    end
  end
end
