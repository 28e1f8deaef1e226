defmodule Tidepool.FuzzTest do
  # Bytes of peers, disks and clients that are read in Elixir, damaged in all ways; see Tidepool.Fuzz.
  # Not async: atoms are counted.
  use ExUnit.Case

  import Tidepool.ClusterMessages

  alias Tidepool.{Error, Fuzz, Native}
  alias TidepoolWeb.Form
  alias Tidepool.Catalog.{Log, Record, State}
  alias Tidepool.Cluster.{Gossip, Wire}
  alias Tidepool.Cluster.Gossip.Membership

  @moduletag :fuzz
  @moduletag timeout: :infinity

  @began 1_000_000

  test "whatever a peer sends is a message or an error, and no message harms a node" do
    gossip = Gossip.new("n1@host", State.new(State.new_context("n1@host#1"), []), @began, seed: 1)

    Fuzz.run("wire", for(message <- Fuzz.samples(message(), 200), do: Wire.encode(message)), fn bytes ->
      case Wire.decode(bytes) do
        {:ok, message} ->
          {gossip, _effects} = Gossip.handle(gossip, [{:up, "n2@host"}, {:message, "n2@host", message}, :tick], @began)

          Wire.decode(Wire.encode(message)) == {:ok, message} and length(Gossip.peers(gossip)) <= 5 and
            length(Membership.passive(gossip.members)) <= 30

        {:error, {:version, version}} ->
          version not in 1..Wire.version()

        {:error, :malformed} ->
          true
      end
    end)
  end

  test "whatever became of the catalog's file and seal, what is read of it can be written and read again" do
    seeds =
      for entries <- Enum.chunk_every(Fuzz.samples(entry(), 200), 5) do
        log = Enum.map_join([State.new_context("n1@host#1") | entries], &Record.encode/1)
        seal(log) <> log
      end

    check = fn bytes ->
      {seal, log} = :erlang.split_binary(bytes, min(20, byte_size(bytes)))
      {records, damage} = Record.decode(log)
      {replayed, state} = Log.examine(log, seal)

      # Each byte is of a record or of damage, in their order, and none of two.
      Enum.reduce(damage, 0, fn %{at: at, bytes: lost}, last when at >= last and lost > 0 -> at + lost end) <=
        byte_size(log) and
        Record.decode(Enum.map_join(records, &Record.encode/1)) == {records, []} and
        map_size(replayed.entries) <= length(records) and
        (damage == [] or match?({:damaged, [_ | _]}, state) or state == :torn)
    end

    Fuzz.run("catalog", seeds, check, fix: &checksums/1)
  end

  # Damage that checksums don't tell: a disk has none such, but somebody may write what looks whole.
  defp checksums(<<seal::binary-size(20), log::binary>>), do: seal <> whole(log)
  defp checksums(short), do: short

  defp whole(<<size::32, _crc::32, payload::binary-size(size), rest::binary>>),
    do: <<size::32, :erlang.crc32(payload)::32, payload::binary>> <> whole(rest)

  defp whole(rest), do: rest

  defp seal(log) do
    <<head::binary-size(8), _rest::binary>> = log
    size = <<byte_size(log)::64>>
    size <> head <> <<:erlang.crc32([size, head])::32>>
  end

  @documents [
    ~s({"a": [1, -2.5e3, true, false, null, "\\u00e9\\ud83d\\ude00\\n"], "b": {"a": {}}}),
    ~s([[[[]]], 18446744073709551615, -9223372036854775808, 1e308, 0.1, "", "\\\\ \\" \\/"]),
    ~s({"time": 5000, "memory": 67108864, "depth": 64, "instances": 10, "time ": 1})
  ]

  test "whatever a client sends as JSON is a term or an error, and the term is the same written and read again" do
    Fuzz.run("json", [String.duplicate("[", 200) | @documents], fn bytes ->
      case Native.json_decode(bytes) do
        # What is encoded may be nested less than what is decoded.
        {:ok, term} -> depth(term) > 60 or Native.json_decode(Native.json_encode(term)) == {:ok, term}
        {:error, message} -> String.valid?(message) and byte_size(message) < 1_000
      end
    end)
  end

  defp depth(term) when is_map(term), do: 1 + (term |> Map.values() |> depths())
  defp depth(term) when is_list(term), do: 1 + depths(term)
  defp depth(_term), do: 0

  defp depths(terms), do: terms |> Enum.map(&depth/1) |> Enum.max(fn -> 0 end)

  test "whatever a form has in its fields is options or an error that can be shown" do
    seeds = [
      ~s(hello.wasm\0wait=all&wait_timeout=5\0name=hello\0operation=op\0instances=warm:5\0engine=dense\0limits={"time": 5000}),
      ~s(../x.wasm\0a=b\0instances=fresh\0engine=fast\0snapshot=false\0limits={"memory": 1000000, "cpu_time": 10}),
      ~s(\0wait\0name=n\0operation=o\0instances=warm:16000\0limits={"instances": 1e3, "total_memory": null, "queue": "5"})
    ]

    Fuzz.run("form", seeds, fn bytes ->
      # The edge takes text alone.
      text = bytes |> String.chunk(:valid) |> Enum.filter(&String.valid?/1) |> Enum.join()
      [file_name, query | fields] = String.split(text <> "\0\0", "\0")
      fields = for field <- Enum.take(fields, 64), field != "", do: pair(field)
      form = %{file_name: file_name, query: Enum.map(String.split(query, "&"), &pair/1), fields: fields}

      case Form.options(form) do
        {:ok, options} -> Keyword.keyword?(options)
        {:error, %Error{} = error} -> String.valid?(Exception.message(error)) and byte_size(error.message) < 5_000
      end
    end)
  end

  defp pair(text) do
    case String.split(text, "=", parts: 2) do
      [name] -> {name, ""}
      [name, text] -> {name, text}
    end
  end
end
