defmodule Tidepool.Oci.HostileTest do
  # What registries answer that are none, or mean ill: each is an error with a reason, in time, and others notice nothing. Settings of
  # this node are changed on the way.
  use Tidepool.Case, async: false

  alias Tidepool.{Config, Error, FalseRegistry, Native, OwnTrace, TestRegistry}
  alias Tidepool.Oci.{Http, Places}

  @module "priv/testing/loop.wasm"
  @type_of "application/vnd.oci.image.manifest.v1+json"

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
    %{name: unique_name("hostile"), module: File.read!(@module)}
  end

  defp set!(changes), do: Config.put(Map.merge(:persistent_term.get(Config), Map.new(changes)))

  defp sha256(bytes), do: TestRegistry.sha256(bytes)

  defp manifest(module, changes \\ %{}) do
    layer = %{mediaType: "application/wasm", digest: "sha256:" <> sha256(module), size: byte_size(module)}
    Native.json_encode(%{schemaVersion: 2, mediaType: @type_of, layers: [Map.merge(layer, changes)]})
  end

  # Serves a module as a registry does, but for what `answer` says otherwise.
  defp serving(module, answer \\ fn _path, _headers -> nil end) do
    manifest = manifest(module)

    fn path, headers ->
      cond do
        other = answer.(path, headers) -> other
        path =~ "/manifests/" -> {200, [{"content-type", @type_of}], manifest}
        path =~ "/blobs/" -> {200, [], module}
      end
    end
  end

  defp deploy(address, name, path \\ "a:1") do
    on_exit(fn -> remove!(name) end)
    Tidepool.deploy(nil, name: name, ref: "oci://#{address}/#{path}")
  end

  defp refused(address, name, path \\ "a:1") do
    assert {:error, %Error{details: %{step: :fetch, registry: ^address}} = error} = deploy(address, name, path)
    assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
    # Nothing that a server says is handed on.
    refute Exception.message(error) =~ "secret of the house"
    error.reason
  end

  defp head(headers), do: ["HTTP/1.1 200 OK\r\n", for({name, value} <- headers, do: "#{name}: #{value}\r\n"), "\r\n"]

  # Where it listens, in one way or the other.
  defp at(address, answer), do: fn path, headers -> if(path =~ address, do: answer.(path, headers)) end
  defp always(answer), do: fn _path, _headers -> answer end

  test "whatever is answered in place of a manifest or a module is an error of its own", %{name: name, module: module} do
    page = "<html>secret of the house</html>"
    bomb = :zlib.gzip(:binary.copy(<<0>>, 10_000_000))
    line = :binary.copy("a", 100_000)

    cases = [
      {401, [], page, :registry_denied},
      {403, [], page, :registry_denied},
      {404, [], page, :unknown_ref},
      {429, [{"retry-after", "9"}], page, :registry_busy},
      {500, [], page, :registry_failed},
      {204, [], "", :registry_failed},
      {200, [{"content-type", "text/html"}], page, :registry_failed},
      {200, [], "", :registry_failed},
      {200, [{"content-encoding", "gzip"}], bomb, :registry_failed},
      {302, [], "", :registry_failed},
      {302, [{"location", "ftp://127.0.0.1/"}], "", :registry_failed},
      {302, [{"location", "http://user:secret@127.0.0.1/"}], "", :registry_failed},
      {302, [{"location", "//"}], "", :registry_failed},
      {:raw, "secret of the house\r\n\r\n"},
      {:raw, ""},
      {:raw, "HTTP/1.1 200 OK\r\n"},
      {:raw, ["HTTP/1.1 200 OK\r\nx: ", line, "\r\n\r\n"]},
      {:raw, ["HTTP/1.1 200 OK\r\n", List.duplicate("x: y\r\n", 5_000), "\r\n"]},
      {:raw, head([{"content-length", "many"}])},
      {:raw, head([{"content-length", "-1"}])},
      {:raw, [head([{"content-length", 10}]), "short"]},
      {:raw, [head([{"content-length", 1_000_000_000_000}]), "short"]},
      {:raw, [head([{"transfer-encoding", "gzip, chunked"}]), "0\r\n\r\n"]},
      {:raw, [head([{"transfer-encoding", "chunked"}]), "zz\r\n"]},
      {:raw, [head([{"transfer-encoding", "chunked"}]), "-5\r\nabc"]},
      {:raw, [head([{"transfer-encoding", "chunked"}]), "5\r\nabc"]},
      {:raw, [head([{"transfer-encoding", "chunked"}]), "1\r\nabc"]},
      {:raw, [head([{"transfer-encoding", "chunked"}]), line, "\r\n"]},
      {:pour, head([]), line},
      {:pour, head([{"content-length", 1_000_000_000_000}]), line},
      {:pour, head([{"transfer-encoding", "chunked"}]), "5\r\nabcde\r\n"},
      # Within the bytes that it may have, and each chunk takes more than it has.
      {:raw, [head([{"transfer-encoding", "chunked"}]), List.duplicate("1\r\n0\r\n", 2_000), "0\r\n\r\n"]},
      {:pour, "HTTP/1.1 200 OK\r\n", "x: y\r\n"},
      {:pour, "", "y"}
    ]

    for place <- ["/manifests/", "/blobs/"], one <- cases do
      {answer, reason} =
        case one do
          {status, headers, body, reason} -> {{status, headers, body}, reason}
          other -> {other, :registry_failed}
        end

      address = FalseRegistry.start!(serving(module, at(place, always(answer))))
      assert refused(address, name) == reason, "#{place}: #{inspect(one, limit: 5, printable_limit: 100)}"
    end

    assert {:ok, _function} = module |> serving() |> FalseRegistry.start!() |> deploy(name)
  end

  test "a length that has more digits than any is not read" do
    # The VM reads a number in one go, whatever others wait for.
    reads = [{:erlang, :binary_to_integer, 1}, {:erlang, :binary_to_integer, 2}]
    digits = String.duplicate("7", 16_000)
    chunked = head([{"transfer-encoding", "chunked"}])

    for {answer, outcome, read} <- [
          {[head([{"content-length", digits}]), "tide"], {:error, :not_http}, 0},
          {[chunked, digits, "\r\ntide\r\n0\r\n\r\n"], {:error, :not_http}, 0},
          {[chunked, "+4\r\ntide\r\n0\r\n\r\n"], {:error, :not_http}, 0},
          {[head([{"content-length", 4}]), "tide"], {:ok, "tide"}, 1},
          {[chunked, "4;a=b\r\ntide\r\n0\r\n\r\n"], {:ok, "tide"}, 2}
        ] do
      "127.0.0.1:" <> port = FalseRegistry.start!(fn _path, _headers -> {:raw, answer} end)

      request = %{
        scheme: :http,
        host: "127.0.0.1",
        port: String.to_integer(port),
        addresses: [{127, 0, 0, 1}],
        target: "/",
        headers: [],
        bytes: 100,
        until: System.monotonic_time(:millisecond) + 30_000
      }

      {got, calls, _sent} = OwnTrace.of(reads, fn -> Http.get(request) end)
      assert length(calls) == read and Enum.all?(calls, fn [text | _base] -> byte_size(text) < 20 end)
      assert with({:ok, %{body: body}} <- got, do: {:ok, body}) == outcome
    end
  end

  test "a port that has more digits than any is not read", %{name: name, module: module} do
    reads = [{:erlang, :binary_to_integer, 1}, {:erlang, :binary_to_integer, 2}]
    digits = String.duplicate("7", 16_000)

    for location <- ["http://127.0.0.1:#{digits}/", "//127.0.0.1:#{digits}", "http://127.0.0.1:#{digits}?a"] do
      elsewhere = always({302, [{"location", location}], ""})
      address = FalseRegistry.start!(serving(module, at("/blobs/", elsewhere)))
      deploy = fn -> Tidepool.deploy(nil, name: name, ref: "oci://#{address}/a:1") end
      assert {{:error, %Error{reason: :registry_failed}}, calls, _sent} = OwnTrace.of(reads, deploy)
      # That of the registry is.
      assert calls != [] and Enum.all?(calls, fn [text | _base] -> byte_size(text) < 20 end)
    end
  end

  test "a manifest and a module that are other than their digest are refused", %{name: name, module: module} do
    one = FalseRegistry.start!(serving(module))
    assert refused(one, name, "a@sha256:#{String.duplicate("0a", 32)}") == :wrong_digest

    lies = [{"docker-content-digest", "sha256:" <> sha256("other")}]
    other = FalseRegistry.start!(serving(module, at("/manifests/", always({200, lies, manifest(module)}))))
    assert refused(other, name) == :wrong_digest

    changed = :binary.replace(module, "\0asm", "\0asn")
    third = FalseRegistry.start!(serving(module, at("/blobs/", always({200, [], changed}))))
    assert refused(third, name) == :wrong_digest
  end

  test "a manifest that says of a layer what none has is refused", %{name: name, module: module} do
    size = byte_size(module)

    for {changes, reason} <- [
          {%{size: size - 1}, :registry_failed},
          {%{size: size + 1}, :registry_failed},
          {%{size: -1}, :registry_failed},
          {%{size: "#{size}"}, :registry_failed},
          {%{size: 1.0e9}, :registry_failed},
          {%{digest: "sha256:../../secret"}, :registry_failed},
          {%{digest: "sha512:" <> String.duplicate("0a", 64)}, :no_module},
          {%{digest: nil}, :registry_failed},
          {%{mediaType: ["application/wasm"]}, :no_module}
        ] do
      address = FalseRegistry.start!(serving(module, at("/manifests/", always({200, [], manifest(module, changes)}))))
      assert refused(address, name) == reason, inspect(changes)
    end

    for body <- [
          "[]",
          "null",
          "{",
          "{\"layers\": []}",
          "{\"schemaVersion\": 2, \"layers\": {}}",
          String.duplicate("[", 100_000)
        ] do
      address = FalseRegistry.start!(serving(module, at("/manifests/", always({200, [], body}))))
      assert refused(address, name) == :registry_failed, body
    end
  end

  test "a manifest has 256 KiB at most", %{name: name, module: module} do
    padded = fn bytes -> manifest(module) <> :binary.copy(" ", bytes - byte_size(manifest(module))) end
    serves = fn manifest -> FalseRegistry.start!(serving(module, at("/manifests/", always({200, [], manifest})))) end
    assert refused(serves.(padded.(262_145)), name) == :registry_failed
    assert {:ok, _function} = deploy(serves.(padded.(262_144)), name)
  end

  test "nothing is asked of a module that is too large, and no more is read than the manifest says", context do
    %{name: name, module: module} = context
    large = manifest(module, %{size: 1_000_000_000})
    address = FalseRegistry.start!(serving(module, at("/manifests/", always({200, [], large}))))
    assert {:error, %Error{reason: :too_large}} = deploy(address, name)
    assert_receive {:asked, _port, "/v2/a/manifests/1", _headers}
    refute_received {:asked, _port, "/v2/a/blobs/" <> _digest, _headers}
  end

  test "a registry that is silent or slow costs its own deploy the time that a fetch has, and others nothing",
       context do
    %{module: module} = context
    good = FalseRegistry.start!(serving(module))
    # What the good one is asked meanwhile has no more time than that.
    set!(registry_timeout: 5_000)

    slow =
      for place <- ["/manifests/", "/blobs/"],
          answer <- [:never, {:open, head([{"content-length", byte_size(module)}])}] do
        address = FalseRegistry.start!(serving(module, at(place, always(answer))))
        options = [name: unique_name("slow"), ref: "oci://#{address}/a:1"]
        {System.monotonic_time(:millisecond), Task.async(fn -> Tidepool.deploy(nil, options) end)}
      end

    for _deploy <- slow, do: assert_receive({:asked, _port, "/v2/a/manifests/1", _headers})
    assert {:ok, _function} = deploy(good, unique_name("meanwhile"))
    for {_began, deploy} <- slow, do: assert(Task.yield(deploy, 0) == nil)

    for {began, deploy} <- slow do
      assert {:error, %Error{reason: :registry_timeout}} = Task.await(deploy, 60_000)
      assert System.monotonic_time(:millisecond) - began >= 5_000
    end
  end

  test "one registry has some of the places, and those who have given up leave theirs", %{name: name, module: module} do
    {all, of_one} = Places.most()
    silent = FalseRegistry.start!(always(:never))
    good = FalseRegistry.start!(serving(module))

    slow =
      for _place <- 1..of_one do
        {pid, _monitor} = spawn_monitor(fn -> Tidepool.deploy(nil, name: name, ref: "oci://#{silent}/a:1") end)
        assert_receive {:asked, _port, _path, _headers}
        pid
      end

    eventually(fn -> Places.held() == %{"fetches" => %{held: of_one, max: all}} end)
    assert refused(silent, name) == :registry_busy
    assert {:ok, _function} = deploy(good, name)

    # Each hangs up, and so does what it had open.
    for pid <- slow do
      Process.exit(pid, :kill)
      assert_receive {:DOWN, _monitor, :process, ^pid, :killed}
    end

    for _place <- slow, do: assert_receive({:hung_up, _port})
    set!(registry_timeout: 100)
    assert {:error, %Error{reason: :registry_timeout}} = deploy(silent, unique_name("again"))
  end

  test "a namespace has no more of the places than it leaves to others, whatever registries it names", %{module: module} do
    {all, _of_one} = Places.most()
    silent = for _registry <- 1..div(all, 2), do: FalseRegistry.start!(always(:never))
    good = FalseRegistry.start!(serving(module))

    slow =
      for {registry, number} <- Enum.with_index(silent) do
        {pid, _monitor} =
          spawn_monitor(fn -> Tidepool.deploy(nil, name: "fetching/a#{number}", ref: "oci://#{registry}/a:1") end)

        assert_receive {:asked, _port, _path, _headers}
        pid
      end

    assert refused(good, "fetching/good") == :registry_busy
    for name <- ["other/good", unique_name("good")], do: assert({:ok, _function} = deploy(good, name))

    for pid <- slow do
      Process.exit(pid, :kill)
      assert_receive {:DOWN, _monitor, :process, ^pid, :killed}
      assert_receive {:hung_up, _port}
    end

    assert {:ok, _function} = deploy(good, "fetching/good")
  end

  # --- Where it sends to --------------------------------------------------------------------------

  # A place that is to be asked nothing.
  defp inside, do: FalseRegistry.start!(always({200, [], "secret of the house"}))

  defp assert_unasked(address) do
    port = address |> String.split(":") |> List.last() |> String.to_integer()
    refute_received {:asked, ^port, _path, _headers}
    refute_received {:hung_up, ^port}
  end

  test "a registry sends nobody to an address in the clear, or to one of a private network", context do
    %{name: name, module: module} = context
    inside = inside()
    [_host, port] = String.split(inside, ":")

    for place <- ["/manifests/", "/blobs/"],
        {location, reason} <- [
          {"http://#{inside}/", :registry_failed},
          {"//#{inside}/", :registry_failed},
          {"http://localhost:#{port}/", :registry_failed},
          {"https://127.0.0.1:0/", :registry_failed},
          {"https://127.0.0.1:99999/", :registry_failed},
          {"https://#{inside}/", :registry_unreachable},
          {"https://localhost:#{port}/", :registry_unreachable},
          {"https://[::ffff:127.0.0.1]:#{port}/", :registry_unreachable},
          {"https://2130706433:#{port}/", :registry_unreachable},
          {"https://0:#{port}/", :registry_unreachable},
          {"https://169.254.169.254/latest/meta-data/", :registry_unreachable},
          {"https://10.0.0.1/", :registry_unreachable},
          {"https://[fd00::1]/", :registry_unreachable}
        ] do
      answer = {307, [{"location", location}], "secret of the house"}
      address = FalseRegistry.start!(serving(module, at(place, always(answer))))
      assert refused(address, name) == reason, "#{place} #{location}"
      assert_unasked(inside)
    end
  end

  test "a registry sends to itself, and to one that the setting names, without what lets the node in", context do
    %{name: name, module: module} = context
    store = FalseRegistry.start!(always({200, [], module}))

    answer = fn path, headers ->
      cond do
        List.keyfind(headers, "authorization", 0) == nil -> {401, [{"www-authenticate", "Basic realm=\"a\""}], ""}
        path =~ "/blobs/" -> {307, [{"location", "/v2/moved/here?x=1&y=%2F"}], ""}
        path =~ "/moved/" -> {307, [{"location", "http://#{store}/kept?signature=ab%2Bc"}], ""}
        true -> nil
      end
    end

    address = FalseRegistry.start!(serving(module, answer))
    set!(registries: "*,http://#{store}", registry_logins: logins!(address))
    assert {:ok, _function} = deploy(address, name)
    assert_received {:asked, _port, "/v2/moved/here?x=1&y=%2F", headers}
    assert List.keyfind(headers, "authorization", 0) == {"authorization", "Basic " <> Base.encode64("ada:s3cret")}
    assert_received {:asked, _port, "/kept?signature=ab%2Bc", headers}
    assert List.keyfind(headers, "authorization", 0) == nil
  end

  test "a registry that sends round and round is left", %{name: name, module: module} do
    round = fn path, _headers -> {302, [{"location", path}], ""} end
    address = FalseRegistry.start!(serving(module, round))
    assert refused(address, name) == :registry_failed
    asked = for _time <- Stream.repeatedly(fn -> nil end) |> Stream.take_while(fn _ -> asked?() end), do: 1
    assert length(asked) <= 10
  end

  defp asked?, do: receive(do: ({:asked, _port, _path, _headers} -> true), after: (0 -> false))

  # --- Being let in -------------------------------------------------------------------------------

  # A file with the login of ada for an address.
  defp logins!(address) do
    path = Path.join(tmp_folder!(), "config.json")
    File.write!(path, Native.json_encode(%{auths: %{address => %{auth: Base.encode64("ada:s3cret")}}}))
    path
  end

  defp bearer(realm),
    do: [{"www-authenticate", ~s(Bearer realm="#{realm}",service="the registry",scope="repository:a:pull,push")}]

  test "a token is asked for where the registry says, for pulling alone, and goes to the registry alone", context do
    %{name: name, module: module} = context

    answer = fn path, headers ->
      authorization = List.keyfind(headers, "authorization", 0)

      cond do
        path =~ "/token" -> {200, [], ~s({"token":"t0ken"})}
        authorization != {"authorization", "Bearer t0ken"} -> {401, bearer("http://#{host(headers)}/token"), ""}
        true -> nil
      end
    end

    address = FalseRegistry.start!(serving(module, answer))
    set!(registry_logins: logins!(address))
    assert {:ok, _function} = deploy(address, name)
    assert_received {:asked, _port, "/token?" <> query, headers}
    assert URI.decode_query(query) == %{"service" => "the registry", "scope" => "repository:a:pull"}
    assert List.keyfind(headers, "authorization", 0) == {"authorization", "Basic " <> Base.encode64("ada:s3cret")}
    assert_received {:asked, _port, "/v2/a/blobs/" <> _digest, headers}
    assert List.keyfind(headers, "authorization", 0) == {"authorization", "Bearer t0ken"}
  end

  # Where a registry is, as it was asked.
  defp host(headers), do: headers |> List.keyfind("host", 0) |> elem(1)

  test "a login goes to no place in the clear, or on a private network, that a registry says", context do
    %{name: name, module: module} = context
    inside = inside()

    for {realm, reason} <- [
          {"http://#{inside}/token", :registry_failed},
          {"https://#{inside}/token", :registry_unreachable},
          {"http://#{inside}/token\r\nx: y", :registry_failed},
          {"file:///etc/passwd", :registry_failed},
          {"token", :registry_failed},
          {"", :registry_failed}
        ] do
      address = FalseRegistry.start!(serving(module, always({401, bearer(realm), "secret of the house"})))
      set!(registry_logins: logins!(address))
      assert refused(address, name) in [reason, :registry_denied], realm
      assert_unasked(inside)
    end
  end

  test "a place for tokens that gives none is an error", %{name: name} do
    for {answered, reason} <- [
          {{200, [], "{}"}, :registry_failed},
          {{200, [], "<html>"}, :registry_failed},
          {{200, [], ~s({"token":"a\\r\\nx: y"})}, :registry_failed},
          {{200, [], ~s({"token":["a"]})}, :registry_failed},
          {{200, [], ~s({"token":"#{String.duplicate("a", 100_000)}"})}, :registry_failed},
          {{302, [{"location", "/else"}], ""}, :registry_failed},
          {{401, [], ""}, :registry_denied},
          {{403, [], ""}, :registry_denied},
          {{429, [], ""}, :registry_busy},
          {{500, [], ""}, :registry_failed},
          # One that lets nobody in.
          {{200, [], ~s({"access_token":"t0ken"})}, :registry_denied}
        ] do
      answer = fn path, headers ->
        if path =~ "/token", do: answered, else: {401, bearer("http://#{host(headers)}/token"), ""}
      end

      address = FalseRegistry.start!(answer)
      assert refused(address, name) == reason, inspect(answered)
    end
  end
end
