defmodule Tidepool.ActorVersionsTest do
  # What becomes of actors that there are when another module is deployed as their class.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error}
  alias Tidepool.Catalog.BlobStore

  import Tidepool.ActorScript

  # Another module that does the same: with a custom section of its own.
  defp module(version), do: guest("rust", "ledger") <> <<0, 3, 2, "v", version + ?0>>

  defp class!(versions), do: deploy_bytes!(module(1), actor: [versions: versions])

  defp deploy(class, wasm, actor) do
    {:ok, function} = Tidepool.deploy(wasm, name: class, actor: actor)
    function.version
  end

  defp host(class, name, script), do: Actor.call(class, name, "host", IO.iodata_to_binary(script))

  # Those with a sum of 1, a value and an alarm: one that is awake, and one that sleeps.
  defp actors!(class) do
    for name <- ["awake", "asleep"] do
      {:ok, "1"} = Actor.call(class, name, "add", "1", request_id: "a")
      {:ok, _at} = host(class, name, [put("a", "1"), ask("alarm", "set", "+100000\nadd")])
      if name == "asleep", do: :ok = Actor.stop(class, name)
      name
    end
  end

  test "pin has them stay, and new ones begin with the new module" do
    class = class!(:pin)
    names = actors!(class)
    deploy(class, module(2), true)

    for name <- names do
      assert {:ok, "2"} = Actor.call(class, name, "add", "1")
      assert {:ok, %{version: 1, stayed: nil}} = Actor.info(class, name)
    end

    {:ok, "0"} = Actor.call(class, "new", "sum")
    assert {:ok, %{version: 2}} = Actor.info(class, "new")
  end

  test "a module among the records that is another than its hash says is not run" do
    class = class!(:pin)
    {:ok, "1"} = Actor.call(class, "asleep", "add", "1")
    :ok = Actor.stop(class, "asleep")
    deploy(class, module(2), true)
    {:ok, records} = Actor.Journal.records()
    sha256 = BlobStore.sha256(module(1))
    :ok = Actor.Journal.commit(records, "", sha256, {:put, 1, 2, nil, class, module(3), []})
    assert {:error, %Error{reason: :no_store, message: message}} = Actor.call(class, "asleep", "add", "1")
    assert message =~ sha256
    :ok = Actor.Journal.commit(records, "", sha256, {:put, 1, 3, nil, class, module(1), []})
    assert {:ok, "2"} = Actor.call(class, "asleep", "add", "1")
  end

  test "migrate has the old module save and the new one load, with its values, once" do
    class = class!(:migrate)
    names = actors!(class)

    for version <- 2..3, _version = ^version = deploy(class, module(version), versions: :migrate), name <- names do
      assert {:ok, sum} = Actor.call(class, name, "add", "1")
      assert sum == "#{version}"
      before = "#{version - 1}"
      assert {:ok, <<1, ^before::binary>>} = host(class, name, [get("from")])
      assert {:ok, <<1, "1">>} = host(class, name, [get("a")])

      assert {:ok, %{version: ^version, value_bytes: 7, alarm: %{operation: "add"}, stayed: nil}} =
               Actor.info(class, name)

      :ok = Actor.stop(class, name)
      assert {:ok, ^sum} = Actor.call(class, name, "sum")
      # What was answered before is not done again.
      assert {:ok, "1"} = Actor.call(class, name, "add", "1", request_id: "a")
    end

    # The same module with other options is no other version.
    deploy(class, module(3), versions: :migrate, idle: 1_000)
    assert {:ok, "3"} = Actor.call(class, "awake", "sum")
    assert {:ok, %{version: 3}} = Actor.info(class, "awake")
  end

  test "an actor that can't go over stays as it was, on its version, and says so; the next version is tried again" do
    class = class!(:migrate)

    for {name, sum} <- [{"refused", "13"}, {"traps", "14"}], sleep? <- [false, true] do
      name = "#{name} #{sleep?}"
      {:ok, ^sum} = Actor.call(class, name, "add", sum)
      {:ok, ""} = host(class, name, [put("from", "me")])
      if sleep?, do: :ok = Actor.stop(class, name)
    end

    version = deploy(class, module(2), versions: :migrate)

    for {name, sum} <- [{"refused", 13}, {"traps", 14}], sleep? <- [false, true] do
      name = "#{name} #{sleep?}"
      log = ExUnit.CaptureLog.capture_log(fn -> assert {:ok, "#{sum + 1}"} == Actor.call(class, name, "add", "1") end)
      assert log =~ "#{class}/#{name} can't go over to version 2, and stays on 1"
      assert {:ok, <<1, "me">>} = host(class, name, [get("from")])
      :ok = Actor.stop(class, name)
      assert {:ok, %{version: 1, value_bytes: 6, stayed: %{version: ^version, why: why}}} = Actor.info(class, name)
      assert why =~ if(sum == 13, do: "nobody wants 13", else: "unreachable")
      # It is not asked again for the same, though it would be let in by now.
      assert {:ok, "#{sum + 2}"} == Actor.call(class, name, "add", "1")
      assert {:ok, %{version: 1}} = Actor.info(class, name)
    end

    version = deploy(class, module(3), versions: :migrate)
    assert {:ok, "15"} = Actor.call(class, "refused true", "sum")
    assert {:ok, %{version: ^version, stayed: nil}} = Actor.info(class, "refused true")
  end

  test "a module that can't save leaves its actors on it" do
    class = deploy_bytes!(guest("rust", "counter"), actor: [versions: :migrate])
    {:ok, "1"} = Actor.call(class, "alice", "next")
    deploy(class, module(1), versions: :migrate)
    assert {:ok, "2"} = Actor.call(class, "alice", "next")
    assert {:ok, %{version: 1, stayed: %{why: why}}} = Actor.info(class, "alice")
    assert why =~ "actor_save"
  end

  test "kv drops their memory, and keeps their values, alarm and answers" do
    class = class!(:kv)
    names = actors!(class)
    deploy(class, module(2), versions: :kv)

    for name <- names do
      # What changes nothing at first.
      assert {:ok, "0"} = Actor.call(class, name, "sum")
      :ok = Actor.stop(class, name)
      assert {:ok, "0"} = Actor.call(class, name, "sum")
      assert {:ok, "1"} = Actor.call(class, name, "add", "1", request_id: "a")
      assert {:ok, <<1, "1">>} = host(class, name, [get("a")])
      assert {:ok, %{version: 2, value_bytes: 2, alarm: %{operation: "add"}}} = Actor.info(class, name)
    end

    assert {:ok, "5"} = Actor.call(class, "asleep", "add", "5")
    :ok = Actor.stop(class, "asleep")
    assert {:ok, "5"} = Actor.call(class, "asleep", "sum")
  end

  test "reset drops all of them" do
    class = class!(:pin)
    names = actors!(class)
    deploy(class, module(2), versions: :reset)

    for name <- names do
      assert {:ok, "0"} = Actor.call(class, name, "sum", "", create: false)
      assert {:ok, ""} = host(class, name, [get("a")])
      assert {:ok, %{version: 2, value_bytes: 0, alarm: nil}} = Actor.info(class, name)
      assert {:ok, "1"} = Actor.call(class, name, "add", "1", request_id: "a")
    end
  end

  test "an alarm that is due is called of the version that its actor goes over to" do
    class = class!(:migrate)
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    {:ok, at} = host(class, "alice", [ask("alarm", "set", "+100000\nadd")])
    :ok = Actor.stop(class, "alice")
    version = deploy(class, module(2), versions: :migrate)
    # As if it were due.
    assert {:ok, ""} = Actor.ring(class, "alice", String.to_integer(at))
    assert {:ok, %{version: ^version, alarm: nil}} = Actor.info(class, "alice")
    assert {:ok, "#{String.to_integer(at) + 1}"} == Actor.call(class, "alice", "sum")
  end

  test "versions hand over by operations that nobody else calls" do
    class = class!(:migrate)

    for operation <- ["actor_save", "actor_load"] do
      assert {:error, %Error{reason: :invalid_option}} = Actor.call(class, "alice", operation, "1\n100")
      assert {:error, %Error{reason: :invalid_option}} = Actor.cast(class, "alice", operation, "1\n100")
      assert {:ok, "! alarm set: " <> _why} = host(class, "alice", [ask("alarm", "set", "5\n" <> operation)])
    end
  end

  test "calls at the same time as a deploy find what those before have left" do
    class = class!(:migrate)

    callers =
      for _caller <- 1..4 do
        Task.async(fn -> for _call <- 1..50, do: {:ok, _sum} = Actor.call(class, "alice", "add", "100") end)
      end

    for version <- 2..4, do: deploy(class, module(version), versions: :migrate)
    Task.await_many(callers, 60_000)
    assert {:ok, "20000"} = Actor.call(class, "alice", "sum")
    assert {:ok, %{version: 4}} = Actor.info(class, "alice")
  end
end
