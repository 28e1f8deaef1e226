for file <- ["foreground.exs", "built.exs"], do: Code.require_file(file, __DIR__)

defmodule Tidepool.Ship.ClusterTest do
  # Nodes as a user starts them by hand: found by epmd, with data folders of their own in the same place.
  use Tidepool.Case, async: false

  alias Tidepool.{Built, Foreground, FreePort, Peer}

  @moduletag :ship

  setup do
    # A cookie and a name server of their own, as there may be other nodes on this machine.
    names_port = "#{FreePort.take()}"
    on_exit(fn -> Built.end_name_server!(names_port) end)
    env = [{"TIDEPOOL_DATA", tmp_folder!()}, {"PORT", "0"}, {"ERL_AFLAGS", "-setcookie #{Peer.cookie()}"}]
    %{env: [{"ERL_EPMD_PORT", names_port} | env]}
  end

  defp start!(name, env), do: Foreground.start!("iex", ["--name", to_string(name), "-S", "mix", "phx.server"], env)

  defp await_url!(program) do
    output = Foreground.await_output!(program, ~r/listens on \S+\n/)
    [_line, url] = Regex.run(~r/listens on (\S+)/, output)
    url
  end

  test "nodes started by hand find each other, and one that joins later gets all that is deployed", %{env: env} do
    [a, b, c] = for stem <- ["a", "b", "c"], do: Peer.name(stem)
    first = await_url!(start!(a, env))
    second = await_url!(start!(b, env))
    eventually(fn -> match?({200, _headers, %{"nodes" => [_a, _b]}}, curl_url("#{first}/cluster")) end, 60_000)

    {201, _headers, %{"pending" => [], "ready" => [_one, _other]}} =
      curl_deploy_url("#{first}/deploy?wait=all", guest("rust", "hello_world"), name: "hello_world")

    assert {200, _headers, "Hello, world!"} = curl_url("#{second}/call/hello_world")
    last = start!(c, env)
    third = await_url!(last)
    eventually(fn -> match?({200, _headers, "Hello, world!"}, curl_url("#{third}/call/hello_world")) end, 60_000)

    {output, 0} = System.cmd("mix", ["tidepool.cluster", "--url", third], env: [{"MIX_ENV", "dev"}])
    assert output =~ ~r/hello_world +1 +[0-9a-f]{12} +3\/3/
    for name <- [a, b, c], do: assert(output =~ to_string(name))

    tool =
      &System.cmd("mix", ["tidepool.cluster", "forget", &1, "--url", first],
        env: [{"MIX_ENV", "dev"}],
        stderr_to_stdout: true
      )

    assert {output, status} = tool.(to_string(c))
    assert status != 0 and output =~ "node_reachable"
    Foreground.signal_group(last, "KILL")
    lost = fn -> curl_url("#{first}/cluster") |> elem(2) |> Map.fetch!("lost") end
    eventually(fn -> lost.() == [to_string(c)] end, 60_000)
    assert {output, 0} = tool.(to_string(c))
    assert output =~ "#{c} is forgotten"
    eventually(fn -> lost.() == [] end, 60_000)
  end

  test "a second node without a name of its own says who holds the data folder", %{env: env} do
    program = Foreground.start!("mix", ["phx.server"], env)
    _url = await_url!(program)
    second = Foreground.start!("mix", ["phx.server"], env)
    assert {status, output} = Foreground.await_exit!(second)
    assert status != 0
    assert output =~ "nonode@nohost"
    assert output =~ "another node uses the data folder"
  end
end
