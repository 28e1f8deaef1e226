defmodule Tidepool.LargeMessageTest do
  # Not async: watches the node's binaries.
  use Tidepool.Case

  alias Tidepool.TestModule

  @mib 1024 * 1024
  # Some tens of milliseconds: hundreds of slices.
  @rounds 20_000_000

  # A guest that fetches its payload long after its call has begun, and `meanwhile` before it.
  defp late_echo!(meanwhile, rounds \\ 1) do
    name = unique_name("late")
    handle!({name, name, name}, fn _call -> {:ok, meanwhile.()} end)
    deploy_bytes!(TestModule.late_echo(name, rounds, 48), limits: [time: 60_000, cpu_time: 30_000])
  end

  # Lets go of what the calling process does not refer to any more, and writes over it.
  defp churn do
    :erlang.garbage_collect()
    for byte <- 1..20, do: send(self(), :binary.copy(<<byte>>, @mib + byte))
    for _byte <- 1..20, do: receive(do: (binary when is_binary(binary) -> :ok))
    :erlang.garbage_collect()
    ""
  end

  test "a payload stays what it was when its caller has no reference to it any more" do
    for rounds <- [1, @rounds] do
      name = late_echo!(&churn/0, rounds)
      {:ok, reply} = Tidepool.call(name, nil, :binary.copy("payload!", div(@mib, 8)))
      assert reply == :binary.copy("payload!", div(@mib, 8))
    end
  end

  test "a part of a binary is passed as that part, wherever it begins, with whole bytes and without" do
    name = late_echo!(&churn/0)
    whole = :crypto.strong_rand_bytes(@mib)

    for {skipped, size} <- [{1, 65_536}, {4_095, 16_384}, {100_000, 900_000}, {@mib - 40_000, 40_000}] do
      assert Tidepool.call(name, nil, binary_part(whole, skipped, size)) == {:ok, binary_part(whole, skipped, size)}
      # Such a part begins in the middle of a byte.
      <<_bits::size(3), shifted::binary-size(size), _rest::bitstring>> = whole
      assert Tidepool.call(name, nil, shifted) == {:ok, :binary.copy(shifted)}
    end
  end

  test "what is appended to a payload while its call goes on does not get to the guest" do
    test = self()

    append = fn ->
      payload = Process.get(:payload)
      longer = Enum.reduce(1..1_000, payload, fn _turn, longer -> <<longer::binary, "more of it">> end)
      send(test, {:longer, longer})
      churn()
    end

    name = late_echo!(append)
    # Appended to from the beginning, so that it has room for more.
    payload = Enum.reduce(1..20_000, <<>>, fn turn, payload -> <<payload::binary, turn::64>> end)
    expected = for turn <- 1..20_000, into: <<>>, do: <<turn::64>>
    Process.put(:payload, payload)
    assert Tidepool.call(name, nil, payload) == {:ok, expected}
    assert_received {:longer, longer}
    assert longer == expected <> :binary.copy("more of it", 1_000)
    # Nor does one that is begun once more.
    assert Tidepool.call(name, nil, <<payload::binary, "end">>) == {:ok, expected <> "end"}
  end

  test "calls that have the same binary each get all of it, and give it back" do
    names = for rounds <- [1, @rounds], do: late_echo!(&churn/0, rounds)
    payload = :crypto.strong_rand_bytes(@mib)

    for name <- names, _caller <- 1..4 do
      Task.async(fn -> Tidepool.call(name, nil, payload) end)
    end
    |> Task.await_many(60_000)
    |> Enum.each(&assert(&1 == {:ok, payload}))
  end

  test "what a handler answers stays what it was, too" do
    name = deploy!("rust", "hello_world")
    target = {"host", unique_name("answers"), "op"}
    handle!(target, fn call -> {:ok, binary_part(:binary.copy(call.payload, 9), 1, 8 * byte_size(call.payload))} end)

    for size <- [1_000, 10_000, 100_000, 200_000] do
      <<first, rest::binary>> = payload = :crypto.strong_rand_bytes(size)
      {:ok, reply} = Tidepool.call(name, "host", Enum.join(Tuple.to_list(target), "/") <> "\n" <> payload)
      assert reply == :binary.copy(<<rest::binary, first>>, 8)
    end
  end

  test "a caller that is killed leaves nothing of its payload behind" do
    test = self()

    name =
      late_echo!(fn ->
        send(test, {:parked, self()})
        receive do: (:never -> "")
      end)

    binaries = fn ->
      :erlang.garbage_collect()
      :erlang.memory(:binary)
    end

    before = binaries.()

    for _caller <- 1..20 do
      {caller, monitor} = spawn_monitor(fn -> Tidepool.call(name, nil, :binary.copy("payload!", div(2 * @mib, 8))) end)

      assert_receive {:parked, ^caller}
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}
    end

    # Twenty that stayed would be 40 MiB.
    eventually(fn -> binaries.() < before + 10 * @mib end, 20_000)
  end

  test "a message shows nothing of another that was in its memory before" do
    name = deploy!("c", "hello_world", instances: {:warm, 2})

    for size <- [@mib, 1_000_000, 950_000, 70_000, 60_000, 20_000, 65_536, @mib, 17_000] do
      payload = :crypto.strong_rand_bytes(size)
      replies = for _turn <- 1..3, do: Tidepool.call(name, "echo", payload)
      assert Enum.uniq(replies) == [{:ok, payload}]
      # Kept by this process, so that the next one gets other memory, or let go.
      if rem(size, 2) == 0, do: Process.put(size, replies)
    end
  end

  test "bodies of all sizes arrive whole, with a length and in chunks, one after the other on a connection" do
    name = deploy!("c", "hello_world", instances: {:warm, 2}, operation: "echo")
    folder = tmp_folder!()

    bodies =
      for {size, number} <- Enum.with_index([@mib, 3 * @mib + 1, 70_000, 16_384, 131_072, 900_001, 1]) do
        path = Path.join(folder, "#{number}")
        File.write!(path, :crypto.strong_rand_bytes(size))
        path
      end

    request = fn path, options ->
      options ++ ["-sS", "--max-time", "30", "--data-binary", "@#{path}", "-o", path <> ".reply", url("/call/#{name}")]
    end

    whole? = fn -> Enum.all?(bodies, &(File.read!(&1 <> ".reply") == File.read!(&1))) end

    for options <- [[], ["-H", "Transfer-Encoding: chunked"]] do
      requests = bodies |> Enum.map(&request.(&1, options)) |> Enum.intersperse(["--next"])
      assert {"", 0} = System.cmd("curl", List.flatten(requests))
      assert whole?.()
    end

    for path <- bodies, do: assert({"", 0} = System.cmd("curl", request.(path, ["--http2-prior-knowledge"])))
    assert whole?.()
  end
end
