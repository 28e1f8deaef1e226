defmodule Tidepool.Catalog.PreviousTest do
  use ExUnit.Case, async: true

  alias Tidepool.Catalog.{BlobStore, Entry, Previous, Record}
  alias Tidepool.Cluster.Wire
  alias Tidepool.Function.Spec
  alias Tidepool.{Error, Limits}

  defp entry(version, fields \\ []) do
    struct!(
      %Entry{
        name: "a",
        version: version,
        sha256: BlobStore.sha256("#{version}"),
        size: version,
        operation: "run",
        instances: {:warm, version},
        limits: Limits.complete(%{time: version}),
        deployed_at: version,
        admitted: :token,
        stamp: {version, 0, "n@host#1"}
      },
      fields
    )
  end

  # What a name has after all of these deploys.
  defp deployed(entries), do: Enum.reduce(entries, nil, &%{&1 | previous: Previous.push(&2)})

  test "a version comes back with all that it was deployed with" do
    full = [
      description: "Says \"hello\".",
      labels: %{"team" => "shop", "beta" => ""},
      net: ["dns", "tcp:connect:*:443"],
      files: ["/data=memory"],
      engine: :dense,
      snapshot: false
    ]

    for fields <- [[], full] do
      old = entry(7, fields)
      assert [version] = Previous.list(Previous.push(old))
      assert %{version: 7, size: 7, deployed_at: 7, admitted: :token} = version
      assert version.sha256 == old.sha256
      {:ok, options} = Previous.options(version)
      # Whatever limits the node has for those that name none.
      assert options[:limits] == old.limits
      {:ok, checked} = Spec.check([name: "a"] ++ options, Spec.kept(), "the option")
      assert checked == Spec.take(old)
    end
  end

  test "ten versions of a name are kept, newest first, and a name that was deployed once or removed has none before it" do
    entries = for version <- 1..12, do: entry(version)
    entry = deployed(entries)
    assert for(%{version: version} <- Previous.list(entry.previous), do: version) == Enum.to_list(11..3)
    assert length(Entry.modules(entry)) == Previous.kept()
    assert deployed([entry(1)]).previous == ""
    assert Previous.push(%{entry | removed: true}) == ""
    assert Entry.modules(%{entry | removed: true}) == []
    assert Entry.bare(entry).previous == ""
  end

  test "versions with very much to say are kept as far as they have room" do
    labels = for n <- 1..16, into: %{}, do: {"key#{n}" <> String.duplicate("k", 50), String.duplicate("v", 60)}
    previous = deployed(for version <- 1..12, do: entry(version, labels: labels)).previous
    assert length(Previous.list(previous)) in 2..8
    assert byte_size(previous) <= Previous.max_bytes()
    assert Previous.valid?(previous)
  end

  test "a version with more to say than all may have is not kept, and what is kept is read, however long that was" do
    text = &String.duplicate("c", &1)

    for bytes <- [0, 1, 60, 200, 3_800, 7_000] do
      # About 64 KiB, which is one more than two bytes say.
      config = Map.new([{"last", text.(bytes)} | for(n <- 1..17, do: {"name #{n}", text.(3_700)})])
      previous = deployed([entry(1), entry(2, config: config), entry(3)]).previous
      assert previous == ""
      entry = deployed([entry(1), entry(2, config: config), entry(3), entry(4)])
      assert [%{version: 3}] = Previous.list(entry.previous)
      assert Record.decode(Record.encode(entry)) == {[entry], []}
    end
  end

  test "an entry with versions before it survives the disk and the wire, and what damages them is noticed" do
    entry = deployed([entry(1), entry(2, labels: %{"a" => "b"}), entry(3)])
    assert Record.decode(Record.encode(entry)) == {[entry], []}
    assert Wire.decode(Wire.encode({:push, [{entry, nil}]})) == {:ok, {:push, [{entry, nil}]}}

    for wrong <- [
          "x",
          binary_part(entry.previous, 0, 40),
          entry.previous <> "x",
          String.duplicate(Previous.push(entry(1)), 10)
        ] do
      refute Previous.valid?(wrong)
      assert Wire.decode(Wire.encode({:push, [{%{entry | previous: wrong}, nil}]})) == {:error, :malformed}
      assert {[], [%{what: :unknown}]} = Record.decode(Record.encode(%{entry | previous: wrong}))
    end
  end

  test "nodes of versions before are told of the newest version alone, and agree on it" do
    entry = deployed([entry(1), entry(2)])
    alone = %{entry | previous: ""}

    for version <- 2..(Spec.history() - 1) do
      assert [<<first, _rest::binary>> = bytes] = Wire.encode({:push, [{entry, nil}]}, version)
      assert first <= version
      assert {:ok, {:push, [{told, nil}]}} = Wire.decode(bytes)
      assert told == alone
      assert Entry.hash(entry, version) == Entry.hash(alone, version)
    end

    refute Entry.hash(entry, Spec.history()) == Entry.hash(alone, Spec.history())
    # What comes back from there takes nothing away.
    assert Entry.same_change?(entry, alone)
    assert Entry.compare(alone, entry) == :lt
    assert Entry.same_deploy?(entry, alone)
  end

  test "options of a later version of Tidepool are passed on, and can't be gone back to" do
    [version] = Previous.list(Previous.push(entry(1)))
    later = <<5, "later", 1::16, "x">>

    packed =
      <<1::48, 1::64, 1::signed-64, 9, Base.decode16!(version.sha256, case: :lower)::binary, byte_size(later)::16,
        later::binary>>

    assert Previous.valid?(packed)
    assert [%{admitted: :unknown} = unknown] = Previous.list(packed)
    assert {:error, %Error{reason: :unavailable}} = Previous.options(unknown)
  end
end
