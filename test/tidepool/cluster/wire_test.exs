defmodule Tidepool.Cluster.WireTest do
  # Not async: atoms are counted.
  use ExUnit.Case

  import Tidepool.ClusterMessages
  import Tidepool.Property

  alias Tidepool.Catalog.Entry
  alias Tidepool.Cluster.Gossip.AntiEntropy
  alias Tidepool.Cluster.Wire
  alias Tidepool.Function.Spec
  alias Tidepool.Limits

  doctest Wire

  test "decoding inverts encoding, for all messages" do
    assert_holds(message(), &(Wire.decode(Wire.encode(&1)) == {:ok, &1}), 500)
  end

  test "entries with very much to say go in messages that others take, however many there are" do
    config = Map.new(1..63, &{"name #{&1}", String.duplicate("c", 3_800)})

    changes =
      for number <- 1..100 do
        entry = %Entry{
          name: "f#{number}",
          version: 1,
          sha256: String.duplicate("a", 64),
          size: 1,
          operation: "run",
          instances: :fresh,
          limits: Limits.complete(%{}),
          deployed_at: 1,
          admitted: :token,
          config: config,
          stamp: {number, 0, "n@host#1"}
        }

        {entry, nil}
      end

    messages = changes |> AntiEntropy.chunks(&{:push, &1}) |> Enum.map(&Wire.decode(Wire.encode(&1)))
    assert for({:ok, {:push, told}} <- messages, change <- told, do: change) == changes
    assert Enum.all?(messages, &match?({:ok, _message}, &1))
    assert [[1, 2, 3]] = AntiEntropy.chunks([1, 2, 3], & &1)
    assert [first, [257]] = AntiEntropy.chunks(Enum.to_list(1..257), & &1)
    assert length(first) == 256
    assert [] = AntiEntropy.chunks([], & &1)
  end

  test "any bytes are a message or an error, and become no atoms" do
    # Whatever is loaded on first use, is.
    assert_holds(message(), &match?({:ok, _message}, Wire.decode(Wire.encode(&1))))
    Wire.decode(<<Wire.version(), 1, 0, 0, 0, 1, 9>>)

    damaged =
      map(types().tuple([message(), types().integer(0, 100_000), types().integer(0, 255)]), fn {message, at, byte} ->
        bytes = Wire.encode(message)
        at = rem(at, byte_size(bytes))
        <<before::binary-size(at), _old, rest::binary>> = bytes
        <<before::binary, byte, rest::binary>>
      end)

    cut =
      map(types().tuple([message(), types().integer(0, 99)]), fn {message, percent} ->
        bytes = Wire.encode(message)
        binary_part(bytes, 0, div(byte_size(bytes) * percent, 100))
      end)

    random =
      map(types().tuple([types().integer(0, 24), types().binary()]), fn {kind, body} ->
        <<Wire.version(), kind, body::binary>>
      end)

    atoms = :erlang.system_info(:atom_count)

    assert_holds(
      types().union([damaged, cut, random, types().binary()]),
      fn bytes ->
        case Wire.decode(bytes) do
          # What is read is what would be written: nothing slipped through beside the message.
          {:ok, message} -> Wire.decode(Wire.encode(message)) == {:ok, message}
          {:error, {:version, version}} -> version not in 1..Wire.version()
          {:error, :malformed} -> true
        end
      end,
      2_000
    )

    # PropEr makes a few of its own, once.
    assert :erlang.system_info(:atom_count) - atoms < 50
  end

  test "what is out of range is malformed, field by field" do
    good = entry("f", {1, 1, "a@b#1"}, limits: Tidepool.Limits.complete(%{}))

    push = &Wire.decode(Wire.encode({:push, [{&1, nil}]}))
    assert push.(good) == {:ok, {:push, [{good, nil}]}}
    dense = %{good | engine: :dense, instances: {:warm, 1_000_000}}
    assert push.(dense) == {:ok, {:push, [{dense, nil}]}}

    for change <- [
          %{name: "a/b/c"},
          %{name: "../b"},
          %{name: ".."},
          %{name: String.duplicate("a", 129)},
          %{version: 0},
          %{operation: ""},
          %{operation: String.duplicate("a", 1_025)},
          %{operation: <<255>>},
          %{instances: {:warm, 1_000_001}},
          %{limits: %{good.limits | memory: 1}},
          %{limits: %{good.limits | depth: 10_001}},
          %{stamp: {1, 1, ""}},
          %{stamp: {1, 1, <<255>>}}
        ] do
      assert push.(Map.merge(good, change)) == {:error, :malformed}, inspect(change)
    end

    assert Wire.decode(Wire.encode({:forward_join, "no node", 1})) == {:error, :malformed}
    assert Wire.decode(Wire.encode({:forward_join, "a@b", 17})) == {:error, :malformed}
    assert Wire.decode(Wire.encode({:shuffle, [], 1, []})) == {:error, :malformed}
    assert Wire.decode(Wire.encode({:groups, :entries, List.duplicate(0, 33)})) == {:error, :malformed}
    assert Wire.decode(Wire.encode({:leaves, :entries, [{32, []}]})) == {:error, :malformed}
    assert Wire.decode(Wire.encode({:keys, :entries, [{1024, []}]})) == {:error, :malformed}
    later = Wire.version() + 1
    assert Wire.decode(Wire.encode({:groups, {:entries, later}, []})) == {:error, {:version, later}}
    assert Wire.decode(Wire.encode({:digest, 1, 2, 3, 4, [{3, 5, 6}]})) == {:error, :malformed}
    assert Wire.decode(<<4, 3, 0::size(216), 1::32, 255, 0::112>>) == {:error, :malformed}
    # A table of one version in a message of another.
    assert Wire.decode(<<4, 4, 0, 3, 0::32>>) == {:error, :malformed}
    assert Wire.decode(<<4, 4, 0, 4, 0::32>>) == {:ok, {:groups, {:entries, 4}, []}}
    assert Wire.decode(Wire.encode(:join) <> "more") == {:error, :malformed}
    assert Wire.decode(:join) == {:error, :malformed}
  end

  test "a name with a namespace is told to nodes of version 8 alone: those of versions before would take it for damage" do
    here = entry("shop/cart", {1, 1, "a@b#1"}, limits: Tidepool.Limits.complete(%{}))
    plain = entry("f", {1, 2, "a@b#1"}, limits: Tidepool.Limits.complete(%{}))

    for entry <- [here, %{here | removed: true}] do
      assert [<<2, _plain::binary>>, <<8, _named::binary>>] =
               Enum.sort(Wire.encode({:push, [{entry, nil}, {plain, nil}]}, 7))

      assert {:ok, {:push, [{^entry, nil}]}} = Wire.decode(Wire.encode({:push, [{entry, nil}]}))
    end

    keys = fn table -> {:keys, table, [{3, [{"shop/cart", here.stamp}, {"f", plain.stamp}]}]} end
    gone = {:gone, [{"shop/cart", here.stamp}, {"f", plain.stamp}]}

    for {message, told} <- [
          {keys.(:entries), {:keys, :entries, [{3, [{"f", plain.stamp}]}]}},
          {keys.({:entries, 7}), {:keys, {:entries, 7}, [{3, [{"f", plain.stamp}]}]}},
          {gone, {:gone, [{"f", plain.stamp}]}}
        ] do
      assert [bytes] = Wire.encode(message, 7)
      assert Wire.decode(bytes) == {:ok, told}
      assert [bytes] = Wire.encode(message, 8)
      assert Wire.decode(bytes) == {:ok, message}
    end
  end

  test "a list that says it is longer than its message costs no memory" do
    {:reductions, before} = Process.info(self(), :reductions)
    assert Wire.decode(<<Wire.version(), 2, 0, 127, 255, 255, 0::size(64)>>) == {:error, :malformed}
    {:reductions, later} = Process.info(self(), :reductions)
    assert later - before < 10_000
  end

  # Made by the last version of Tidepool that knew no later one.
  @version_2 "AgEAAAACAWYBi8/laHsAAAAFBWFAYiMxAAAAAAADCgAAAAAAAYagWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWloABmdyw7zDnwEAAA" <>
               "AHAAAAAGVT8QAAAAAABAAAAAAAAAAAAQAAAAAAAAAAEOEAAAAAAAAD6AAAAAAAgAAAAAAAAACAAAAAAAAAAAAAQAAAAAAAD0JAAAAAAAAAA+gA" <>
               "ABAAAAAAAAABZwGLz+VoewAAAAUFYUBiIzEAAAAAAAMFAAAAAAABhqBaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWgAGZ3LDvMOfAA" <>
               "AAAAAAAAAAZVPxAAAAAAAEAAAAAAAAAAABAAAAAAAAAAAQ4QAAAAAAAAPoAAAAAACAAAAAAAAAAIAAAAAAAAAAAABAAAAAAAAPQkAAAAAAAAAD" <>
               "6AAAEAAAAAAAAQGLz+VoAAAAAAE="
  @version_3 "AwEAAAACAWYBi8/laHsAAAAFBWFAYiMxAAAAAAADCAAAAAAAAYagWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWloAAWYAAAAAAAAAAA" <>
               "BlU/EAAAAAAAQAAAAAAAAAAAEAAAAAAAAAABOIAAAAAAAAA+gAAAAAAIAAAAAAAAAAgAAAAAAAAAAAAEAAAAAAAA9CQAAAAAAAAAPoAAAQAAAA" <>
               "AAAAAAADC2Rlc2NyaXB0aW9uAAtTYXlzIGhlbGxvLgVsYWJlbAAEYmV0YQVsYWJlbAAJdGVhbTpzaG9wAAFnAYvP5Wh7AAAABQVhQGIjMQAAAA" <>
               "AAAwgAAAAAAAGGoFpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaAAFmAAAAAAAAAAAAZVPxAAAAAAAEAAAAAAAAAAABAAAAAAAAAAAT" <>
               "iAAAAAAAAAPoAAAAAACAAAAAAAAAAIAAAAAAAAAAAABAAAAAAAAPQkAAAAAAAAAD6AAAEAAAAAAAAAAAAAA="

  @version_5 "BQEAAAABAWYBi8/laHsAAAAFBWFAYiMxAAAAAAAICAAAAAAAAYagWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWloAAWYBAAAAAAAAAABlU/EAAA" <>
               "AAAAQAAAAAAAAAAAEAAAAAAAAAABOIAAAAAAAAA+gAAAAAAIAAAAAAAAAAgAAAAAAAAAAAAEAAAAAAAA9CQAAAAAAAAAPoAAAQAAAAAAAAAAADC2Rlc2Ny" <>
               "aXB0aW9uAAdTZXJ2ZXMuA25ldAAZdGNwOmxpc3RlbjoxMjcuMC4wLjE6NzAwMANuZXQAA2RucwA="

  test "an entry as version 2 wrote it is read with the defaults of what came later, and written as it was" do
    bytes = Base.decode64!(@version_2)
    assert {:ok, {:push, [{entry, nil}, {removed, {1_700_000_000_000, 1}}]} = message} = Wire.decode(bytes)

    assert %{name: "f", version: 3, operation: "grüß", instances: {:warm, 7}, engine: :dense, snapshot: false} = entry
    assert %{limits: %{time: 4_321}, admitted: :token, stamp: {1_700_000_000_123, 5, "a@b#1"}} = entry
    assert %{name: "g", removed: true, instances: :fresh, engine: :fast, snapshot: true, admitted: :elixir} = removed

    for entry <- [entry, removed],
        do: assert(Map.take(entry, [:description, :labels]) == %{description: "", labels: %{}})

    assert Wire.encode(message) == bytes
  end

  test "an entry with what version 3 brought is read as it was written, beside one without" do
    bytes = Base.decode64!(@version_3)
    assert <<3, _rest::binary>> = bytes
    assert {:ok, {:push, [{labelled, nil}, {plain, nil}]} = message} = Wire.decode(bytes)
    assert %{name: "f", description: "Says hello.", labels: %{"team" => "shop", "beta" => ""}} = labelled
    assert %{name: "g", description: "", labels: %{}} = plain
    assert Wire.encode(message) == bytes
  end

  test "an entry with what version 5 brought is read as it was written, and earlier ones get it as of a version that they don't know" do
    bytes = Base.decode64!(@version_5)
    assert {:ok, {:push, [{entry, nil}]} = message} = Wire.decode(bytes)
    assert %{name: "f", net: ["tcp:listen:127.0.0.1:7000", "dns"], description: "Serves."} = entry
    assert Wire.encode(message) == bytes

    plain = %{entry | name: "g", net: []}
    both = {:push, [{entry, nil}, {plain, nil}]}
    assert [told, <<5, _rest::binary>>] = both |> Wire.encode(4) |> Enum.sort()
    assert Wire.decode(told) == {:ok, {:push, [{plain, nil}]}}

    for net <- [["tcp"], ["dns", "dns"], for(port <- 1..33, do: "tcp:*:#{port}")] do
      assert Wire.decode(Wire.encode({:push, [{%{entry | net: net}, nil}]})) == {:error, :malformed}
    end
  end

  @version_6 "BgEAAAABAWYBi8/laHsAAAAFBWFAYiMxAAAAAAAICAAAAAAAAYagWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWloAAWYBAAAAAAAAAABlU/EAAA" <>
               "AAAAQAAAAAAAAAAAEAAAAAAAAAABOIAAAAAAAAA+gAAAAAAIAAAAAAAAAAgAAAAAAAAAAAAEAAAAAAAA9CQAAAAAAAAAPoAAAQAAAAAAAAAAADA25l" <>
               "dAADZG5zBWZpbGVzAAwvZGF0YT1tZW1vcnkFZmlsZXMAFC9ldGMvYXBwPWhvc3Q6Y29uZmlnAA=="

  test "an entry with what version 6 brought is read as it was written, and goes out as of no earlier one" do
    bytes = Base.decode64!(@version_6)
    assert {:ok, {:push, [{entry, nil}]} = message} = Wire.decode(bytes)
    assert %{name: "f", files: ["/data=memory", "/etc/app=host:config"], net: ["dns"]} = entry
    assert Wire.encode(message) == bytes
    assert [<<6, _rest::binary>>] = Wire.encode(message, 5)

    for files <- [["/data=disk"], ["/a=memory", "/a=memory"], for(n <- 1..17, do: "/a#{n}=memory")] do
      assert Wire.decode(Wire.encode({:push, [{%{entry | files: files}, nil}]})) == {:error, :malformed}
    end
  end

  @version_10 "CgEAAAABAWYAAAAAAAEAAAABBWFAYiMxAAAAAAABAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAWYAAAAAAAAAAA" <>
                "AAAAABAAAAAgZsaW1pdHMAqHsiY3B1X3RpbWUiOjEwMDAsImRlcHRoIjo3LCJpbnN0YW5jZXMiOjEwMDAwMDAsIm1lbW9yeSI6NjcxMDg4NjQs" <>
                "InBheWxvYWQiOjgzODg2MDgsInF1ZXVlIjoxMDAwLCJyZXBseSI6ODM4ODYwOCwidGFibGUiOjY1NTM2LCJ0aW1lIjo0MzIxLCJ0b3RhbF9tZW" <>
                "1vcnkiOjE3NTkyMTg2MDQ0NDE2fQ1kZXRlcm1pbmlzdGljAAR0cnVlAAAA"

  test "an entry with what version 10 brought has its limits by name, and is malformed where they are out of range" do
    limits = Tidepool.Limits.complete(%{time: 4_321, depth: 7})
    entry = entry("f", {1, 1, "a@b#1"}, limits: limits, deterministic: true)
    message = {:push, [{entry, nil}]}
    assert <<10, _rest::binary>> = bytes = Wire.encode(message)
    assert Base.encode64(bytes) == @version_10
    assert Wire.decode(bytes) == {:ok, message}

    told = :binary.replace(bytes, ~s("depth":7), ~s("depth":0))
    assert Wire.decode(told) == {:error, :malformed}
    assert Wire.decode(:binary.replace(bytes, ~s("depth":7), ~s("death":7))) == {:error, :malformed}
    # One that was not there yet has its default.
    assert {:ok, {:push, [{read, nil}]}} = Wire.decode(without(bytes, ~s("depth":7,)))
    assert read == put_in(entry.limits.depth, 64)
  end

  test "an entry with the limit that version 11 brought is of that version, which nodes of version 10 are told that they miss" do
    entry = entry("f", {1, 1, "a@b#1"}, limits: Tidepool.Limits.complete(%{client_idle: 5_000}))
    message = {:push, [{entry, nil}]}
    assert <<11, _rest::binary>> = bytes = Wire.encode(message)
    assert Wire.decode(bytes) == {:ok, message}
    assert [^bytes] = Wire.encode(message, 10)
    assert Wire.decode(:binary.replace(bytes, ~s("client_idle":5000), ~s("client_idle":"5s"))) == {:error, :malformed}
  end

  # Bytes without a part of the text that has this in it.
  defp without(bytes, part) do
    {at, length} = :binary.match(bytes, part)
    [before, text] = :binary.split(bytes, "limits")
    <<size::16, rest::binary>> = text
    text = :binary.replace(rest, part, "")
    assert at > byte_size(before)
    before <> "limits" <> <<size - length::16>> <> text
  end

  test "nodes of an earlier version are told of a function without what its calls don't depend on" do
    known = entry("f", {1, 1, "a@b#1"}, limits: Tidepool.Limits.complete(%{}), admitted: :token)
    labelled = %{known | name: "g", labels: %{"team" => "shop"}, description: "Says hello."}
    message = {:push, [{known, nil}, {labelled, {1, 0}}]}

    for {version, byte, told} <- [
          {1, 1, [{%{known | admitted: :unknown}, nil}, {%{known | name: "g", admitted: :unknown}, {1, 0}}]},
          {2, 2, [{known, nil}, {%{known | name: "g"}, {1, 0}}]},
          {3, 3, elem(message, 1)},
          {Wire.version(), 3, elem(message, 1)}
        ] do
      assert [<<^byte, _rest::binary>> = bytes] = Wire.encode(message, version)
      assert Wire.decode(bytes) == {:ok, {:push, told}}
    end

    # A removal is for all, whatever was removed.
    removed = Spec.bare(%{labelled | removed: true})

    for version <- 2..Wire.version(),
        do: assert([<<2, _rest::binary>>] = Wire.encode({:push, [{removed, nil}]}, version))
  end

  test "named options that can't be are malformed" do
    [<<3, before::binary>>, <<2, plain::binary>>] =
      for labels <- [%{"team" => "shop"}, %{}] do
        Wire.encode(
          {:push, [{entry("f", {1, 1, "a@b#1"}, limits: Tidepool.Limits.complete(%{}), labels: labels), nil}]}
        )
      end

    named = fn fields ->
      fields = for {name, text} <- fields, do: [byte_size(name), name, <<byte_size(text)::16>>, text]
      # What follows an entry is the moment before, which is none.
      entry = binary_part(plain, 0, byte_size(plain) - 1)
      Wire.decode(IO.iodata_to_binary([3, entry, <<length(fields)::32>>, fields, 0]))
    end

    assert named.([{"label", "team:shop"}]) == Wire.decode(<<3, before::binary>>)
    assert {:ok, _message} = named.([])

    for fields <- [
          [{"description", "a\nb"}],
          [{"description", String.duplicate("x", 201)}],
          [{"description", "a"}, {"description", "b"}],
          [{"description", <<255>>}],
          [{"label", "Team:shop"}],
          [{"label", "team"}, {"label", "team:b"}],
          for(n <- 1..17, do: {"label", "key#{n}"}),
          for(n <- 1..65, do: {"label", "key#{n}"}),
          [{"snapshot", "false"}],
          [{"colour", "red"}]
        ],
        do: assert(named.(fields) == {:error, :malformed}, inspect(fields))

    assert Wire.decode(<<3, plain::binary>>) == {:error, :malformed}
  end

  test "another version is named, whatever follows it" do
    assert_holds(types().tuple([types().integer(0, 255), types().binary()]), fn {version, rest} ->
      version in 1..Wire.version() or Wire.decode(<<version, rest::binary>>) == {:error, {:version, version}}
    end)
  end
end
