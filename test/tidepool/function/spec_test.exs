defmodule Tidepool.Function.SpecTest do
  # What holds for every option of a deploy, of today's and of those to come.
  use ExUnit.Case, async: true

  alias Tidepool.Catalog.{Entry, Record}
  alias Tidepool.Cluster.Wire
  alias Tidepool.{ClusterMessages, Error, Limits, Native, Options}
  alias Tidepool.Function.{Fields, Spec}

  @entry ClusterMessages.entry("f", {1, 1, "a@b#1"}, limits: Limits.complete(%{}))

  # Values of options whose type has not few.
  @values [
    name: ["g"],
    operation: ["o", "Grüß Gott"],
    instances: [:fresh, {:warm, 1}, {:warm, 16_000}],
    limits: [%{Limits.complete(%{}) | time: 5}, %{Limits.complete(%{}) | client_idle: 5_000}],
    description: ["", "Grüßt."],
    labels: [%{}, %{"team" => "shop", "beta" => "", "url" => "http://a:1"}],
    net: [
      [],
      ["dns", "http:a.example:80"],
      ["tcp:listen:127.0.0.1:*", "udp:[::1]:5000-6000", "tls:connect:*.a.example:443"]
    ],
    actor: [
      nil,
      %{
        durability: :idle,
        idle: 5,
        frozen: 4,
        flush: 6,
        queue: 7,
        queue_bytes: 8,
        values: 9,
        versions: :kv
      }
    ],
    host: [["*"], ["none"], ["shop/prices/get", "redis/*/G*", "//"]],
    ref: [nil, "oci://a.example:5000/team/b:1@sha256:#{String.duplicate("0a", 32)}"],
    signature: [nil, Base.encode64(<<1::512>>)],
    routes: [[], ["/..."], ["shop.example/cart/...", "/hook%20s"]],
    tools: [[], ["*"], ["add", "docs:adder/add@0.1.0#echo"]],
    files: [[], ["/data=memory"], ["/=host:a:rw", "/etc/app=host:b"]],
    config: [%{}, %{"vowels" => "aeiouy", "empty" => "", "url" => "http://a:1/?b=c", "lines" => "a\nb"}],
    keyvalue: [[], ["sessions", "a.b-c"]],
    record: [:off, :failures, :all, 0.25],
    verify: [nil, %{last: 10, allow: 2}],
    wait_timeout: [0, 3_600_000]
  ]

  # Entries that have one option each other than the rest.
  defp entries(options \\ Spec.kept()), do: for({key, value} <- values(options), do: Map.put(@entry, key, value))

  defp values(options) do
    for {key, spec} <- options, value <- values(key, spec[:type]), do: {key, value}
  end

  defp values(_key, :boolean), do: [true, false]
  defp values(_key, {:one_of, values}), do: values
  defp values(key, _type), do: Keyword.fetch!(@values, key)

  test "every option is read as it was written, as text" do
    for options <- [Spec.kept(), Spec.of_request()],
        {key, value} <- values(options),
        # A text says no whole of these.
        key != :limits and value not in [%{}, [], nil],
        option = Keyword.take(options, [key]) do
      assert Fields.read(Fields.write(option, %{key => value}), option) == {:ok, [{key, value}]}
    end
  end

  test "every option comes back from the disk, and is its default where it was not known yet" do
    for entry <- entries(), do: assert(Record.decode(Record.encode(entry)) == {[entry], []})

    for {key, default} <- Spec.defaults(), key not in [:name, :operation, :instances, :limits] do
      old = @entry |> Map.delete(key) |> Record.encode()
      assert Record.decode(old) == {[Map.put(@entry, key, default)], []}
    end
  end

  test "every option comes back from another node" do
    for entry <- entries(),
        message = {:push, [{entry, nil}]},
        do: assert(Wire.decode(Wire.encode(message)) == {:ok, message})
  end

  test "a deploy with another value of any option is another deploy, and one of the two is later everywhere" do
    for entry <- entries(), entry != @entry do
      refute Entry.same_deploy?(@entry, entry)
      assert entry.name != "f" or Enum.sort([Entry.compare(@entry, entry), Entry.compare(entry, @entry)]) == [:gt, :lt]
    end
  end

  test "JSON has every option of a function" do
    for entry <- entries() do
      function =
        struct!(
          Tidepool.Function,
          entry |> Spec.take() |> Map.merge(%{version: 1, sha256: "", size: 1, abi: :wapc, imports: []})
        )

      {:ok, shown} = function |> Fields.json() |> Native.json_encode() |> Native.json_decode()
      for {key, _spec} <- Spec.kept(), do: assert(is_map_key(shown, to_string(key)))
    end
  end

  test "every option refuses what its type does not have, and says what it has to be in the words of its notation" do
    for {key, spec} = option <- Spec.kept() ++ Spec.of_request(), [name] = Fields.names([option]) do
      with {:error, %Error{} = error} <- Fields.read([{name, "\0"}], [option]) do
        assert error.message =~ "`#{name}`"
        refute error.message =~ ~r/[ (]:[a-z]/
      end

      assert {:error, %Error{reason: :invalid_option, message: message}} =
               Options.check([{key, {:no, :such}}], Keyword.take(Spec.schema(), [key]), "the option")

      assert message =~ "the option #{inspect(key)} has to be #{Options.describe(spec[:type])}, and is {:no, :such}"
    end
  end

  test "what the fast engine can't hold is refused, with the words of whoever said it" do
    options = [name: "f", instances: {:warm, 16_001}]
    assert {:error, %Error{message: message}} = Spec.check(options, Spec.schema(), "the option")
    assert message =~ "the option :instances has to be :fresh or {:warm, max_idle}"
    assert message =~ "with engine: :dense, and is {:warm, 16001}"
    assert {:ok, _checked} = Spec.check([{:engine, :dense} | options], Spec.schema(), "the option")

    fields = [{"instances", "warm:16001"}]
    assert {:error, %Error{message: message}} = Fields.read(fields, Spec.kept())
    assert message =~ "the field `engine=dense`, and is \"warm:16001\""
    assert {:ok, _read} = Fields.read([{"engine", "dense"} | fields], Spec.kept())
  end
end
