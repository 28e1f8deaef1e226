for file <- ["foreground.exs", "built.exs"], do: Code.require_file(file, __DIR__)

defmodule Tidepool.Ship.ComposeTest do
  # ops/compose.yaml, and what ops/compose.tls.yaml adds: the services as processes of this machine, with the variables that these give
  # them. What is another here is where containers would be: each node has an address of the loopback, a folder in place of its volume,
  # and a port that is free.
  use Tidepool.Case, async: false

  alias Tidepool.{Built, Foreground}

  @moduletag :ship

  @file_name "ops/compose.yaml"
  @tls "ops/compose.tls.yaml"
  @nodes ["n1", "n2", "n3"]
  @secrets %{"TIDEPOOL_COOKIE" => "c00kie", "TIDEPOOL_TOKEN" => "t0ken"}

  setup_all do
    [compose] = Built.yaml!(@file_name)
    [tls] = Built.yaml!(@tls)
    %{compose: compose, tls: tls}
  end

  # What Compose makes of text with variables. One without a value is an error.
  defp interpolate(text, variables) do
    Regex.replace(~r/\$\{(\w+)(?::\?[^}]*)?\}/, to_string(text), fn all, name ->
      variables[name] || raise "#{all} has no value"
    end)
  end

  defp image_env do
    [_build, last] = String.split(File.read!("ops/Dockerfile"), ~r/^(?=FROM scratch$)/m)
    [_all, text] = Regex.run(~r/^ENV ((?:.*\\\n)*.*)$/m, last)
    for [name, value] <- Regex.scan(~r/(\w+)=(\S+)/, text, capture: :all_but_first), into: %{}, do: {name, value}
  end

  test "the files are such that the Compose specification allows" do
    Built.run!(Built.validator("check-jsonschema"), ["--builtin-schema", "vendor.compose-spec", @file_name, @tls])

    # The check finds what is wrong.
    wrong = Path.join(tmp_folder!(), "compose.yaml")
    File.write!(wrong, String.replace(File.read!(@file_name), "stop_grace_period:", "stop_grace_periods:"))

    assert {output, 1} =
             System.cmd(Built.validator("check-jsonschema"), ["--builtin-schema", "vendor.compose-spec", wrong])

    assert output =~ "stop_grace_periods"
  end

  test "no node starts without secrets, none is in the file, and each has the image of this version and time to stop",
       %{compose: compose} do
    for {name, service} <- compose["services"],
        {_variable, value} <- service["environment"],
        value = to_string(value),
        value =~ "${" do
      assert_raise(RuntimeError, fn -> interpolate(value, %{}) end)
      refute interpolate(value, @secrets) =~ "$", "#{name}: #{value}"
    end

    for name <- @nodes, service = compose["services"][name] do
      assert service["image"] == "tidepool:#{Mix.Project.config()[:version]}"
      assert service["environment"]["TIDEPOOL_TOKEN"] =~ ":?"
      assert {seconds, "s"} = Integer.parse(service["stop_grace_period"])
      assert seconds * 1_000 >= stop_ms()
      assert service["read_only"] and image_env()["RELEASE_TMP"] in service["tmpfs"]
      assert Enum.any?(service["volumes"], &String.ends_with?(&1, ":" <> image_env()["TIDEPOOL_DATA"]))
      assert [published] = service["ports"]
      assert [_all, _port, port] = Regex.run(~r/^127\.0\.0\.1:(\d+):(\d+)$/, published)
      assert String.to_integer(port) == Tidepool.Config.Schema.settings()[:port][:default]
    end
  end

  # A drain, and the handover of actors, as a node's supervisor counts it.
  defp stop_ms,
    do:
      Tidepool.Config.Schema.settings()[:drain][:default] +
        Tidepool.Actor.Ownership.LeaseHolder.child_spec(nil).shutdown

  test "nothing of the machine is mounted without TLS, and no folder is made in it for want of certificates",
       %{compose: compose, tls: tls} do
    for {name, service} <- compose["services"],
        volume <- service["volumes"] do
      assert [volume, "/" <> _path] = String.split(volume, ":")
      assert Map.has_key?(compose["volumes"], volume), "#{name}: #{volume}"
    end

    assert Enum.sort(Map.keys(tls["services"])) == @nodes

    for {_name, service} <- tls["services"],
        do:
          assert(
            [%{"type" => "bind", "read_only" => true, "bind" => %{"create_host_path" => false}}] = service["volumes"]
          )
  end

  test "three nodes find each other over TLS: what is deployed to one all answer, and a killed one takes no function and no actor with it",
       %{compose: compose, tls: tls} do
    release = Built.release_of_module!("compose")
    certificates = tmp_folder!()
    names = for name <- @nodes, do: compose["services"][name]["environment"]["RELEASE_NODE"]
    Built.run!("mix", ["tidepool.certs", "--out", certificates | names], env: [{"MIX_ENV", "dev"}])
    addresses = for {name, last} <- Enum.zip(@nodes, 2..4), into: %{}, do: {name, {127, 0, 0, last}}
    text = fn name -> addresses[name] |> Tuple.to_list() |> Enum.join(".") end

    # In place of the network's names, and of a name server for nodes in each container.
    hosts =
      for name <- @nodes, alias_name <- compose["services"][name]["networks"]["default"]["aliases"] do
        ~s({host, #{inspect(addresses[name])}, ["#{alias_name}"]}.\n)
      end

    inetrc = Path.join(tmp_folder!(), "inetrc")
    File.write!(inetrc, ["{lookup, [file, native]}.\n" | hosts])
    names_port = "#{Tidepool.FreePort.take()}"

    here = [
      {"ERL_INETRC", inetrc},
      {"ERL_EPMD_PORT", names_port},
      {"ERL_EPMD_ADDRESS", Enum.map_join(@nodes, ",", text)},
      {"PORT", "0"},
      {"TIDEPOOL_ADDRESS", "127.0.0.1"}
    ]

    on_exit(fn -> Built.end_name_server!(names_port) end)

    start! = fn name ->
      # Compose has maps of later files add to those of earlier ones.
      environment = Map.merge(compose["services"][name]["environment"], tls["services"][name]["environment"])
      given = for {variable, value} <- environment, into: %{}, do: {variable, interpolate(value, @secrets)}
      [%{"source" => "./certs/" <> folder, "target" => inside}] = tls["services"][name]["volumes"]
      assert given["TIDEPOOL_CERTS"] == inside
      assert given["TIDEPOOL_ACTORS"] == "replicated:" <> Enum.join(names, ",")

      mapped = %{
        "TIDEPOOL_CERTS" => Path.join(certificates, folder),
        "TIDEPOOL_CLUSTER_ADDRESS" => text.(name),
        "TIDEPOOL_DATA" => tmp_folder!(),
        "RELEASE_TMP" => tmp_folder!(),
        "ERL_CRASH_DUMP" => Path.join(tmp_folder!(), "dump"),
        "PATH" => System.get_env("PATH")
      }

      env = image_env() |> Map.merge(given) |> Map.merge(mapped) |> Map.to_list()
      program = Foreground.start!(Path.join(release, "bin/tidepool"), ["start"], env ++ here)
      {name, program}
    end

    programs = Enum.map(@nodes, start!)

    urls =
      for {name, program} <- programs, into: %{} do
        [_line, url] = Regex.run(~r/listens on (\S+)/, Foreground.await_output!(program, ~r/listens on \S+\n/))
        {name, url}
      end

    eventually(
      fn ->
        for {_name, url} <- urls do
          assert {200, _headers, %{"nodes" => [_one, _two, _three]}} = curl_url("#{url}/cluster")
        end
      end,
      60_000
    )

    # As the health check asks, by the tool that the image has.
    for name <- @nodes do
      ["CMD" | check] = compose["services"][name]["healthcheck"]["test"]
      check = Enum.map(check, &String.replace(&1, "http://127.0.0.1:4000", urls[name]))
      assert {_output, 0} = System.cmd("busybox", check)
    end

    token = ["-H", "authorization: Bearer t0ken"]
    wasm = guest("rust", "hello_world")
    assert {401, _headers, _error} = curl_deploy_url("#{urls["n1"]}/deploy", wasm, name: "f")

    assert {201, _headers, %{"pending" => []}} =
             curl_deploy_url("#{urls["n1"]}/deploy?wait=all", wasm, [name: "f"], token)

    for {_name, url} <- urls,
        do: assert({200, _headers, "Hello, Ada!"} = curl_url("#{url}/call/f/hello", ["-d", "Ada"]))

    assert {201, _headers, %{"pending" => []}} =
             curl_deploy_url(
               "#{urls["n2"]}/deploy?wait=all",
               guest("rust", "counter"),
               [name: "count", actor: "true"],
               token
             )

    next = fn name, actor -> curl_url("#{urls[name]}/actors/count/#{actor}/next", ["-X", "POST"] ++ token) end
    actors = for number <- 1..12, do: "actor#{number}"
    # A node that has just come asks the others before it takes a lease.
    for name <- @nodes, do: eventually(fn -> match?({200, _headers, _count}, next.(name, "first")) end, 60_000)

    for actor <- actors,
        {name, count} <- Enum.zip(@nodes, ["1", "2", "3"]),
        do: assert({200, _headers, ^count} = next.(name, actor))

    {"n2", killed} = Enum.at(programs, 1)
    Foreground.signal(killed, "KILL")
    Foreground.await_exit!(killed)

    for name <- ["n1", "n3"],
        do: assert({200, _headers, "Hello, Ada!"} = curl_url("#{urls[name]}/call/f/hello", ["-d", "Ada"]))

    # Some of them were on that node. A call that it had when it was killed would have an unknown outcome; these come later.
    for actor <- actors, do: eventually(fn -> match?({200, _headers, "4"}, next.("n1", actor)) end, 60_000)

    began = System.monotonic_time(:millisecond)

    for {name, program} <- programs, name != "n2" do
      Foreground.signal(program, "TERM")
      assert {0, _output} = Foreground.await_exit!(program)
    end

    assert System.monotonic_time(:millisecond) - began < 2 * stop_ms()
  end
end
