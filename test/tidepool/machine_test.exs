defmodule Tidepool.MachineTest do
  # Not async: makes control groups, which are the machine's.
  use Tidepool.Case

  alias Tidepool.{Config, Engine}
  alias TidepoolWeb.Listener

  @gib 1_073_741_824
  @mib 1_048_576

  # What limits a group, in each version of control groups, and what is written there for no limit and for one core. In version 1 each
  # controller has a tree; in version 2 a group may limit what the one around it says.
  @controllers %{
    memory: [
      {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
      {"/sys/fs/cgroup/unified", "memory.max"},
      {"/sys/fs/cgroup", "memory.max"}
    ],
    cpu: [
      {"/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000"},
      {"/sys/fs/cgroup/unified", "cpu.max", "100000 100000"},
      {"/sys/fs/cgroup", "cpu.max", "100000 100000"}
    ]
  }

  # The first tree in which a group can be made that has the file.
  usable = fn candidates ->
    Enum.find(candidates, fn candidate ->
      probe = Path.join(elem(candidate, 0), "tidepool-probe-#{System.pid()}")

      with :ok <- File.mkdir(probe) do
        limits? = File.exists?(Path.join(probe, elem(candidate, 1)))
        File.rmdir!(probe)
        limits?
      else
        {:error, _reason} -> false
      end
    end)
  end

  @memory usable.(@controllers.memory)
  @cpu usable.(@controllers.cpu)
  @no_memory is_nil(@memory) && "excluded: no control group for memory can be made here"
  @no_cpu is_nil(@cpu) && "excluded: no control group for cores can be made here"

  @tag skip: @no_memory
  test "a node in a container has the container's memory, or that of one around it, when this is less" do
    {root, limit} = @memory
    {outer, inner} = groups!(root)
    {machine, _cores} = Engine.machine()
    assert machine > 2 * @gib, "this test tells nothing on a machine of 2 GiB"

    assert {^machine, _cores} = machine_within([inner])
    File.write!(Path.join(outer, limit), "#{@gib}")
    assert {@gib, _cores} = machine_within([outer])
    assert {@gib, _cores} = machine_within([inner])
    File.write!(Path.join(inner, limit), "#{div(@gib, 2)}")
    assert machine_within([inner]) |> elem(0) == div(@gib, 2)
    # The tightest counts, not the innermost.
    File.write!(Path.join(inner, limit), "#{@gib}")
    File.write!(Path.join(outer, limit), "#{div(@gib, 2)}")
    assert machine_within([inner]) |> elem(0) == div(@gib, 2)
  end

  @tag skip: @no_cpu
  test "a node in a container has the container's cores, or those of one around it, when these are fewer" do
    {root, limit, one_core} = @cpu
    {outer, inner} = groups!(root)
    {_memory, cores} = Engine.machine()
    assert cores > 1, "this test tells nothing on a machine of one core"

    assert {_memory, ^cores} = machine_within([inner])
    File.write!(Path.join(outer, limit), one_core)
    assert {_memory, 1} = machine_within([outer])
    assert {_memory, 1} = machine_within([inner])
  end

  @tag skip: @no_memory || @no_cpu
  test "what no setting says is a part of what the groups around the node give" do
    {memory_root, memory_limit} = @memory
    {cpu_root, cpu_limit, one_core} = @cpu
    {outer, inner} = groups!(memory_root)
    {outer_cpu, inner_cpu} = if cpu_root == memory_root, do: {outer, inner}, else: groups!(cpu_root)
    File.write!(Path.join(outer, memory_limit), "#{@gib}")
    File.write!(Path.join(outer_cpu, cpu_limit), one_core)

    started = """
    {:ok, _} = Application.ensure_all_started(:tidepool)
    threads = for folder <- Path.wildcard("/proc/self/task/*"), do: folder |> Path.join("comm") |> File.read!() |> String.trim()
    {:ok, config} = Tidepool.Config.Schema.check(data: :temporary)
    config |> Tidepool.Engine.native(Tidepool.Engine.machine()) |> Map.put(:threads, Enum.frequencies(threads))
    """

    settings = within(Enum.uniq([inner, inner_cpu]), started)
    assert settings.max_total_memory_bytes == 768 * @mib
    assert settings.max_code_bytes == 256 * @mib
    assert settings.compile_memory_bytes == 256 * @mib
    assert %{io_threads: 1, compile_threads: 1, max_computing: 1} = settings
    assert %{"tidepool-io" => 1, "tidepool-edge" => 1} = settings.threads
  end

  test "bodies in memory have an eighth of what a small machine has, and always room for the largest three" do
    {:ok, config} = Config.Schema.check(data: :temporary, max_module: 8 * @mib, max_payload: 16 * @mib)
    buffered = fn memory -> Listener.native(config, [], {memory, 1}).max_buffered_bytes end
    assert buffered.(64 * @gib) == @gib
    assert buffered.(@gib) == 128 * @mib
    # Three times the payload, with what a form may have beside it.
    assert buffered.(64 * @mib) == 3 * (16 * @mib + 65_536)
  end

  test "what a setting says counts, whatever the machine has" do
    settings = [io_threads: 7, compile_threads: 5, max_memory: 3 * @gib, max_code: 2 * @gib, compile_memory: @gib]
    {:ok, config} = Config.Schema.check([data: :temporary] ++ settings)
    native = Engine.native(config, {@gib, 1})
    assert %{io_threads: 7, compile_threads: 5} = native
    assert native.max_total_memory_bytes == 3 * @gib
    assert native.max_code_bytes == 2 * @gib
    assert native.compile_memory_bytes == @gib
  end

  # A group, and one in it.
  defp groups!(root) do
    outer = Path.join(root, unique_name("tidepool-test-#{System.pid()}"))
    inner = Path.join(outer, "inner")
    on_exit(fn -> Enum.each([inner, outer], &File.rmdir/1) end)
    File.mkdir!(outer)
    # Version 1 has no such file.
    File.write(Path.join(outer, "cgroup.subtree_control"), "+memory +cpu", [:write])
    File.mkdir!(inner)
    {outer, inner}
  end

  defp machine_within(groups), do: within(groups, "Tidepool.Engine.machine()")

  # What a VM of its own, started within the groups, makes of an expression.
  defp within(groups, expression) do
    ebin = :code.lib_dir(:tidepool, :ebin)
    joins = Enum.map_join(groups, " && ", &"echo $$ > #{&1}/cgroup.procs")
    # What is logged goes to the standard output, too.
    script = ~s|IO.puts("result: " <> Base.encode64(:erlang.term_to_binary((#{expression}))))|
    {output, 0} = System.cmd("sh", ["-c", ~s|#{joins} && exec elixir -pa #{ebin} -e "$0"|, script])
    [[_line, result]] = Regex.scan(~r/^result: (\S+)$/m, output)
    result |> Base.decode64!() |> :erlang.binary_to_term()
  end
end
