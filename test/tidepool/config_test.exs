defmodule Tidepool.ConfigTest do
  use ExUnit.Case, async: true

  alias Tidepool.{Config, Error}

  doctest Tidepool.Config

  test "without a setting, every one has its default, and the defaults are valid" do
    assert {:ok, config} = Config.Schema.check([])
    assert Enum.sort(Map.keys(config)) == Enum.sort(Keyword.keys(Config.Schema.settings()))
    assert %{port: 4000, address: "127.0.0.1", token: nil, server: false, builtins: [], instances: :fresh} = config
    assert config.limits == Map.new(Tidepool.Limits.schema(), fn {key, spec} -> {key, spec[:default]} end)
    assert config.data == nil
  end

  test "settings that are given hold" do
    settings = [port: 4001, token: "t", limits: [time: 7], instances: {:warm, 3}, builtins: [:log], data: "/somewhere"]
    assert {:ok, config} = Config.Schema.check(settings)
    assert %{port: 4001, token: "t", instances: {:warm, 3}, builtins: [:log], data: "/somewhere"} = config
    assert %{time: 7, depth: 64} = config.limits
  end

  test "what may be granted is all unless it is a list, or a string with commas" do
    assert {:ok, %{net: ["*"]}} = Config.Schema.check([])

    for net <- [[], ["tcp:listen:*:*", "dns"], "tcp:listen:*:*, dns", ""],
        do: assert({:ok, %{net: ^net}} = Config.Schema.check(net: net))
  end

  test "values that can't be are refused, and the sentence names the setting" do
    for {key, value} <- [
          port: -1,
          port: 65_536,
          port: "4000",
          address: "localhost",
          address: {127, 0, 0, 1},
          address: "",
          token: "",
          token: 5,
          token: <<255>>,
          data: "",
          data: :memory,
          data: <<255>>,
          server: "yes",
          instances: {:warm, 0},
          builtins: [:everything],
          builtins: :log,
          seeds: "no_host",
          seeds: ["a@b c"],
          seeds: :all,
          dns: "",
          dns_node: "a@b",
          max_skew: 0,
          net: "tcp:*",
          net: ["dns", "tcp"],
          net: :all,
          net: [<<255>>],
          max_sockets: -1,
          limits: [time: 0],
          limits: [tme: 5],
          max_module: 7,
          max_instances: 0,
          max_instances: 16_001,
          max_queue: -1,
          stack: 1,
          io_threads: 0,
          compile_threads: 0,
          console_lines: -1,
          drain: -1,
          header_timeout: 0,
          max_connections: 0
        ] do
      assert {:error, %Error{reason: :invalid_option, message: message}} = Config.Schema.check([{key, value}])
      assert message =~ inspect(key)
    end
  end

  test "a data folder is one place, wherever the node goes, or temporary" do
    assert {:ok, %{data: data}} = Config.Schema.check(data: "functions")
    assert data == Path.expand("functions")
    assert {:ok, %{data: :temporary}} = Config.Schema.check(data: :temporary)
  end

  test "nodes that keep actors together are named, are as many as have a majority, find each other, and have a folder" do
    three = ["a@10.0.0.1", "b@10.0.0.2", "c@10.0.0.3"]

    for actors <- [{:replicated, three}, "replicated:" <> Enum.join(three, ",")] do
      settings = [actors: actors, data: "data", seeds: "a@10.0.0.1,d@10.0.0.4", cluster: :auto]
      assert {:ok, config} = Config.Schema.check(settings)
      assert %{actors: {:replicated, ^three}, cluster: true} = config
      assert Enum.sort(config.seeds) == three ++ ["d@10.0.0.4"]

      for data <- [nil, :temporary] do
        assert {:error, %Error{reason: :invalid_option, message: message}} =
                 Config.Schema.check(actors: actors, data: data)

        assert message =~ "TIDEPOOL_DATA"
      end
    end

    for nodes <- [[], tl(three), ["a@10.0.0.1" | tl(tl(three))] ++ ["a@10.0.0.1"], ["a", "b", "c"], [:"a@10.0.0.1"]] do
      assert {:error, %Error{reason: :invalid_option, message: message}} =
               Config.Schema.check(actors: {:replicated, nodes}, data: "data")

      assert message =~ ":actors"
    end

    assert {:error, %Error{reason: :invalid_option}} = Config.Schema.check(actors: "replicated:", data: "data")
  end

  test "an unknown setting is refused, with the nearest known one" do
    assert {:error, %Error{reason: :invalid_option, message: message}} = Config.Schema.check(max_instance: 5)
    assert message =~ "did you mean :max_instances?"
  end

  test "an edge that others reach needs a token; without an edge, or on loopback, none is needed" do
    for address <- ["0.0.0.0", "::", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] do
      assert {:error, %Error{reason: :invalid_option}} = Config.Schema.check(server: true, address: address)
      assert {:ok, %{token: "t"}} = Config.Schema.check(server: true, address: address, token: "t")
      assert {:ok, %{server: false}} = Config.Schema.check(server: false, address: address)
    end

    for address <- ["127.0.0.1", "127.8.8.8", "::1"],
        do: assert({:ok, _config} = Config.Schema.check(server: true, address: address))
  end

  test "an automatic cluster is one for nodes that are told of others" do
    cluster = fn settings -> Config.Schema.check([cluster: :auto] ++ settings) |> elem(1) |> Map.fetch!(:cluster) end
    refute cluster.([])
    refute cluster.(seeds: "", epmd: true)
    assert cluster.(seeds: "a@10.0.0.1")
    assert cluster.(seeds: [:"a@10.0.0.1"])
    assert cluster.(dns: "nodes.test")
    assert {:ok, %{cluster: false}} = Config.Schema.check(cluster: false, seeds: "a@10.0.0.1")
    assert {:ok, %{cluster: true}} = Config.Schema.check(cluster: true)
    assert {:error, %Error{reason: :invalid_option}} = Config.Schema.check(cluster: "on")
  end

  test "an edge is open when it is there and has no token" do
    for {open?, settings} <- [{true, [server: true]}, {false, [server: true, token: "t"]}, {false, [server: false]}] do
      {:ok, config} = Config.Schema.check(settings)
      assert Config.open?(config) == open?
    end
  end

  test "every setting says in words what it is, and its type, default and unit are documented" do
    docs = Tidepool.Options.docs(Config.Schema.settings())

    for {key, spec} <- Config.Schema.settings() do
      assert spec[:doc] =~ ~r/\.$/
      assert docs =~ "- `:#{key}` ("
      assert Keyword.has_key?(spec, :default)
    end
  end

  test "the running node has its settings" do
    assert Config.get(:server) == true
    assert Config.get(:port) == 0
    assert_raise ArgumentError, ~r/did you mean :port/, fn -> Config.get(:prt) end
  end
end
