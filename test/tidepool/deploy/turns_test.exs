defmodule Tidepool.DeployTurnsTest do
  # Looks at modules that are deployed, in turns of their namespaces.
  use Tidepool.Case, async: true

  alias Tidepool.Error
  alias Tidepool.Namespaces.{Name, Turns}

  # Processes that have all turns of a function's namespace, each until it is told to go on.
  defp hold(function) do
    {most, :infinity} = Turns.bounds(:images)
    test = self()

    work = fn ->
      send(test, {:has, self()})
      receive do: (:go_on -> :ok)
    end

    for _turn <- 1..most, do: spawn(fn -> Turns.run(:images, function, :infinity, work) end)

    holders =
      for _turn <- 1..most do
        assert_receive {:has, holder}, 20_000
        holder
      end

    on_exit(fn -> for holder <- holders, do: Process.exit(holder, :kill) end)
    holders
  end

  test "a module that is deployed is looked at in a turn of its namespace, and one of another namespace waits for none of these" do
    [name, other] = for _name <- 1..2, do: unique_name("space") <> "/hello"
    wasm = guest("rust", "hello_world")
    [holder | _others] = hold(name)
    deployed = Task.async(fn -> Tidepool.deploy(wasm, name: name) end)
    eventually(fn -> match?({_most, 1}, Turns.count(:images, name)) end, 20_000)
    assert {:ok, _function} = Tidepool.deploy(wasm, name: other)
    assert {_most, 1} = Turns.count(:images, name)
    send(holder, :go_on)
    assert {:ok, _function} = Task.await(deployed, 60_000)
    for name <- [name, other], do: remove!(name)
  end

  test "a deploy that is given up leaves the line, and a module that is too large is not looked at" do
    name = unique_name("space") <> "/hello"
    holders = hold(name)
    deploying = spawn(fn -> Tidepool.deploy(guest("rust", "hello_world"), name: name) end)
    eventually(fn -> match?({_most, 1}, Turns.count(:images, name)) end, 20_000)
    Process.exit(deploying, :kill)
    eventually(fn -> match?({_most, 0}, Turns.count(:images, name)) end, 20_000)
    large = :binary.copy(<<0>>, Tidepool.Config.get(:max_module) + 1)
    assert {:error, %Error{reason: :too_large}} = Tidepool.deploy(large, name: name)
    for holder <- holders, do: send(holder, :go_on)
  end

  # A client hung up while its module was looked at, which goes on for a second: the next one had the turn, and so both of the VM's threads.
  test "a module is looked at to the end in a turn of its namespace, whoever has given its deploy up" do
    name = unique_name("space") <> "/hello"
    # Sections without a name, as many as a module may have.
    sections = div(Tidepool.Config.get(:max_module) - 8, 3)
    wasm = <<"\0asm", 1::little-32>> <> :binary.copy(<<0, 1, 0>>, sections)
    deploying = spawn(fn -> Tidepool.deploy(wasm, name: name) end)
    looking = eventually(fn -> looks(name, deploying) end, 20_000)
    monitors = for pid <- [deploying, looking], do: Process.monitor(pid)
    Process.exit(deploying, :kill)
    [gone, over] = monitors
    assert_receive {:DOWN, ^gone, :process, ^deploying, :killed}, 20_000

    held = Turns.count(:images, name)

    over? =
      receive do
        {:DOWN, ^over, :process, ^looking, _reason} -> true
      after
        # Who has given its turn back is about to end.
        if(held == {1, 0}, do: 0, else: 20_000) -> false
      end

    assert held == {1, 0} or over?
    eventually(fn -> Turns.count(:images, name) == {0, 0} end, 60_000)
  end

  # The process that has the turn which a deploy took, once it has it.
  defp looks(name, deploying) do
    case :ets.match(Turns, {{{:images, Name.of(name)}, :_}, :"$1"}) do
      [[pid]] when pid != deploying -> pid
      _yet_to_be -> nil
    end
  end
end
