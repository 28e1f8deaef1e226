defmodule Tidepool.ShippedTest do
  # Components of published packages that are more than a call: resources, a handler of HTTP, and a program that goes on.
  use Tidepool.Case

  alias Tidepool.{Error, Instance, Packages, Wasmtime}

  # They are fetched, and wasmtime's command line is built, in long runs alone.
  @moduletag skip: System.get_env("TIDEPOOL_LONG", "") == ""

  @codec "numcodecs:abc/codec@0.1.1"
  @floats %{data: {:f64, [1.0, 2.5, 4.0, 8.5, 16.0, 32.5, 64.0, 128.5]}, shape: [2, 4]}
  @integers %{data: {:i32, Enum.to_list(1..64)}, shape: [8, 8]}
  @bytes %{data: {:u8, :binary.copy("low tide ", 1_000)}, shape: [9_000]}

  # Codec, its configuration, what is encoded, and how far what is decoded may be from that.
  @codecs [
    {"asinh", ~s({"linear_width": 1.0}), @floats, 1.0e-9},
    {"bit_round", ~s({"mode": "keepbits", "keepbits": 20}), @floats, 0},
    {"fixed_offset_scale", ~s({"offset": 1.0, "scale": 2.0}), @floats, 0},
    {"identity", ~s({}), @bytes, 0},
    {"jpeg2000", ~s({"mode": "lossless"}), @integers, 0},
    {"linear_quantize", ~s({"dtype": "f64", "bits": 16}), @floats, 0.01},
    {"log", ~s({}), @floats, 1.0e-9},
    {"pco", ~s({"level": 8, "mode": "auto", "delta": "auto", "paging": "equal-pages-up-to"}), @floats, 0},
    {"reinterpret", ~s({"encode_dtype": "u64", "decode_dtype": "f64"}), @floats, 0},
    {"round", ~s({"precision": 0.5}), @floats, 0},
    {"zfp", ~s({"mode": "reversible"}), @floats, 0},
    {"zlib", ~s({"level": 6}), @bytes, 0},
    {"zstd", ~s({"level": 3}), @bytes, 0}
  ]

  for row <- @codecs do
    {codec, config, array, bound} = row
    @tag component: "codec_#{codec}", config: config, array: array, bound: bound
    test "codec_#{codec} decodes what it has encoded, in a resource that it keeps", context do
      {:ok, instance} = Instance.start_link(deploy!("packages", context.component))
      {:ok, codec} = Instance.call(instance, {@codec, :"codec.from-config"}, [context.config])
      {:ok, encoded} = Instance.call(instance, {codec, :encode}, [context.array])
      assert {:ok, decoded} = Instance.call(instance, {codec, :decode}, [encoded])
      assert decoded.shape == context.array.shape
      assert distance(decoded.data, context.array.data) <= context.bound
      assert Instance.drop(instance, codec) == :ok
    end
  end

  test "a codec of bytes makes them fewer, and says what is wrong with a configuration and with what it can't decode" do
    for codec <- ["codec_zlib", "codec_zstd"] do
      {:ok, instance} = Instance.start_link(deploy!("packages", codec))
      {:ok, kept} = Instance.call(instance, {@codec, :"codec.from-config"}, [~s({"level": 6})])
      {:ok, %{data: {:u8, bytes}}} = Instance.call(instance, {kept, :encode}, [@bytes])
      assert byte_size(bytes) < 1_000
      broken = %{data: {:u8, "low tide"}, shape: [8]}
      assert {:error, %Error{reason: :guest_error}} = Instance.call(instance, {kept, :decode}, [broken])
      config = [~s({"level": "low"})]
      assert {:error, %Error{reason: :guest_error}} = Instance.call(instance, {@codec, :"codec.from-config"}, config)
    end
  end

  for row <- Packages.carts() do
    {component, interface, _why} = row
    @tag component: component, interface: interface
    test "#{component} runs: a cart has what is put into it", %{component: component, interface: interface} do
      {:ok, instance} = Instance.start_link(deploy!("packages", component))
      {:ok, cart} = Instance.new(instance, {interface, "cart"}, ["alice"])
      tea = %{:name => "Tea", :price => 2.5, :quantity => 2, :"product-id" => "tea"}
      {:ok, _nothing} = Instance.call(instance, {cart, :"add-item"}, [tea])
      {:ok, _nothing} = Instance.call(instance, {cart, :"update-item-quantity"}, ["tea", 3])
      assert Instance.call(instance, {cart, :"get-cart-contents"}) == {:ok, [%{tea | quantity: 3}]}
    end
  end

  for row <- Packages.http() do
    {component, :asked} = row
    @tag component: component
    test "#{component} answers as it does on wasmtime", %{component: component} do
      limits = %{memory: 134_217_728, cpu_time: 60_000, time: 120_000}
      own = url("/call/#{deploy!("packages", component, limits: limits)}")
      other = Wasmtime.serve!(guest_path("packages", component))
      assert {200, body} = same!(own, other, "/v1/example", [])
      assert inspect(body) =~ "Hello World!"
      assert {404, _body} = same!(own, other, "/not/there", [])
      json = ["-H", "content-type: application/json", "-H", "accept: application/json, text/event-stream", "--data"]

      for {method, params} <- [
            {"tools/list", "{}"},
            {"tools/call", ~s({"name":"echo","arguments":{"message":"low tide"}})}
          ] do
        request = ~s({"jsonrpc":"2.0","id":1,"method":"#{method}","params":#{params}})
        assert {_status, body} = same!(own, other, "/mcp", json ++ [request])
        assert body != ""
      end
    end
  end

  for row <- Packages.endless() do
    {component, _why} = row
    @tag component: component
    test "#{component} runs as a process, which asks its host again and again until it is ended", context do
      test = self()

      handle!({"wit", "wasmcloud:example/cron@0.0.1", "invoke"}, fn _call ->
        send(test, :invoked) && {:ok, {:ok, nil}}
      end)

      Process.flag(:trap_exit, true)
      {:ok, program} = Tidepool.Process.start_link(deploy!("packages", context.component), [])
      for _turn <- 1..3, do: assert_receive(:invoked)
      refute_received {:EXIT, ^program, _reason}
      Process.exit(program, :kill)
      assert_receive {:EXIT, ^program, :killed}
    end
  end

  # Status and body, which are the same on both.
  defp same!(own, other, path, arguments) do
    [ours, theirs] =
      for url <- [own, other], {status, _headers, body} = curl_url(url <> path, arguments), do: {status, body}

    assert ours == theirs, path
    ours
  end

  defp distance({type, bytes}, other) when is_binary(bytes), do: distance({type, :binary.bin_to_list(bytes)}, other)
  defp distance(one, {type, bytes}) when is_binary(bytes), do: distance(one, {type, :binary.bin_to_list(bytes)})

  defp distance({type, ones}, {type, others}) when length(ones) == length(others),
    do: ones |> Enum.zip(others) |> Enum.map(fn {one, other} -> abs(one - other) end) |> Enum.max()
end
