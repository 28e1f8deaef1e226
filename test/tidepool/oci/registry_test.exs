defmodule Tidepool.Oci.RegistryTest do
  # Modules by reference, from a real registry. What others answer that are none is in hostile_test.exs. Settings of this node are
  # changed on the way.
  use Tidepool.Case, async: false

  import Tidepool.TestRegistry, only: [push!: 3, push!: 4, put_manifest!: 5, sha256: 1]

  alias Tidepool.{Config, Error, LogWatch, Peer, TestRegistry}

  @wasm "application/wasm"
  @index "application/vnd.oci.image.index.v1+json"

  setup_all do
    %{address: TestRegistry.start!()}
  end

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
    %{module: guest("rust", "hello_world"), name: unique_name("referred")}
  end

  defp set!(changes), do: Config.put(Map.merge(:persistent_term.get(Config), Map.new(changes)))

  defp deploy(ref, name, options \\ []) do
    on_exit(fn -> remove!(name) end)
    Tidepool.deploy(nil, [name: name, ref: ref] ++ options)
  end

  defp reason(ref, name) do
    assert {:error, %Error{function: ^name, details: %{step: :fetch}} = error} = deploy(ref, name)
    assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
    error.reason
  end

  test "a module of any tool's media type is deployed by its tag, and the digest is kept", context do
    %{address: address, module: module, name: name} = context

    for {type, tag} <- [
          {@wasm, "cncf"},
          {"application/vnd.wasm.content.layer.v1+wasm", "wasm-to-oci"},
          {"application/vnd.module.wasm.content.layer.v1+wasm", "compat"}
        ] do
      digest = push!(address, "team/hello:#{tag}", [{type, module}])
      assert {:ok, function} = deploy("oci://#{address}/team/hello:#{tag}", name)
      assert function.ref == "oci://#{address}/team/hello:#{tag}@#{digest}"
      assert function.sha256 == sha256(module)
      assert Tidepool.call!(name, "hello", "Ada") == "Hello, Ada!"
      assert Tidepool.fetch!(name).ref == function.ref
      # What is kept is a reference, too, which the tag says nothing of.
      push!(address, "team/hello:#{tag}", [{type, guest("wat", "parked")}])
      assert {:ok, %{version: version}} = deploy(function.ref, name)
      assert version == function.version
      assert {:ok, %{ref: by_digest}} = deploy("oci://#{address}/team/hello@#{digest}", name)
      assert by_digest == "oci://#{address}/team/hello@#{digest}"
    end
  end

  test "layers that are no modules are nothing to it, and what is not one module is refused", context do
    %{address: address, module: module, name: name} = context
    push!(address, "a/policy:1", [{"text/plain", "policy"}, {@wasm, module}])
    assert {:ok, _function} = deploy("oci://#{address}/a/policy:1", name)
    remove!(name)

    push!(address, "a/two:1", [{@wasm, module}, {@wasm, module}])
    tar = "application/vnd.oci.image.layer.v1.tar+gzip"
    push!(address, "a/image:1", [{tar, "x"}], "application/vnd.oci.image.config.v1+json")
    digest = push!(address, "a/index:one", [{@wasm, module}])
    one = %{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: digest, size: 1}
    put_manifest!(address, "a/index", "1", @index, %{schemaVersion: 2, mediaType: @index, manifests: [one]})
    for what <- ["two", "image", "index"], do: assert(reason("oci://#{address}/a/#{what}:1", name) == :no_module)
  end

  test "what the registry does not have is unknown, by tag, digest and name",
       %{address: address, name: name} = context do
    push!(address, "there:1", [{@wasm, context.module}])
    none = String.duplicate("0a", 32)

    for what <- ["there:2", "there@sha256:#{none}", "there:1@sha256:#{none}", "not/there:1"],
        do: assert(reason("oci://#{address}/#{what}", name) == :unknown_ref)
  end

  test "what is no reference is refused before anybody is asked", %{name: name} do
    for ref <- [
          "a/b:1",
          "oci://#{String.duplicate("a", 262)}/b:1",
          "oci://a/b",
          "oci://127.0.0.1:1/b",
          "http://127.0.0.1/b:1"
        ] do
      assert {:error, %Error{reason: :invalid_option, details: %{step: :options}}} = deploy(ref, name)

      assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} =
               curl("/deploy", ["-F", "ref=#{ref}", "-F", "name=#{name}"])
    end

    assert {:error, %Error{reason: :invalid_option}} = Tidepool.deploy(nil, name: name)

    assert {:error, %Error{reason: :invalid_option}} =
             Tidepool.deploy("\0asm", name: name, ref: "oci://127.0.0.1:1/b:1")
  end

  test "a reference without a tag or a digest is told to lack that, with the form that it has to have", %{name: name} do
    form = "has to be `oci://HOST/NAME:TAG` or `oci://HOST/NAME@sha256:DIGEST`, and is "

    for ref <- ["oci://ghcr.io/team/calc", "oci://127.0.0.1:1/b"] do
      said = form <> inspect(ref) <> ", which has no tag or digest"
      assert {:error, %Error{message: message}} = deploy(ref, name)
      assert message == "the option :ref " <> said

      # With a name, and without one.
      for fields <- [["-F", "name=#{name}"], []] do
        assert {400, _headers, %{"error" => %{"message" => message}}} = curl("/deploy", ["-F", "ref=#{ref}" | fields])
        assert message == "the field `ref` " <> said
      end
    end

    assert {:error, %Error{message: message}} = deploy("oci://ghcr.io/Team/calc", name)
    assert String.ends_with?(message, "and is \"oci://ghcr.io/Team/calc\"")
  end

  test "a module that is too large is refused by what the manifest says of it",
       %{address: address, name: name} = context do
    push!(address, "large:1", [{@wasm, context.module}])
    set!(max_module: byte_size(context.module) - 1)
    assert reason("oci://#{address}/large:1", name) == :too_large
    set!(max_module: byte_size(context.module))
    assert {:ok, _function} = deploy("oci://#{address}/large:1", name)
  end

  test "a module that is none is refused as one that is uploaded", %{address: address, name: name} do
    push!(address, "text:1", [{@wasm, "no module"}])
    assert {:error, %Error{reason: :not_wasm, details: %{step: :compile}}} = deploy("oci://#{address}/text:1", name)
  end

  test "over HTTP, the function, its versions, the audit log and the log say where it is from", context do
    %{address: address, module: module, name: name} = context
    digest = push!(address, "#{name}:v1", [{@wasm, module}])
    ref = "oci://#{address}/#{name}:v1"
    kept = "#{ref}@#{digest}"
    on_exit(fn -> remove!(name) end)
    LogWatch.watch(name)
    level = Logger.level()
    Logger.configure(level: :info)
    on_exit(fn -> Logger.configure(level: level) end)

    assert {201, _headers, %{"name" => ^name, "ref" => ^kept}} = curl("/deploy", ["-F", "ref=#{ref}"])
    assert_receive {:logged, ^name, :info, text, %{tidepool_ref: ^kept}}
    assert text =~ kept
    assert {200, _headers, %{"version" => 1}} = curl("/deploy", ["-F", "ref=#{ref}"])
    assert {200, _headers, %{"ref" => ^kept, "sha256" => sha256}} = curl("/functions/#{name}")
    assert sha256 == sha256(module)
    assert {200, _headers, %{"entries" => [%{"action" => "deploy", "ref" => ^kept}]}} = curl("/audit?name=#{name}")

    # An upload is from nowhere, and a rollback is to what was kept: the registry may be gone.
    assert {201, _headers, %{"ref" => nil}} = curl_deploy(guest("go", "hello_world"), name: name)
    assert {201, _headers, %{"ref" => ^kept}} = curl("/functions/#{name}/rollback", ["-X", "POST"])
    assert {200, _headers, %{"versions" => versions}} = curl("/functions/#{name}/versions")
    assert [^kept, nil, ^kept] = Enum.map(versions, & &1["ref"])
    assert {200, _headers, %{"entries" => entries}} = curl("/audit?name=#{name}")
    assert [^kept, nil, ^kept] = Enum.map(entries, & &1["ref"])

    path = Path.join(tmp_folder!(), "a.wasm")
    File.write!(path, module)
    both = ["-F", "ref=#{ref}", "-F", "wasm=@#{path}"]
    assert {400, _headers, %{"error" => %{"reason" => "invalid_option", "step" => "options"}}} = curl("/deploy", both)
    gone = ["-F", "ref=oci://#{address}/#{name}:gone"]

    assert {404, _headers, %{"error" => %{"reason" => "unknown_ref", "step" => "fetch", "registry" => ^address}}} =
             curl("/deploy", gone)
  end

  test "a registry that wants a login gets the node's, from docker's file, and nobody is told it", context do
    address = TestRegistry.start!(:login)
    %{module: module, name: name} = context
    folder = tmp_folder!()
    path = Path.join(folder, "config.json")
    login = fn password -> %{auths: %{address => %{auth: Base.encode64("ada:" <> password)}}} end
    write = fn config -> File.write!(path, Tidepool.Native.json_encode(config)) end
    ref = "oci://#{address}/team/hello:1"

    set!(registry_logins: path)
    # There is no such file, then one that is none, one without this registry, and one with a login that is wrong.
    assert reason(ref, name) == :registry_denied
    File.write!(path, "{")
    assert reason(ref, name) == :registry_denied
    write.(%{auths: %{"other.example" => %{auth: Base.encode64("ada:s3cret")}}, credsStore: "none"})
    assert reason(ref, name) == :registry_denied
    write.(login.("wrong-pass"))
    assert {:error, %Error{reason: :registry_denied} = error} = deploy(ref, name)
    refute inspect(error) =~ "wrong-pass" or inspect(error) =~ Base.encode64("ada:wrong-pass") or inspect(error) =~ path

    write.(login.("s3cret"))
    assert reason(ref, name) == :unknown_ref
    push_as!(address, "ada:s3cret", "team/hello", module)
    assert {:ok, %{ref: _digest}} = deploy(ref, name)
    # As `docker login` and others write them.
    write.(%{auths: %{"http://#{address}/v2/" => %{username: "ada", password: "s3cret"}}})
    assert {:ok, _function} = deploy(ref, name)

    # In the usual place, where the setting names none.
    set!(registry_logins: nil)
    before = System.get_env("DOCKER_CONFIG")
    on_exit(fn -> if before, do: System.put_env("DOCKER_CONFIG", before), else: System.delete_env("DOCKER_CONFIG") end)
    System.put_env("DOCKER_CONFIG", folder)
    assert {:ok, _function} = deploy(ref, name)
    System.put_env("DOCKER_CONFIG", tmp_folder!())
    other = unique_name("referred")
    assert reason(ref, other) == :registry_denied
  end

  # With curl, which is told the login.
  defp push_as!(address, login, name, module) do
    run = fn arguments ->
      {output, 0} = System.cmd("curl", ["-sS", "-f", "-u", login, "-D", "-", "-o", "/dev/null"] ++ arguments)
      output
    end

    folder = tmp_folder!()

    [config, layer] =
      for {bytes, type} <- [{"{}", "application/vnd.wasm.config.v0+json"}, {module, @wasm}] do
        [_all, location] =
          Regex.run(~r/location: (\S+)/i, run.(["-X", "POST", "http://#{address}/v2/#{name}/blobs/uploads/"]))

        path = Path.join(folder, "blob")
        File.write!(path, bytes)
        type_of = ["-H", "content-type: application/octet-stream"]
        run.(["-X", "PUT", "--data-binary", "@#{path}"] ++ type_of ++ ["#{location}&digest=sha256:#{sha256(bytes)}"])
        %{mediaType: type, digest: "sha256:" <> sha256(bytes), size: byte_size(bytes)}
      end

    type = "application/vnd.oci.image.manifest.v1+json"
    path = Path.join(folder, "manifest")

    File.write!(
      path,
      Tidepool.Native.json_encode(%{schemaVersion: 2, mediaType: type, config: config, layers: [layer]})
    )

    run.([
      "-X",
      "PUT",
      "--data-binary",
      "@#{path}",
      "-H",
      "content-type: #{type}",
      "http://#{address}/v2/#{name}/manifests/1"
    ])
  end

  test "a registry that speaks TLS has to show a certificate that the machine's authorities vouch for" do
    {address, certificate} = TestRegistry.start!(:tls)
    "localhost:" <> port = address
    ref = "oci://#{address}/none:1"
    deploy = fn peer, ref -> Peer.call(peer, Tidepool, :deploy, [nil, [name: "f", ref: ref]]) end
    peer = Peer.start!(registries: "https://#{address},https://127.0.0.1:#{port}")
    assert {:error, %Error{reason: :registry_unreachable}} = deploy.(peer, ref)
    :ok = Peer.call(peer, :public_key, :cacerts_load, [to_charlist(certificate)])
    assert {:error, %Error{reason: :unknown_ref}} = deploy.(peer, ref)
    # Another name than the certificate's.
    assert {:error, %Error{reason: :registry_unreachable}} = deploy.(peer, "oci://127.0.0.1:#{port}/none:1")
  end

  test "the nodes of a cluster get the module from the one that has fetched it", %{address: address, module: module} do
    [a, b] = Tidepool.TestCluster.start!(2, server: true)
    push!(address, "spread:1", [{@wasm, module}])
    # The other one fetches from nowhere.
    config = Peer.call(b, :persistent_term, :get, [Config])
    :ok = Peer.call(b, Config, :put, [%{config | registries: []}])
    options = [name: "spread", ref: "oci://#{address}/spread:1", wait: :all]
    eventually(fn -> length(Peer.call(a, Tidepool.Cluster.Links, :linked, [])) == 1 end, 30_000)
    assert {:ok, %{ref: ref}} = Peer.call(a, Tidepool, :deploy, [nil, options])
    assert {:ok, %{ref: ^ref}} = Peer.call(b, Tidepool, :fetch, ["spread"])
    assert {:ok, "Hello, Ada!"} = Peer.call(b, Tidepool, :call, ["spread", "hello", "Ada"])

    assert {:error, %Error{reason: :invalid_option}} =
             Peer.call(b, Tidepool, :deploy, [nil, Keyword.put(options, :name, "g")])
  end
end
