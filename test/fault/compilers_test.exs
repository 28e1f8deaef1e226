defmodule Tidepool.Fault.CompilersTest do
  # Not async: looks at all compilers of this VM.
  use Tidepool.Case

  alias Tidepool.{FaultNative, Native, SlowModule, TestModule}
  alias Tidepool.Catalog.Entry
  alias Tidepool.Function.Loader

  setup do
    eventually(fn -> compilers() == [] end, 30_000)
    :ok
  end

  test "a compiler ends with the process that waits for it" do
    runtime = FaultNative.runtime(%{compile_time_ms: 3_600_000})
    test = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        Native.compile(runtime, SlowModule.wasm(), FaultNative.compile_config())
        send(test, :begun)
        Process.sleep(:infinity)
      end)

    assert_receive :begun
    eventually(fn -> compilers() != [] end, 60_000)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    eventually(fn -> compilers() == [] end, 60_000)
  end

  test "a module that nobody waits for any more, for its client has hung up, is not compiled any further" do
    form = Path.join(tmp_folder!(), "slow.wasm")
    File.write!(form, SlowModule.wasm())
    arguments = ~w(-s -F name=slow -F wasm=@#{form} #{url("/deploy")})
    curl = Port.open({:spawn_executable, System.find_executable("curl")}, [:exit_status, args: arguments])
    eventually(fn -> compilers() != [] end, 60_000)
    {:os_pid, pid} = Port.info(curl, :os_pid)
    {_output, 0} = System.cmd("kill", ["-9", "#{pid}"])
    assert_receive {^curl, {:exit_status, 137}}
    # A compiler that goes on has its whole time: see the setting :compile_time.
    taken = until_gone(0)
    assert taken < Tidepool.Config.get(:compile_time) * 0.8
    assert {:error, %Tidepool.Error{reason: :not_deployed}} = Tidepool.fetch("slow")
  end

  test "others deploy, call and are answered beside a module that takes too long to compile, whose deployer is told" do
    deploy = Task.async(fn -> Tidepool.deploy(SlowModule.wasm(), name: unique_name("slow"), engine: :dense) end)
    eventually(fn -> compilers() != [] end, 60_000)

    name = deploy!("rust", "hello_world")
    assert {:ok, "Hello, Ada!"} = Tidepool.call(name, "hello", "Ada")
    assert Task.yield(deploy, 0) == nil

    assert {:error, %Tidepool.Error{reason: :too_demanding, message: message}} = Task.await(deploy, 300_000)
    assert message =~ "CPU time"
    eventually(fn -> compilers() == [] end, 60_000)
  end

  test "a module waits for no more modules of another namespace than it has had itself" do
    # One for all modules, and one for small ones.
    threads = 2
    runtime = FaultNative.runtime(%{compile_time_ms: 3_600_000})
    held = for _thread <- 1..threads, do: spawn(fn -> hold(runtime) end)
    on_exit(fn -> for pid <- held, do: Process.exit(pid, :kill) end)
    eventually(fn -> length(compilers()) == threads end, 60_000)
    wasm = guest("rust", "hello_world")

    compile = fn name, number ->
      Native.compile(runtime, TestModule.variant(wasm, number), Map.put(FaultNative.compile_config(), :name, name))
    end

    for number <- 1..40, do: compile.("many/#{number}", number)
    few = compile.("few/one", 41)

    # One thread goes on: what it ends one after another it has begun one after another, however long the system has it wait.
    Process.exit(hd(held), :kill)

    ids =
      for _module <- 1..41,
          do: assert_receive({:tidepool_compiled, id, {:ok, _module, _facts}, _us} when is_integer(id), 120_000)

    before = ids |> Enum.map(&elem(&1, 1)) |> Enum.find_index(&(&1 == few))
    # Of one queue for all it would be the last.
    assert before < 2 * threads
  end

  # Keeps a thread that compiles for as long as the process lives.
  defp hold(runtime) do
    Native.compile(runtime, SlowModule.wasm(), FaultNative.compile_config())
    Process.sleep(:infinity)
  end

  test "a compiler that dies is an error of its own deploy" do
    deploy = Task.async(fn -> Tidepool.deploy(SlowModule.wasm(), name: unique_name("killed")) end)
    eventually(fn -> compilers() != [] end, 60_000)
    {_output, 0} = System.cmd("kill", ["-9" | compilers()])
    assert {:error, %Tidepool.Error{reason: :internal}} = Task.await(deploy, 60_000)
    assert {:ok, "Hello, Ada!"} = Tidepool.call(deploy!("rust", "hello_world"), "hello", "Ada")
  end

  test "a compiler that dies takes no function out that was deployed before" do
    name = unique_name("deployed")
    # Takes seconds to be optimised, and is kept from no other test: a section of its own makes it another module.
    wasm = guest("go", "hello_world") <> <<0, byte_size(name) + 1, byte_size(name), name::binary>>

    entry = %Entry{
      name: name,
      version: 1,
      sha256: Tidepool.Catalog.BlobStore.sha256(wasm),
      size: byte_size(wasm),
      operation: "any",
      instances: :fresh,
      engine: :dense,
      limits: %{},
      snapshot: false,
      deployed_at: 0
    }

    for {how, compile} <- [new: &Loader.compile/2, deployed: &Loader.compile_deployed/2] do
      compiled = Task.async(fn -> compile.(wasm, entry) end)
      eventually(fn -> compilers() != [] end, 60_000)
      {_output, 0} = System.cmd("kill", ["-9" | compilers()])

      case {how, Task.await(compiled, 120_000)} do
        {:new, result} -> assert {:error, %Tidepool.Error{reason: :internal}} = result
        {:deployed, result} -> assert {:ok, %{abi: :wapc, cached: false}} = result
      end
    end
  end

  # Most CPU time that a compiler was seen to have taken, in ms, until none is left.
  defp until_gone(most) do
    case Enum.map(compilers(), &cpu_ms/1) do
      [] -> most
      seen -> until_gone(Enum.max([most | seen]))
    end
  end

  defp compilers do
    own = System.pid()
    for pid <- File.ls!("/proc"), pid =~ ~r/^\d+$/, match?(["tidepool_compil", ^own | _times], stat(pid)), do: pid
  end

  # In hundredths of a second each: what it has computed, and what the kernel has for it.
  defp cpu_ms(pid) do
    case stat(pid) do
      [_name, _parent, user, system] -> (String.to_integer(user) + String.to_integer(system)) * 10
      nil -> 0
    end
  end

  # `[name, parent, user, system]` of a process.
  defp stat(pid) do
    with {:ok, stat} <- File.read("/proc/#{pid}/stat") do
      [_stat, name, rest] = Regex.run(~r/^\d+ \((.*)\) (.*)$/s, stat)
      fields = String.split(rest)
      [name | Enum.map([1, 11, 12], &Enum.at(fields, &1))]
    else
      {:error, _gone} -> nil
    end
  end
end
