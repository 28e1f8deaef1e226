defmodule Tidepool.Oci.AccessTest do
  # Who may have what fetched from where, over HTTP: by tokens, and by the settings of the node.
  use Tidepool.Case, async: true

  import Tidepool.TestRegistry, only: [push!: 3]

  alias Tidepool.{FalseRegistry, Native, Peer, TestRegistry}

  @own "s3cret-token"

  setup_all do
    address = TestRegistry.start!()

    for name <- ["team/hello", "other/hello"],
        do: push!(address, "#{name}:1", [{"application/wasm", guest("rust", "hello_world")}])

    %{address: address, port: address |> String.split(":") |> List.last()}
  end

  defp bearer(secret), do: ["-H", "authorization: Bearer #{secret}"]

  defp secret!(peer, name, grants, scopes \\ ["deploy"]) do
    body = Native.json_encode(%{name: name, scopes: scopes, grants: grants})
    assert {201, _headers, made} = curl_url(Peer.url(peer, "/tokens"), ["--data-binary", body | bearer(@own)])
    made["secret"]
  end

  defp deploy(peer, ref, secret), do: curl_url(Peer.url(peer, "/deploy"), ["-F", "ref=#{ref}" | bearer(secret)])

  defp refused(peer, ref, secret) do
    assert {_status, _headers, %{"error" => error}} = deploy(peer, ref, secret)
    error
  end

  test "a token has fetched what it grants, and is told which grant it lacks", %{address: address} do
    peer = Peer.start!(server: true, token: @own)
    {mine, others} = {"oci://#{address}/team/hello:1", "oci://#{address}/other/hello:1"}
    grant = "registry:#{address}"

    for {grants, at} <-
          Enum.with_index([[], ["net:*"], ["registry:ghcr.io"], [grant <> "/team/hell"], ["registry:127.0.0.1"]]) do
      secret = secret!(peer, "without-#{at}", grants)
      assert {403, _headers, %{"error" => error}} = deploy(peer, mine, secret)
      assert %{"reason" => "forbidden", "grant" => ^grant, "token" => _name, "step" => "fetch"} = error
      assert error["message"] =~ "`#{grant}`"
    end

    for {grants, at} <- Enum.with_index([[grant], [grant <> "/*"], [grant <> "/team/*"], [grant <> "/team/hello"]]) do
      secret = secret!(peer, "with-#{at}", grants)
      assert {status, _headers, %{"name" => "hello"}} = deploy(peer, mine, secret)
      assert status in [200, 201]
      if at >= 2, do: assert(%{"reason" => "forbidden"} = refused(peer, others, secret))
    end
  end

  test "who grants all reaches no private address by that, the node's own token included", %{
    address: address,
    port: port
  } do
    peer = Peer.start!(server: true, token: @own)
    all = secret!(peer, "all", ["*"])
    registries = secret!(peer, "registries", ["registry:*"])

    for secret <- [@own, all, registries],
        host <- [address, "localhost:#{port}", "[::1]:#{port}", "0.0.0.0:#{port}", "10.255.255.1", "169.254.169.254:80"],
        do:
          assert(
            refused(peer, "oci://#{host}/team/hello:1", secret)["reason"] in ["invalid_option", "registry_unreachable"]
          )

    # What is there, and what is not, is told in the same words.
    [one, other] =
      for host <- ["10.255.255.1", "does-not-exist.invalid"] do
        error = refused(peer, "oci://#{host}/a:1", all)
        assert error["reason"] == "registry_unreachable"
        String.replace(error["message"], host, "HOST")
      end

    assert one == other
  end

  test "a name that is granted leads to no private network, and an address that is granted is what it says", context do
    %{address: address, port: port} = context
    peer = Peer.start!(server: true, token: @own)
    leads_here!(peer)
    "127.0.0.1:" <> inside = FalseRegistry.start!(fn _path, _headers -> :never end)
    inside_port = String.to_integer(inside)
    secret = secret!(peer, "named", ["registry:registry.test:#{inside}", "registry:#{address}"])
    assert refused(peer, "oci://registry.test:#{inside}/team/hello:1", secret)["reason"] == "registry_unreachable"
    refute_received {:hung_up, ^inside_port}
    assert {201, _headers, _function} = deploy(peer, "oci://#{address}/team/hello:1", secret)
    # What such a name leads to is asked when the setting has it.
    name = "registry.test:#{port}"
    peer = Peer.start!(server: true, token: @own, registries: "http://#{name}")
    leads_here!(peer)
    secret = secret!(peer, "named", ["registry:#{name}"])
    assert {201, _headers, _function} = deploy(peer, "oci://#{name}/team/hello:1", secret)
  end

  # To whoever asks there, a name is one of this machine's.
  defp leads_here!(peer) do
    :ok = Peer.call(peer, :inet_db, :set_lookup, [[:file, :native]])
    :ok = Peer.call(peer, :inet_db, :add_host, [{127, 0, 0, 1}, [~c"registry.test"]])
  end

  test "a setting names the registries, those in the clear and those on private networks", %{
    address: address,
    port: port
  } do
    for {registries, reason} <- [
          {"http://#{address}", nil},
          {address, nil},
          {"*,http://#{address}", nil},
          {"https://#{address}", "registry_unreachable"},
          {"http://localhost:#{port}", "invalid_option"},
          {"ghcr.io", "invalid_option"},
          {"", "invalid_option"}
        ] do
      peer = Peer.start!(server: true, token: @own, registries: registries)
      assert {_status, _headers, answer} = deploy(peer, "oci://#{address}/team/hello:1", @own)
      assert answer["error"]["reason"] == reason, "#{registries}: #{inspect(answer)}"
    end

    # A token's grant reaches no further than the setting.
    peer = Peer.start!(server: true, token: @own, registries: [])
    secret = secret!(peer, "named", ["registry:#{address}"])
    assert refused(peer, "oci://#{address}/team/hello:1", secret)["reason"] == "invalid_option"
  end

  test "a token that was revoked has nothing fetched", %{address: address} do
    peer = Peer.start!(server: true, token: @own)
    secret = secret!(peer, "gone", ["registry:#{address}"])
    assert {:ok, _told} = Peer.call(peer, Tidepool.Tokens, :revoke, ["gone"])
    assert {401, _headers, _error} = deploy(peer, "oci://#{address}/team/hello:1", secret)

    assert {:error, %{reason: :forbidden}} =
             Peer.call(peer, Tidepool.Oci, :fetch, [
               "oci://#{address}/team/hello:1",
               nil,
               {{:token, "gone", Tidepool.Tokens.sha256(secret)}, "127.0.0.1:1"}
             ])
  end
end
