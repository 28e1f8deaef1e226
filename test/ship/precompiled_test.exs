Code.require_file("../../native/build.exs", __DIR__)

defmodule Tidepool.Ship.PrecompiledTest do
  # Applications that depend on Tidepool on machines without Rust. The archive is of this checkout's library, and served on the
  # loopback; the table of checksums is that of a copy of the package.
  use Tidepool.Case, async: true

  alias Tidepool.Native.{Build, Precompiled}

  @moduletag :ship

  setup_all do
    root = Path.join(System.tmp_dir!(), "tidepool-precompiled-#{System.pid()}")
    on_exit(fn -> File.rm_rf!(root) end)
    package = Path.join(root, "tidepool")
    for file <- files(), do: copy!(file, Path.join(package, file))
    served = Path.join(root, "served")
    File.mkdir_p!(served)
    Precompiled.pack(Build.stripped!(), Path.join(served, Precompiled.name()))
    Precompiled.write_table(served, Build.digest(), Path.join(package, "native/checksums.tsv"))
    %{root: root, package: package, served: served, url: serve!(served)}
  end

  # What a package has, but for what cargo builds.
  defp files do
    for pattern <- Mix.Project.config()[:package][:files],
        top <- Path.wildcard(pattern),
        file <- [top | Path.wildcard(top <> "/**", match_dot: true)],
        not String.contains?(file, "/target/"),
        File.regular?(file),
        do: file
  end

  defp copy!(from, to) do
    File.mkdir_p!(Path.dirname(to))
    File.cp!(from, to)
  end

  defp serve!(folder) do
    {:ok, _started} = Application.ensure_all_started(:inets)
    options = [port: 0, bind_address: {127, 0, 0, 1}, server_name: 'downloads']
    roots = [server_root: String.to_charlist(folder), document_root: String.to_charlist(folder)]
    {:ok, pid} = :inets.start(:httpd, options ++ roots)
    on_exit(fn -> :inets.stop(:httpd, pid) end)
    [port: port] = :httpd.info(pid, [:port])
    "http://127.0.0.1:#{port}"
  end

  # An application beside the package, and what `mix` says there on a machine that has neither cargo nor rustc.
  defp application!(context) do
    shop = tmp_folder!()
    package = Map.get(context, :package)

    File.write!(Path.join(shop, "mix.exs"), """
    defmodule Shop.MixProject do
      use Mix.Project
      def project, do: [app: :shop, version: "0.1.0", deps: [{:tidepool, path: #{inspect(package)}}], lockfile: "none.lock"]
      def application, do: [extra_applications: [:logger]]
    end
    """)

    shop
  end

  defp mix(shop, arguments, env) do
    home = Path.join(shop, "home")
    File.mkdir_p!(home)
    clean = for name <- ~w(CARGO_TARGET_DIR MIX_BUILD_PATH TIDEPOOL_NIF XDG_CACHE_HOME RUSTFLAGS), do: {name, nil}
    env = clean ++ [{"PATH", path_without_rust()}, {"HOME", home}, {"MIX_ENV", "prod"}] ++ env
    System.cmd("mix", arguments, cd: shop, env: env, stderr_to_stdout: true)
  end

  defp path_without_rust do
    "PATH"
    |> System.fetch_env!()
    |> String.split(":")
    |> Enum.reject(&(File.exists?(Path.join(&1, "cargo")) or File.exists?(Path.join(&1, "rustc"))))
    |> Enum.join(":")
  end

  defp forget_library!(package), do: File.rm_rf!(Path.join(package, "priv/native"))

  test "an application compiles without Rust, runs guests, and needs no network for the next one", context do
    forget_library!(context.package)
    shop = application!(context)
    assert {output, 0} = mix(shop, ["compile"], [{"TIDEPOOL_DOWNLOADS", context.url}])
    assert output =~ "Taking the native library from #{Precompiled.name()}"

    run = """
    {:ok, _function} = Tidepool.deploy(Tidepool.Testing.guest(:echo), name: "echo")
    IO.inspect(Tidepool.call("echo", "echo", "low tide"))
    """

    assert {output, 0} = mix(shop, ["run", "-e", run], [])
    assert output =~ ~s({:ok, "low tide"})

    # From the cache.
    forget_library!(context.package)
    other = application!(context)
    cached = [{"XDG_CACHE_HOME", Path.join(shop, "home/.cache")}]
    assert {output, 0} = mix(other, ["compile"], cached)
    assert output =~ "Taking the native library"
  end

  test "an archive that was changed, cut or is not there is told, and nothing of it is taken", context do
    path = Path.join(context.served, Precompiled.name())
    bytes = File.read!(path)
    on_exit(fn -> File.write!(path, bytes) end)
    <<first, rest::binary>> = bytes

    for {served, told} <- [
          {<<Bitwise.bxor(first, 1), rest::binary>>, "its SHA-256 differs"},
          {binary_part(bytes, 0, div(byte_size(bytes), 2)), "its SHA-256 differs"},
          {nil, "answers 404"}
        ] do
      if served, do: File.write!(path, served), else: File.rm!(path)
      forget_library!(context.package)
      assert {output, 1} = mix(application!(context), ["compile"], [{"TIDEPOOL_DOWNLOADS", context.url}])
      assert output =~ told
      assert output =~ "With TIDEPOOL_NIF=build it is built from its sources"
      refute File.exists?(Path.join(context.package, "priv/native/tidepool_nif.so"))
    end
  end

  test "sources that differ by a line, and TIDEPOOL_NIF=build, have the library built", context do
    source = Path.join(context.package, "native/tidepool_core/src/lib.rs")
    text = File.read!(source)
    forget_library!(context.package)
    downloads = {"TIDEPOOL_DOWNLOADS", context.url}
    assert {output, 1} = mix(application!(context), ["compile"], [downloads, {"TIDEPOOL_NIF", "build"}])
    assert output =~ "cargo was not found"
    File.write!(source, text <> "// another line\n")
    on_exit(fn -> File.write!(source, text) end)
    assert {output, 1} = mix(application!(context), ["compile"], [downloads])
    assert output =~ "cargo was not found"
  end

  test "without an address the library is built", context do
    forget_library!(context.package)
    assert {output, 1} = mix(application!(context), ["compile"], [])
    assert output =~ "cargo was not found"
  end

  test "an address that redirects to another host is followed, where that shows a certificate of its own name",
       context do
    root = :public_key.pkix_test_root_cert('root', key: key())
    authorities = Path.join(tmp_folder!(), "authorities.pem")
    File.write!(authorities, :public_key.pem_encode([{:Certificate, root.cert, :not_encrypted}]))
    archive = File.read!(Path.join(context.served, Precompiled.name()))
    other = serve_tls!(root, 'other.example', ["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", archive])
    wrong = serve_tls!(root, 'wrong.example', ["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", archive])
    sha256 = :sha256 |> :crypto.hash(archive) |> Base.encode16(case: :lower)

    for {port, expected} <- [{other, ":ok"}, {wrong, "hostname_check_failed"}] do
      location = "location: https://other.example:#{port}/there\r\ncontent-length: 0\r\n"
      first = serve_tls!(root, 'localhost', ["HTTP/1.1 302 Found\r\n", location, "\r\n"])
      folder = tmp_folder!()

      script = """
      Application.ensure_all_started(:mix)
      Code.require_file("native/precompiled.exs")
      :ok = :public_key.cacerts_load(#{inspect(to_charlist(authorities))})
      :ok = :inet_db.set_lookup([:file, :native])
      :ok = :inet_db.add_host({127, 0, 0, 1}, ['other.example', 'localhost'])
      IO.inspect(Tidepool.Native.Precompiled.install({"archive", "#{sha256}"}, #{inspect(folder)}, ["tidepool_nif.so"]))
      """

      env = [{"TIDEPOOL_DOWNLOADS", "https://localhost:#{first}"}, {"XDG_CACHE_HOME", folder}]
      {output, 0} = System.cmd("elixir", ["-e", script], env: env, stderr_to_stdout: true)
      assert output =~ expected
    end
  end

  defp key, do: {:namedCurve, :secp256r1}

  # A server that gives each who connects this answer: its port.
  defp serve_tls!(root, name, answer) do
    {:ok, _started} = Application.ensure_all_started(:ssl)
    names = {:Extension, {2, 5, 29, 17}, false, [dNSName: name]}
    none = %{root: root, intermediates: [], peer: [key: key()]}
    chains = %{server_chain: %{none | peer: [key: key(), extensions: [names]]}, client_chain: none}
    %{server_config: server} = :public_key.pkix_test_data(chains)
    options = [:binary, active: false, ip: {127, 0, 0, 1}, reuseaddr: true]
    {:ok, listener} = :ssl.listen(0, options ++ Keyword.take(server, [:cert, :key, :cacerts]))
    {:ok, {_address, port}} = :ssl.sockname(listener)
    start_supervised!({Task, fn -> serve_tls(listener, answer) end}, id: port)
    port
  end

  defp serve_tls(listener, answer) do
    {:ok, socket} = :ssl.transport_accept(listener)

    with {:ok, socket} <- :ssl.handshake(socket, 30_000), {:ok, _request} <- :ssl.recv(socket, 0, 30_000) do
      :ssl.send(socket, answer)
      :ssl.close(socket)
    end

    serve_tls(listener, answer)
  end
end
