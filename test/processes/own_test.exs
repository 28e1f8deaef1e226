defmodule Tidepool.Processes.OwnTest do
  # What processes have beside Lunatic's interface, by the crate `tidepool`: one wait for many sockets, and upgrades.
  use Tidepool.Case, async: true

  import Tidepool.ProgramClient

  alias Tidepool.Error
  alias Tidepool.Process, as: Guest

  @moduletag :lunatic
  @patience 60_000
  @hub ["tcp:listen:127.0.0.1:*", "udp:*:*"]
  @phoenix ["tcp:listen:127.0.0.1:*"]

  test "one process serves many UDP sockets, many clients and its mailbox at once, none waiting for another" do
    count = 20
    name = deploy!("lunatic", "hub", net: @hub)
    program = start!(name, args: [name, "#{count}"])
    port = port!()

    udp =
      for _socket <- 1..count do
        [_line, port] = line!(~r/^datagrams to \S+:(\d+)/)
        String.to_integer(port)
      end

    {:ok, me} = Guest.introduce(program, self())
    # There is room for all answers, in case none is taken meanwhile.
    {:ok, own} = :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}, recbuf: 200_000])
    clients = for _client <- 1..10, do: connect!(port)

    for round <- 1..5 do
      # All of them say something before any of them is heard.
      for {port, number} <- Enum.with_index(udp),
          do: :ok = :gen_udp.send(own, {127, 0, 0, 1}, port, "u#{number} #{round}")

      for {client, number} <- Enum.with_index(clients), do: say!(client, "c#{number} #{round}")
      send(program, {:tidepool, 0, <<me::little-64>> <> "message #{round}"})

      heard = for _socket <- udp, do: own |> :gen_udp.recv(0, @patience) |> elem(1) |> elem(2)
      assert Enum.sort(heard) == Enum.sort(for number <- 0..(count - 1), do: "U#{number} #{round}")
      for {client, number} <- Enum.with_index(clients), do: assert(hear!(client) == "C#{number} #{round}")
      answer = "MESSAGE #{round}"
      assert_receive {:tidepool, ^program, 0, ^answer}, @patience
    end

    # One that hangs up is left out, and no other.
    :ok = :gen_tcp.close(hd(clients))
    assert ask!(List.last(clients), "still here") == "STILL HERE"
    assert length(for info <- Guest.list(), info.function == name, do: info) == 1
  end

  defp upgrade(id), do: curl("/processes/#{id}/upgrade", ["-X", "POST"])
  defp id(program), do: with(%{program: number, id: id} <- Guest.info(program), do: "#{number}.#{id}")

  test "POST asks a program to upgrade, and it goes on as the newest version, its clients connected" do
    name = deploy!("lunatic", "phoenix", net: @phoenix)
    program = start!(name, args: [name])
    port = port!()
    [first, second] = for _client <- 1..2, do: connect!(port)
    assert ask!(first, "one") == "1 lines, 0 upgrades"
    assert ask!(second, "two") == "2 lines, 0 upgrades"
    id = id(program)
    assert {409, _headers, %{"error" => %{"reason" => "up_to_date"}}} = upgrade(id)

    assert {:ok, %{version: 2}} = deploy_again(name)
    assert ask!(first, "three") == "3 lines, 0 upgrades"
    assert {202, _headers, %{"asked" => ^id, "from" => 1, "to" => 2}} = upgrade(id)
    line!(~r/^asked to become version Some\(2\)/)
    assert port!() == port

    assert ask!(first, "four") == "4 lines, 1 upgrades"
    assert ask!(second, "five") == "5 lines, 1 upgrades"
    assert ask!(connect!(port), "new") == "6 lines, 1 upgrades"
    assert {200, _headers, %{"id" => ^id, "version" => 2}} = curl("/processes/#{id}")
    assert %{version: 2, pid: ^program} = Guest.info(program)
    assert {:error, %Error{reason: :up_to_date}} = Guest.upgrade(program)

    # And once more.
    assert {:ok, %{version: 3}} = deploy_again(name)
    assert Guest.upgrade(program) == {:ok, 3}
    line!(~r/^asked to become version Some\(3\)/)
    assert port!() == port
    assert ask!(first, "seven") == "7 lines, 2 upgrades"
  end

  # The same module with other limits is another version.
  defp deploy_again(name) do
    {:ok, %{version: version}} = Tidepool.fetch(name)
    Tidepool.deploy(guest("lunatic", "phoenix"), name: name, net: @phoenix, limits: [queue: 100 + version])
  end

  test "what takes no upgrade is left alone, and the answer says why" do
    name = deploy!("lunatic", "phoenix", net: @phoenix)
    refusing = start!(name, args: [name, "refuse"])
    port!()
    assert {:ok, %{version: 2}} = deploy_again(name)
    assert {409, _headers, %{"error" => %{"reason" => "not_upgradable"}}} = upgrade(id(refusing))
    assert {404, _headers, %{"error" => %{"reason" => "unknown_process"}}} = upgrade("0.1")
    assert {:error, %Error{reason: :unknown_process}} = Guest.upgrade(self())

    taking = start!(name, args: [name])
    port!()
    :ok = Tidepool.remove(name)
    assert {404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = upgrade(id(taking))
    # A waPC function in its place.
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
    assert {409, _headers, %{"error" => %{"reason" => "not_upgradable"}}} = upgrade(id(taking))
    assert %{version: 2} = Guest.info(taking)
  end

  test "an address is listened on anew as soon as its listener was killed" do
    name = deploy!("lunatic", "first", net: ["tcp:listen:127.0.0.1:*"])
    program = start!(name, args: [name], env: %{"LISTEN" => "127.0.0.1:0"})
    port = port!()

    Enum.reduce(1..20, program, fn _time, program ->
      Process.exit(program, :kill)
      next = start!(name, args: [name], env: %{"LISTEN" => "127.0.0.1:#{port}"})
      assert port!() == port
      next
    end)
  end

  test "the imports of the module `tidepool` are those that docs/processes.md lists" do
    sources = Path.wildcard("native/tidepool_core/src/abi/lunatic/**/*.rs")
    linked = for file <- sources, [name] <- scan(~r/OWN,\s*"(\w+)"/, File.read!(file)), do: name
    text = File.read!("docs/processes.md")
    [_before, section] = String.split(text, "## What Lunatic does not have", parts: 2)
    [section | _after] = String.split(section, "\n## ")
    documented = for [name] <- scan(~r/^\| `(\w+)\(/m, section), do: name
    assert Enum.sort(documented) == Enum.sort(linked)
  end

  defp scan(pattern, text), do: Regex.scan(pattern, text, capture: :all_but_first)
end
