defmodule Tidepool.Fault.ComponentLoadTest do
  # Not async: keeps all cores busy, and counts what the node has.
  #
  # What components keep a node busy with: beside each of them, others are answered. How long they hold a thread of their own is
  # measured where that is one: `components` of the core's tests.
  use Tidepool.Case

  alias Tidepool.{Abis, Answered, Error, FaultFootprint}

  @patient [time: 600_000, cpu_time: 600_000]
  # As many at once as there are schedulers, and some more.
  @at_once System.schedulers_online() + 2

  setup do
    {:ok, before: FaultFootprint.settled()}
  end

  defp again(fun), do: fn -> Enum.each(Stream.repeatedly(fun), fn _ -> :ok end) end

  defp busy!(options \\ []), do: deploy!("component", "busy", [limits: @patient] ++ options)

  for abi <- [:typed, :http, :command] do
    test "a component of #{abi} without loops", %{before: before} do
      name = unique_name("straight")
      {:ok, _function} = Tidepool.deploy(Abis.guest(unquote(abi)), name: name, limits: @patient)
      on_exit(fn -> remove!(name) end)
      Answered.beside(List.duplicate(again(fn -> Abis.run(unquote(abi), name, ?s) end), @at_once))
      FaultFootprint.assert_instances_back(before)
    end
  end

  test "two composed ones that copy bytes, and texts, between their memories without end", %{before: before} do
    name = busy!()

    for export <- [:bytes, :texts] do
      Answered.beside(List.duplicate(fn -> Tidepool.call(name, export, []) end, @at_once))
      FaultFootprint.assert_instances_back(before)
    end
  end

  test "bytes that are passed in a circle", %{before: before} do
    name = busy!()
    {:ok, %{limits: limits}} = Tidepool.fetch(name)
    # All that may pass, beside what says so.
    size = min(limits.payload, limits.reply) - 1_024
    bytes = :binary.copy(<<7>>, size)
    echo = fn -> Tidepool.call(name, :echo, [bytes]) end
    assert {:ok, ^bytes} = echo.()

    circle = fn ->
      case echo.() do
        {:ok, <<_bytes::binary-size(size)>>} -> :ok
        # The memory of those before is given back by a thread, which on a busy machine is behind.
        {:error, %Error{reason: :overloaded}} -> :ok
      end
    end

    Answered.beside(List.duplicate(again(circle), @at_once))
    FaultFootprint.assert_instances_back(before)
  end

  test "a million handles of resources, which trap at their bound", %{before: before} do
    name = busy!()
    assert {:ok, nil} = Tidepool.call(name, :handles, [30_000])
    assert {:error, %Error{reason: {:trap, _kind}}} = Tidepool.call(name, :handles, [1_000_000])
    Answered.beside(List.duplicate(again(fn -> Tidepool.call(name, :handles, [1_000_000]) end), @at_once))
    FaultFootprint.assert_instances_back(before)
  end

  test "JSON of 10,000 levels is refused, and says so", %{before: before} do
    name = busy!()
    json = "[" <> String.duplicate("[", 10_000) <> "1" <> String.duplicate("]", 10_000) <> "]"
    path = Path.join(tmp_folder!(), "deep.json")
    File.write!(path, json)

    assert {400, _headers, %{"error" => %{"reason" => "invalid_arguments", "message" => message}}} =
             curl("/call/#{name}/echo", ["--data-binary", "@#{path}"])

    assert message =~ "nested deeper than 64 levels"

    Answered.beside(
      List.duplicate(again(fn -> post(name, "echo", json) end), @at_once) ++ [fn -> Tidepool.call(name, :bytes, []) end]
    )

    FaultFootprint.assert_instances_back(before)
  end

  defp post(name, export, body) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, TidepoolWeb.Listener.port(), [:binary, active: false])
    head = "POST /call/#{name}/#{export} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    :ok = :gen_tcp.send(socket, [head, "content-length: #{byte_size(body)}\r\n\r\n", body])
    {:ok, _answer} = :gen_tcp.recv(socket, 0, 30_000)
    :gen_tcp.close(socket)
  end

  test "an upload whose inner module is damaged is refused, wherever that is", %{before: before} do
    wasm = guest("component", "busy")
    name = unique_name("damaged")

    damaged = fn ->
      # Behind the header of the component, and its first module's.
      at = 40 + :rand.uniform(byte_size(wasm) - 41)
      <<head::binary-size(at), byte, rest::binary>> = wasm
      Tidepool.deploy(<<head::binary, Bitwise.bxor(byte, :rand.uniform(255)), rest::binary>>, name: name)
    end

    on_exit(fn -> Tidepool.remove(name) end)
    outcomes = for _upload <- 1..sample(20, 100), do: damaged.()
    refused = for {:error, %Error{reason: reason}} <- outcomes, uniq: true, do: reason
    assert :invalid_module in refused
    refute :internal in refused
    endless = busy!()
    Answered.beside([again(damaged), again(damaged), fn -> Tidepool.call(endless, :bytes, []) end])
    Tidepool.remove(name)
    FaultFootprint.assert_instances_back(before)
  end

  test "clients that never read what a handler streams", %{before: before} do
    name = deploy!("c", "http", limits: @patient)

    # A socket that ends with its owner, whatever it has yet to send.
    asked = fn ->
      {:ok, socket} = :socket.open(:inet, :stream, :tcp)
      :ok = :socket.setopt(socket, {:socket, :rcvbuf}, 4_096)
      :ok = :socket.connect(socket, %{family: :inet, addr: {127, 0, 0, 1}, port: TidepoolWeb.Listener.port()})
      head = "POST /call/#{name}/echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
      :ok = :socket.send(socket, head)
      body = :binary.copy("x", 65_536)
      # The guest echoes: what nobody reads keeps it from reading, and this from sending.
      again(fn -> :ok = :socket.send(socket, ["10000\r\n", body, "\r\n"]) end).()
    end

    Answered.beside(List.duplicate(asked, @at_once))
    FaultFootprint.assert_instances_back(before)
  end

  test "deployed and removed again and again, a component leaves nothing",
    do:
      assert_nothing_left(
        guest("component", "busy"),
        &({:ok, "a"} = Tidepool.call(&1, :echo, ["a"])),
        sample(100, 1_000)
      )

  test "deployed and removed again and again, a handler of HTTP leaves nothing",
    do: assert_nothing_left(Abis.guest(:http), &({:ok, 1} = Abis.run(:http, &1, ?a)), sample(50, 1_000))

  defp assert_nothing_left(wasm, call, some) do
    deploy = fn number ->
      name = unique_name("again")
      # Another module each time, of which nothing is kept.
      {:ok, _function} = Tidepool.deploy(Tidepool.TestModule.variant(wasm, "#{number}"), name: name)
      call.(name)
      :ok = Tidepool.remove(name)
    end

    Enum.each(1..some, deploy)
    before = held()
    Enum.each((some + 1)..(2 * some), deploy)
    eventually(fn -> for {what, most} <- before, do: assert({what, held()[what]} <= {what, most * 1.05}) end, 60_000)
  end

  defp held do
    %{live: instances} = FaultFootprint.settled()
    descriptors = length(File.ls!("/proc/self/fd"))
    threads = length(File.ls!("/proc/self/task"))

    [
      rss: FaultFootprint.resident_bytes(),
      descriptors: descriptors,
      threads: threads,
      processes: length(Process.list()),
      instances: instances
    ]
  end
end
