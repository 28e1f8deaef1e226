defmodule Tidepool.Cli.RegistryTest do
  # Modules pushed to a registry by the tool, and deployed from there.
  use Tidepool.Case, async: true

  alias Tidepool.{FalseRegistry, Native, Peer, TestRegistry, Tool}

  @manifest "application/vnd.oci.image.manifest.v1+json"

  setup_all do
    Tool.path!()
    peer = Peer.start!(server: true)
    %{address: TestRegistry.start!(), env: [{"TIDEPOOL_URL", Peer.url(peer, "")}, {"DOCKER_CONFIG", "/no/such/folder"}]}
  end

  test "what is pushed is deployed by its reference, and has the same digest when it is pushed again", context do
    %{address: address, env: env} = context
    ref = "oci://#{address}/team/greeter:1"
    module = guest_path("rust", "hello_world")
    assert %{"ref" => pushed, "digest" => digest, "size" => size} = Tool.json!(["push", ref, module], env: env)
    assert {pushed, size} == {"#{ref}@#{digest}", File.stat!(module).size}
    assert %{"digest" => ^digest} = Tool.json!(["push", ref, module], env: env)
    assert {text, 0} = Tool.run(["push", ref, module], env: env)
    assert text =~ pushed

    assert %{"name" => "greeter", "ref" => ^pushed} =
             Tool.json!(["deploy", ref, "--field", "instances=warm:2"], env: env)

    assert %{"name" => "other", "ref" => ^pushed} = Tool.json!(["deploy", pushed, "--name", "other"], env: env)
    assert %{"reply" => "Hello, Ada!"} = Tool.json!(["call", "greeter", "hello", "--data", "Ada"], env: env)
    assert %{"ref" => ^pushed, "instances" => "warm:2"} = Tool.json!(["show", "greeter"], env: env)
    assert {text, 0} = Tool.run(["show", "greeter"], env: env)
    assert text =~ digest

    # As the artifact layout has it.
    {200, _headers, manifest} =
      curl_url("http://#{address}/v2/team/greeter/manifests/1", ["-H", "accept: #{@manifest}"])

    {:ok, manifest} = Native.json_decode(manifest)
    assert %{"mediaType" => "application/vnd.wasm.config.v0+json", "digest" => config} = manifest["config"]
    assert [%{"mediaType" => "application/wasm", "digest" => layer, "size" => ^size}] = manifest["layers"]
    {200, _headers, config} = curl_url("http://#{address}/v2/team/greeter/blobs/#{config}")
    {:ok, config} = Native.json_decode(config)
    assert %{"architecture" => "wasm", "os" => "wasip1", "layerDigests" => [^layer]} = config
  end

  test "a component is pushed as one", %{address: address, env: env} do
    component = Path.join(tmp_folder!(), "component.wasm")
    File.write!(component, <<0, "asm", 0x0D, 0, 1, 0>>)
    Tool.json!(["push", "oci://#{address}/component:1", component], env: env)
    {200, _headers, manifest} = curl_url("http://#{address}/v2/component/manifests/1", ["-H", "accept: #{@manifest}"])
    {:ok, %{"config" => %{"digest" => config}}} = Native.json_decode(manifest)
    {200, _headers, config} = curl_url("http://#{address}/v2/component/blobs/#{config}")
    assert {:ok, %{"os" => "wasip2"}} = Native.json_decode(config)
  end

  test "a project is pushed as it was built", %{address: address, env: env} do
    folder = tmp_folder!()

    File.write!(
      Path.join(folder, "tidepool.toml"),
      "name = \"it\"\n[build]\ncommand = \"cp #{guest_path("rust", "upper")} out.wasm\"\noutput = \"out.wasm\"\nwatch = []\n"
    )

    ref = "oci://#{address}/project:v1"
    assert {_error, 4} = Tool.run(["push", ref, "--no-build", "--json"], cd: folder, env: env)
    assert %{"digest" => digest} = Tool.json!(["push", ref], cd: folder, env: env)
    assert %{"digest" => ^digest} = Tool.json!(["push", ref, "--no-build", "--project", folder], env: env)
  end

  test "a registry that wants a login gets that of docker's file, and no other", %{env: env} do
    address = TestRegistry.start!(:login)
    folder = tmp_folder!()
    env = List.keyreplace(env, "DOCKER_CONFIG", 0, {"DOCKER_CONFIG", folder})
    push = ["push", "oci://#{address}/a:1", guest_path("rust", "upper"), "--json"]

    write = fn auths -> File.write!(Path.join(folder, "config.json"), Native.json_encode(%{auths: auths})) end
    login = fn password -> %{auth: Base.encode64("ada:" <> password)} end

    for auths <- [nil, %{}, %{"other" => login.("s3cret")}, %{address => login.("wrong-one")}] do
      if auths, do: write.(auths)
      assert {error, 1} = Tool.run(push, env: env)
      assert error =~ "registry_denied"
      refute error =~ "wrong-one" or error =~ Base.encode64("ada:wrong-one")
    end

    write.(%{address => login.("s3cret")})
    assert {pushed, 0} = Tool.run(push, env: env)
    assert pushed =~ "sha256:"
    File.write!(Path.join(folder, "config.json"), "s3cret {")
    assert {error, 2} = Tool.run(push, env: env)
    assert error =~ "unreadable"
    refute error =~ "s3cret"
  end

  test "a registry by TLS is one that an authority vouches for, of all that know it or of those that are named", %{
    env: env
  } do
    {address, certificate} = TestRegistry.start!(:tls)
    push = ["push", "oci://#{address}/a:1", guest_path("rust", "upper"), "--json", "--plain-http=false"]
    assert {error, 3} = Tool.run(push, env: env)
    assert error =~ "registry_unreachable"
    assert {pushed, 0} = Tool.run(push ++ ["--ca", certificate], env: env)
    assert pushed =~ "sha256:"
    # In the clear it says that it speaks TLS, as an answer that is an error.
    assert {error, 1} = Tool.run(List.delete(push, "--plain-http=false"), env: env)
    assert error =~ "registry_refused"
  end

  test "what is no registry, and what a registry sends elsewhere, is told of, and nobody else gets the login", %{
    env: env
  } do
    inside = FalseRegistry.start!(fn _path, _headers -> {200, [], "{}"} end)
    folder = tmp_folder!()
    env = List.keyreplace(env, "DOCKER_CONFIG", 0, {"DOCKER_CONFIG", folder})

    for {answer, code} <- [
          {{401, [{"www-authenticate", "Bearer realm=\"http://#{inside}/token\""}], ""}, 3},
          {{401, [{"www-authenticate", "Bearer realm=\"\""}], ""}, 3},
          {{401, [{"www-authenticate", "Digest"}], ""}, 1},
          {{401, [], ""}, 1},
          {{307, [{"location", "http://#{inside}/"}], ""}, 1},
          {{500, [], "<html>"}, 1},
          {{:raw, "nonsense\r\n\r\n"}, 3}
        ] do
      address = FalseRegistry.start!(fn _path, _headers -> answer end)

      File.write!(
        Path.join(folder, "config.json"),
        Native.json_encode(%{auths: %{address => %{auth: Base.encode64("ada:s3cret")}}})
      )

      assert {error, ^code} =
               Tool.run(["push", "oci://#{address}/a:1", guest_path("rust", "upper"), "--json"], env: env)

      assert {:ok, %{"error" => %{"reason" => "registry_" <> _which}}} = Native.json_decode(error)
      port = inside |> String.split(":") |> List.last() |> String.to_integer()
      refute_received {:asked, ^port, _path, _headers}
    end
  end

  test "what can't be pushed, or signed, is a mistake of the command line's", %{address: address, env: env} do
    text = Path.join(tmp_folder!(), "text")
    File.write!(text, "no module")
    module = guest_path("rust", "upper")

    for arguments <- [
          ["push", "#{address}/a:1", module],
          ["push", "oci://#{address}/a", module],
          ["push", "oci://#{address}/a@sha256:#{String.duplicate("0a", 32)}", module],
          ["push", "oci://#{address}/a:1", text],
          ["push", "oci://#{address}/a:1", "/no/such/file"],
          ["push", "oci://#{address}/a:1", module, "--no-build"],
          ["deploy", "oci://#{address}/a:1", "--key", text]
        ],
        do: assert({_error, 2} = Tool.run(arguments ++ ["--json"], env: env))

    assert {error, 1} = Tool.run(["deploy", "oci://#{address}/none:1", "--json"], env: env)
    assert error =~ "unknown_ref"
  end
end
