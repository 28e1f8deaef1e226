defmodule Tidepool.Oci.AddressTest do
  use ExUnit.Case, async: true

  alias Tidepool.Namespaces.Turns
  alias Tidepool.Oci.Address

  doctest Address
  doctest Tidepool.Oci.Challenge

  test "a namespace looks up one name at a time, whether or not anybody waits, and others look up theirs meanwhile" do
    [slow, other] = for name <- ["slow", "other"], do: "#{name}_#{System.unique_integer([:positive])}/function"
    test = self()

    # As long as a name takes whose servers say nothing.
    look_up = fn ->
      send(test, {:looks_up, self()})
      receive do: (:answered -> [])
    end

    client = spawn(fn -> Turns.run(:names, slow, :infinity, look_up) end)
    assert_receive {:looks_up, lookup}, 20_000
    Process.exit(client, :kill)
    assert Address.find("localhost", :loopback, slow, 50) == []
    assert Address.find("127.0.0.1", :loopback, slow, 50) == [{127, 0, 0, 1}]
    assert {127, 0, 0, 1} in Address.find("localhost", :loopback, other, 60_000)
    send(lookup, :answered)
    assert {127, 0, 0, 1} in Address.find("localhost", :loopback, slow, 60_000)
  end

  test "no network of a machine, a site or nobody is public, at its first address and at its last" do
    networks = """
    0.0.0.0-0.255.255.255 10.0.0.0-10.255.255.255 100.64.0.0-100.127.255.255 127.0.0.0-127.255.255.255
    169.254.0.0-169.254.255.255 172.16.0.0-172.31.255.255 192.0.0.0-192.0.0.255 192.0.2.0-192.0.2.255
    192.88.99.0-192.88.99.255 192.168.0.0-192.168.255.255 198.18.0.0-198.19.255.255 198.51.100.0-198.51.100.255
    203.0.113.0-203.0.113.255 224.0.0.0-255.255.255.255 ::-1fff:: 2001::-2001:1ff:: 2001:db8::-2001:db8:ffff:: 3fff::-3fff:fff::
    4000::-ffff:: fc00::-fdff:: fe80::-febf:: ff00::-ff02::1 ::ffff:10.0.0.1-::ffff:127.0.0.1 64:ff9b::7f00:1-64:ff9b::a00:1
    2002:7f00:1::-2002:a00:1::
    """

    for network <- String.split(networks), text <- String.split(network, "-") do
      {:ok, address} = :inet.parse_address(to_charlist(text))
      refute Address.within?(address, :public), text
    end

    for text <-
          ~w(1.0.0.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0
          172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2001:200:: 2001:db7::
          2606:4700::1111 3ffe:: ::ffff:1.1.1.1 64:ff9b::101:101 2002:101:101::) do
      {:ok, address} = :inet.parse_address(to_charlist(text))
      assert Address.within?(address, :public), text
    end
  end
end
