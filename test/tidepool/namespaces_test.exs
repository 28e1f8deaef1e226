defmodule Tidepool.NamespacesTest do
  # What the functions of a namespace have together, on nodes of their own.
  use Tidepool.Case, async: true

  alias Tidepool.{Config, Error, FaultVersion, Peer}
  alias Tidepool.Namespaces.{Name, Setting}

  doctest Name
  doctest Setting

  defp deploy(node, name, options \\ []),
    do: Peer.call(node, Tidepool, :deploy, [FaultVersion.module(1), [name: name] ++ options])

  defp deploy!(node, name, wasm, options),
    do: {:ok, _function} = Peer.call(node, Tidepool, :deploy, [wasm, [name: name] ++ options])

  describe "the setting" do
    test "is a map, or words, and says so when it is something else" do
      words =
        "shop/instances=200, shop/calls_per_second=500,blog/host=none,blog/limits.time=100,blog/max_limits.memory=65536"

      map = %{
        "shop" => [instances: 200, calls_per_second: 500],
        "blog" => %{host: :none, limits: [time: 100], max_limits: %{memory: 65_536}}
      }

      assert Setting.read(words) == Setting.read(map)

      assert {:ok, %{namespaces: %{"shop" => %{instances: 200, queue: 100, modules: nil}}}} =
               Config.Schema.check(namespaces: words)

      assert {:ok, %{namespaces: none}} = Config.Schema.check(namespaces: "")
      assert none == %{}

      for wrong <- [
            "shop",
            "shop/instances",
            "shop/instances=0",
            "shop/instances=x",
            "shop/instance=1",
            "shop/instances=1,shop/instances=2",
            "/instances=1",
            "a/b/instances=1",
            "../instances=1",
            "shop/limits=1",
            "shop/limits.tme=1",
            "shop/instances.time=1",
            %{"a/b" => [instances: 1]},
            %{shop: [instances: 1]},
            %{"shop" => [instance: 1]},
            %{"shop" => 1},
            [{"shop", 1}],
            nil
          ] do
        assert {:error, %Error{reason: :invalid_option, message: message}} = Config.Schema.check(namespaces: wrong)
        assert message =~ ":namespaces"
      end
    end
  end

  describe "modules" do
    test "are as many as the quota says, whoever deploys at once, and one that is removed makes room" do
      node = Peer.start!(namespaces: "shop/modules=3")
      names = for number <- 1..8, do: "shop/f#{number}"

      results = names |> Enum.map(&Task.async(fn -> deploy(node, &1) end)) |> Task.await_many(60_000)
      {deployed, refused} = Enum.split_with(results, &match?({:ok, _function}, &1))
      assert {3, 5} = {length(deployed), length(refused)}

      for {:error, error} <- refused do
        assert %Error{reason: {:quota, :modules}, details: %{namespace: "shop", allowed: 3, step: step}} = error
        assert step in [:options, :store]
      end

      for other <- ["shop", "blog/post", "shopx/cart"], do: assert({:ok, _function} = deploy(node, other))
      # A new version is no new function.
      [{:ok, %{name: known}} | _others] = deployed
      assert {:ok, %{version: 2}} = deploy(node, known, description: "anew")
      assert {:error, %Error{reason: {:quota, :modules}}} = deploy(node, "shop/new")
      :ok = Peer.call(node, Tidepool, :remove, [known])
      assert {:ok, _function} = deploy(node, "shop/new")
    end

    test "modules have as many bytes as the quota says, and as many versions before are kept as have room" do
      node = Peer.start!(namespaces: "shop/module_bytes=200000")
      # 20 KB, and a section of its own, which nothing reads.
      module = fn version, bytes ->
        section = <<1, "s", :binary.copy(<<version>>, bytes)::binary>>
        FaultVersion.module(1) <> <<0>> <> leb(byte_size(section)) <> section
      end

      deployed = fn name, version, bytes ->
        Peer.call(node, Tidepool, :deploy, [module.(version, bytes), [name: name]])
      end

      versions = fn name ->
        for %{version: version} <- elem(Peer.call(node, Tidepool, :versions, [name]), 1), do: version
      end

      for version <- 1..4, do: assert({:ok, _function} = deployed.("shop/a", version, 30_000))
      assert versions.("shop/a") == [4, 3, 2]
      # Of another the newest has room, for versions before are none that it waits for.
      assert {:ok, _function} = deployed.("shop/b", 1, 60_000)
      assert {:ok, _function} = deployed.("shop/b", 2, 60_000)
      assert versions.("shop/b") == [2]
      assert {:error, %Error{reason: {:quota, :module_bytes}} = error} = deployed.("shop/c", 1, 60_000)
      assert error.details.allowed == 200_000
      assert {:error, %Error{reason: {:quota, :module_bytes}}} = deployed.("shop/b", 3, 140_000)
      for other <- ["blog/c", "c"], do: assert({:ok, _function} = deployed.(other, 1, 200_000))
      :ok = Peer.call(node, Tidepool, :remove, ["shop/b"])
      assert {:ok, _function} = deployed.("shop/c", 1, 60_000)
    end

    defp leb(bytes) when bytes < 128, do: <<bytes>>
    defp leb(bytes), do: <<1::1, bytes::7>> <> leb(Bitwise.bsr(bytes, 7))

    test "a namespace has removed no more names than it may, and those that are old are forgotten" do
      node = Peer.start!()
      assert {:ok, _function} = deploy(node, "shop/1")
      :ok = Peer.call(node, Tidepool, :remove, ["shop/1"])
      removed = Peer.call(node, Tidepool.Catalog, :entry, ["shop/1"])
      assert %Tidepool.Catalog.Entry{removed: true, stamp: {wall_ms, counter, replica}} = removed

      others =
        for number <- 2..10_000,
            do: %{removed | name: "shop/#{number}", stamp: {wall_ms, counter + number, replica}}

      :ok = Peer.call(node, Tidepool.Catalog, :accept, [others])
      assert {:error, %Error{reason: {:quota, :modules}, message: message}} = deploy(node, "shop/new")
      assert message =~ "10000 names were removed"
      # That is one less, and others' are none of them.
      for name <- ["blog/new", "new", "shop/2", "shop/new"], do: assert({:ok, _function} = deploy(node, name))
      send_there = fn message -> Peer.call(node, Kernel, :send, [Tidepool.Catalog, message]) end
      send_there.({:collect, System.os_time(:millisecond) + 60_000})
      eventually(fn -> Peer.call(node, Tidepool.Catalog, :entry, ["shop/3"]) == nil end)
      assert %{removed: false} = Peer.call(node, Tidepool.Catalog, :entry, ["shop/2"])

      # What is known of those that are gone: one that comes back from elsewhere is no news. It is on disk before what is deployed next.
      assert {:ok, _function} = deploy(node, "blog/next")
      Peer.halt(node)
      node = Peer.start!(data: node.data)
      assert %{horizon: {_wall_ms, _counter, ^replica}} = elem(Peer.call(node, Tidepool.Catalog, :known, []), 0)
      assert Peer.call(node, Tidepool.Catalog, :entry, ["shop/3"]) == nil
    end

    test "that are there have new versions, and go back to old ones, however small the quota has become" do
      node = Peer.start!(namespaces: "shop/modules=2")
      for name <- ["shop/a", "shop/b"], do: assert({:ok, _function} = deploy(node, name))
      # On one whose setting is another.
      Peer.halt(node)
      node = Peer.start!(data: node.data, namespaces: "shop/modules=1")
      assert {:error, %Error{reason: {:quota, :modules}}} = deploy(node, "shop/c")
      assert {:ok, %{version: 2}} = deploy(node, "shop/a", description: "mended")
      assert {:ok, %{version: 3}} = Peer.call(node, Tidepool, :rollback, ["shop/a"])
    end

    test "have a new version, and go back to one, while calls have all instances, of the namespace or of the node" do
      for settings <- [[namespaces: "shop/instances=1,shop/queue=0"], [max_instances: 1, max_queue: 0]] do
        node = Peer.start!(settings)
        assert {:ok, _function} = deploy(node, "shop/a")
        options = [name: "shop/a", limits: [time: 600_000]]
        assert {:ok, %{version: 2}} = Peer.call(node, Tidepool, :deploy, [guest("rust", "sleepy"), options])
        # The instance that the deploy has tried may still be on its way out.
        eventually(fn -> match?(%{live: 0}, Peer.call(node, Tidepool.Engine, :instances, [])) end)
        busy = Peer.async(node, Tidepool, :call, ["shop/a", "run", "600000", [timeout: 600_000]])
        eventually(fn -> match?(%{live: 1, queued: 0}, Peer.call(node, Tidepool.Engine, :instances, [])) end)
        assert {:error, %Error{reason: reason}} = Peer.call(node, Tidepool, :call, ["shop/a", "run", "0"])
        assert reason in [:overloaded, {:quota, :instances}]
        assert {:ok, %{version: 3}} = deploy(node, "shop/a")
        assert {:ok, %{version: 4}} = Peer.call(node, Tidepool, :rollback, ["shop/a"])
        Task.shutdown(busy, :brutal_kill)
        Peer.halt(node)
      end
    end

    test "over the quota are refused over HTTP with its name, and calls with when to come again" do
      node = Peer.start!(server: true, namespaces: %{"shop" => [modules: 1, calls_per_second: 1]})
      url = Peer.url(node, "/deploy")
      assert {201, _headers, _function} = curl_deploy_url(url, FaultVersion.module(1), name: "shop/cart")
      assert {429, headers, %{"error" => error}} = curl_deploy_url(url, FaultVersion.module(1), name: "shop/more")
      assert %{"reason" => "quota", "quota" => "modules", "namespace" => "shop", "allowed" => 1} = error
      refute is_map_key(headers, "retry-after")

      {429, headers, %{"error" => error}} =
        eventually(
          fn ->
            answer = curl_url(Peer.url(node, "/call/shop%2Fcart"))
            match?({429, _headers, _error}, answer) && answer
          end,
          20_000
        )

      assert %{"reason" => "quota", "quota" => "calls_per_second", "namespace" => "shop", "allowed" => 1} = error
      assert headers["retry-after"] == "1"
      {200, _headers, %{"reasons" => reasons}} = curl_url(Peer.url(node, "/figures/shop%2Fcart"))
      assert reasons["quota"] >= 1
      assert {200, _headers, metrics} = curl_url(Peer.url(node, "/metrics"))
      assert metrics =~ ~s(tidepool_calls_total{function="shop/cart",reason="quota"})
    end
  end

  describe "a program over its quota" do
    test "does not begin, and whoever starts it is told so" do
      node = Peer.start!(server: true, namespaces: "shop/calls_per_second=1")
      deploy!(node, "shop/puppet", guest("lunatic", "puppet"), [])

      {429, headers, %{"error" => error}} =
        eventually(
          fn ->
            answer = curl_url(Peer.url(node, "/processes/shop%2Fpuppet"), ["-X", "POST"])
            match?({429, _headers, _error}, answer) && answer
          end,
          20_000
        )

      assert %{"reason" => "quota", "quota" => "calls_per_second", "namespace" => "shop"} = error
      assert headers["retry-after"] == "1"
    end
  end

  describe "guests" do
    test "call functions and actors of their own namespace, and those without one, whatever their deploys grant" do
      node = Peer.start!(builtins: [:function, :actor])
      hello = guest("rust", "hello_world")

      for name <- ["shop/cart", "shop/prices", "blog/post", "mailer"],
          do: deploy!(node, name, hello, operation: "hello")

      for name <- ["shop/room", "blog/room"], do: deploy!(node, name, hello, actor: true)
      call = &Peer.call(node, Tidepool, :call, [&1, "host", "tidepool/" <> &2 <> "\nAda"])

      for {from, to} <- [
            {"shop/cart", "function/shop/prices"},
            {"shop/cart", "function/mailer"},
            {"shop/cart", "actor/shop%2Froom/1/hello"},
            {"mailer", "function/mailer"}
          ],
          do: assert({from, to, {:ok, "Hello, Ada!"}} == {from, to, call.(from, to)})

      for {from, to} <- [
            {"shop/cart", "function/blog/post"},
            {"shop/cart", "actor/blog%2Froom/1/hello"},
            {"mailer", "function/shop/prices"},
            {"mailer", "actor/shop%2froom/1/hello"}
          ] do
        assert {:error, %Error{reason: :guest_error, message: message}} = call.(from, to)
        assert message =~ "functions of a namespace can be called by guests of that namespace alone"
      end
    end
  end

  describe "deploys" do
    test "have the limits and the grants of their namespace where they say none, and none above its highest" do
      shop = [host: :none, limits: [time: 700, memory: 131_072], max_limits: [memory: 262_144, cpu_time: 50]]
      node = Peer.start!(limits: [cpu_time: 400], namespaces: %{"shop" => shop})

      assert {:ok, %{host: ["none"], limits: limits}} = deploy(node, "shop/cart")
      assert %{time: 700, memory: 131_072, cpu_time: 50} = limits
      assert {:ok, %{limits: %{memory: 262_144}}} = deploy(node, "shop/cart", limits: [memory: 262_144], host: ["*"])

      for limits <- [[memory: 262_145], [cpu_time: 51]] do
        assert {:error, %Error{reason: :invalid_option, details: %{step: :options}}} =
                 deploy(node, "shop/cart", limits: limits)
      end

      for other <- ["shop", "shopx/cart"] do
        assert {:ok, %{host: ["*"], limits: %{time: 5_000, cpu_time: 400}}} = deploy(node, other)
        assert {:ok, %{limits: %{memory: 1_048_576}}} = deploy(node, other, limits: [memory: 1_048_576])
      end
    end
  end

  describe "a quota of memory" do
    test "is the highest that a deploy's limits of bytes may be, and holds for defaults" do
      node = Peer.start!(namespaces: %{"shop" => [memory: 1_048_576, max_limits: [reply: 1_000]]})
      assert {:ok, %{limits: limits}} = deploy(node, "shop/cart")
      assert %{memory: 1_048_576, payload: 1_048_576, reply: 1_000, table: 65_536} = limits
      assert {:ok, _function} = deploy(node, "shop/cart", limits: [table: 131_072])

      for limits <- [[memory: 1_048_577], [payload: 1_048_577], [reply: 1_001], [table: 131_073]] do
        assert {:error, %Error{reason: :invalid_option, message: message}} = deploy(node, "shop/cart", limits: limits)
        assert message =~ "at most here"
      end

      assert Setting.read("a/instances=1")["a"].max_limits == %{}
    end
  end

  describe "an application that floods its namespace" do
    test "has its quota, and another is answered meanwhile" do
      quotas = %{"a" => [instances: 2, queue: 4, calls_per_second: 50]}
      node = Peer.start!(server: true, max_instances: 8, namespaces: quotas)
      spin = guest("wat", "loop")
      deploy!(node, "a/spin", spin, limits: [cpu_time: 300, time: 10_000])
      deploy!(node, "b/hello", guest("rust", "hello_world"), [])
      test = self()

      # So many ask at once, each again as soon as it is answered, until they are told to leave off.
      flood =
        for _one <- 1..16 do
          Task.async(fn ->
            fn -> curl_url(Peer.url(node, "/call/a%2Fspin")) end
            |> Stream.repeatedly()
            |> Enum.reduce_while(%{}, fn {status, _headers, body}, counts ->
              reason = with %{"error" => %{"reason" => reason}} <- body, do: reason
              send(test, {:flooded, status})
              counts = Map.update(counts, reason, 1, &(&1 + 1))
              receive(do: (:enough -> {:halt, counts}), after: (0 -> {:cont, counts}))
            end)
          end)
        end

      # The flood is over its quota by now.
      assert_receive {:flooded, 429}

      for _turn <- 1..30 do
        assert {200, _headers, "Hello, world!"} = curl_url(Peer.url(node, "/call/b%2Fhello/hello"))
        assert %{live: live} = Peer.call(node, Tidepool.Engine, :instances, [])
        # Its two, those of the calls of b, and none more.
        assert live <= 3
      end

      for task <- flood, do: send(task.pid, :enough)
      counts = flood |> Task.await_many(60_000) |> Enum.reduce(&Map.merge(&1, &2, fn _reason, a, b -> a + b end))
      assert counts["quota"] > 0
      assert Map.keys(counts) -- ["quota", "limit", "overloaded", "timeout"] == []
    end
  end
end
