defmodule Tidepool.RecordingTurnsTest do
  # Whose turn it is to have files of recordings read, on threads that actors and the catalog need as well.
  use Tidepool.Case, async: true

  alias Tidepool.Namespaces.Turns
  alias Tidepool.Recording

  # A process that has the turn of a function's namespace until it is told to go on.
  defp hold(kind, function) do
    test = self()

    work = fn ->
      send(test, {:has, self()})
      receive do: (:go_on -> :ok)
    end

    spawn(fn -> Turns.run(kind, function, :infinity, work) end)
    assert_receive {:has, holder}, 20_000
    on_exit(fn -> Process.exit(holder, :kill) end)
    holder
  end

  test "files of recordings are read in a turn of their namespace, by lists and by deploys that are verified, and one of another waits for none" do
    [name, other] = for _name <- 1..2, do: unique_name("space") <> "/hello"
    wasm = guest("rust", "hello_world")
    for name <- [name, other], do: {:ok, _function} = Tidepool.deploy(wasm, name: name, record: :all)
    {:ok, _greeting} = Tidepool.call(name, "hello", "Ada")
    holder = hold(:recordings, name)
    listed = Task.async(fn -> Recording.list(name) end)
    eventually(fn -> Turns.count(:recordings, name) == {1, 1} end, 20_000)
    deployed = Task.async(fn -> Tidepool.deploy(guest("zig", "hello_world"), name: name, verify: [last: 10]) end)
    eventually(fn -> Turns.count(:recordings, name) == {1, 2} end, 20_000)
    assert {:ok, []} = Recording.list(other)
    assert Turns.count(:recordings, name) == {1, 2}
    send(holder, :go_on)
    assert {:ok, [%{function: ^name}]} = Task.await(listed, 60_000)
    assert {:ok, %{version: 2}} = Task.await(deployed, 60_000)
    for name <- [name, other], do: remove!(name)
  end

  test "a list that a token of one namespace asks for takes no turn of the namespace whose functions it names" do
    [name, other] = for _name <- 1..2, do: unique_name("space") <> "/hello"
    holder = hold(:recordings, other)
    assert {:ok, []} = Recording.list(other, 10, name)
    assert Turns.count(:recordings, other) == {1, 0}
    send(holder, :go_on)
  end

  test "a namespace replays two recordings at a time, and further ones wait" do
    name = unique_name("space") <> "/hello"
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name, record: :all)
    {:ok, _greeting} = Tidepool.call(name, "hello", "Ada")
    {:ok, [%{id: id}]} = Recording.list(name)
    {:ok, recording} = Recording.fetch(id, name)
    [holder, _another] = for _turn <- 1..2, do: hold(:replays, name)
    replayed = Task.async(fn -> Recording.replay(recording) end)
    eventually(fn -> Turns.count(:replays, name) == {2, 1} end, 20_000)
    deployed = Task.async(fn -> Tidepool.deploy(guest("zig", "hello_world"), name: name, verify: [last: 10]) end)
    eventually(fn -> Turns.count(:replays, name) == {2, 2} end, 20_000)
    send(holder, :go_on)
    assert {:ok, %{"verdict" => "same"}} = Task.await(replayed, 60_000)
    assert {:ok, %{version: 2}} = Task.await(deployed, 60_000)
    remove!(name)
  end
end
