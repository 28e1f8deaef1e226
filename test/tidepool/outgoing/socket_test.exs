defmodule Tidepool.Outgoing.SocketTest do
  # Not async: names are the VM's to find, and so is whom it trusts.
  #
  # Connections to servers of others: by which of their addresses, for how long they are tried, and whose they have to be.
  use Tidepool.Case

  import Tidepool.Certificates

  alias Tidepool.Outgoing.Socket

  @options [:binary, active: false]
  @ipv6 match?({:ok, _socket}, :gen_tcp.listen(0, [:inet6, ip: {0, 0, 0, 0, 0, 0, 0, 1}]))

  defp listen!(options) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, reuseaddr: true] ++ options)
    {:ok, port} = :inet.port(listener)
    {listener, port}
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp connect(host, port, tls? \\ false, ms \\ 60_000), do: Socket.connect(host, port, tls?, @options, now() + ms)

  # That a byte comes from one to the other.
  defp assert_connected({:ok, {:gen_tcp, socket}}, listener) do
    {:ok, other} = :gen_tcp.accept(listener, 10_000)
    :ok = :gen_tcp.send(socket, "tide")
    assert :gen_tcp.recv(other, 4, 10_000) == {:ok, "tide"}
  end

  # For the test, the VM looks into its own table of names first.
  defp name!(name, addresses) do
    before = :inet_db.res_option(:lookup)
    :ok = :inet_db.set_lookup([:file, :native])
    for address <- addresses, do: :ok = :inet_db.add_host(address, [to_charlist(name)])

    on_exit(fn ->
      :inet_db.set_lookup(before)
      for address <- addresses, do: :inet_db.del_host(address)
    end)
  end

  test "an address of IPv4 is connected to, and so is a name that has one" do
    {listener, port} = listen!(ip: {127, 0, 0, 1})
    for host <- ["127.0.0.1", "localhost"], do: assert_connected(connect(host, port), listener)
    :gen_tcp.close(listener)
    for host <- ["127.0.0.1", "localhost"], do: assert(connect(host, port) == {:error, :econnrefused})
    assert {:error, _no_such_name} = connect("no-such-name.invalid", port)
  end

  unless @ipv6, do: @tag(skip: "this machine has no IPv6")

  test "an address of IPv6 is connected to, and so is a name that has no other, or another that refuses" do
    {listener, port} = listen!([:inet6, ip: {0, 0, 0, 0, 0, 0, 0, 1}, ipv6_v6only: true])
    name!("six.example", [{0, 0, 0, 0, 0, 0, 0, 1}])
    name!("both.example", [{127, 0, 0, 1}])
    :ok = :inet_db.add_host({0, 0, 0, 0, 0, 0, 0, 1}, [~c"six.example", ~c"both.example"])
    for host <- ["::1", "six.example", "both.example"], do: assert_connected(connect(host, port), listener)
    :gen_tcp.close(listener)
    # What is told is why the first has failed.
    for host <- ["::1", "both.example"], do: assert(connect(host, port) == {:error, :econnrefused})
  end

  test "a server that takes no connection is tried until its time is over, and no longer" do
    # Its queue of connections is full: what comes then is dropped.
    {listener, port} = listen!(ip: {127, 0, 0, 1}, backlog: 0)
    filled = fill(port, [], 3)
    assert filled != []

    for ms <- [300, -1_000], host <- ["127.0.0.1", "localhost"] do
      assert connect(host, port, false, ms) == {:error, :timeout}
    end

    assert is_port(listener)
  end

  # One that takes long on a busy machine says nothing yet; so many in a row do.
  defp fill(_port, filled, 0), do: filled

  defp fill(port, filled, left) do
    case :gen_tcp.connect({127, 0, 0, 1}, port, [active: false], 300) do
      {:ok, socket} -> fill(port, [socket | filled], 3)
      {:error, :timeout} -> fill(port, filled, left - 1)
    end
  end

  describe "by TLS" do
    setup do
      {server, client} = certificates()
      {:ok, listener} = :ssl.listen(0, server ++ @options ++ [ip: {127, 0, 0, 1}, reuseaddr: true])
      {:ok, {_address, port}} = :ssl.sockname(listener)
      on_exit(fn -> :public_key.cacerts_clear() end)
      %{listener: listener, port: port, authority: client[:cacerts]}
    end

    defp trust!(certificates) do
      path = Path.join(tmp_folder!(), "authorities.pem")
      File.write!(path, Enum.map(certificates, &pem(:Certificate, &1)))
      :ok = :public_key.cacerts_load(to_charlist(path))
    end

    # Shakes hands once, with whoever comes.
    defp serve(listener) do
      spawn_link(fn ->
        {:ok, socket} = :ssl.transport_accept(listener)

        with {:ok, socket} <- :ssl.handshake(socket, 10_000), {:ok, bytes} <- :ssl.recv(socket, 4, 10_000) do
          :ssl.send(socket, bytes)
        end
      end)
    end

    test "a server is connected to whose certificate is of its name, and of an authority that is trusted", context do
      trust!(context.authority)
      serve(context.listener)
      assert {:ok, {:ssl, socket}} = connect("localhost", context.port, true)
      :ok = :ssl.send(socket, "tide")
      assert :ssl.recv(socket, 4, 10_000) == {:ok, "tide"}
    end

    test "a server is refused whose certificate is of another authority, or of another name", context do
      {_server, stranger} = certificates()

      for {host, trusted, why} <- [
            {"localhost", stranger[:cacerts], :unknown_ca},
            {"127.0.0.1", context.authority, :handshake_failure}
          ] do
        trust!(trusted)
        serve(context.listener)
        assert {:error, {:tls_alert, {^why, _text}}} = connect(host, context.port, true)
      end
    end
  end
end
