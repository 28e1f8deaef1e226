defmodule Tidepool.MachineMemoryTest do
  # Not async: makes control groups, which are the machine's.
  use Tidepool.Case

  alias Tidepool.Native

  @gib 1_073_741_824

  # Version 1 has a hierarchy for memory; in version 2 a group may limit it where the one around it says so.
  @hierarchy Enum.find_value(
               [
                 {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                 {"/sys/fs/cgroup/unified", "memory.max"},
                 {"/sys/fs/cgroup", "memory.max"}
               ],
               fn {root, limit} ->
                 probe = Path.join(root, "tidepool-probe-#{System.pid()}")

                 with :ok <- File.mkdir(probe) do
                   limits? = File.exists?(Path.join(probe, limit))
                   File.rmdir!(probe)
                   if limits?, do: {root, limit}
                 else
                   {:error, _reason} -> nil
                 end
               end
             )

  @tag skip: is_nil(@hierarchy) && "no control group for memory can be made here"
  test "a node in a container has the container's memory, or that of one around it, when this is less" do
    [{root, limit}] = List.wrap(@hierarchy)
    outer = Path.join(root, unique_name("tidepool-test-#{System.pid()}"))
    inner = Path.join(outer, "inner")
    on_exit(fn -> Enum.each([inner, outer], &File.rmdir/1) end)
    machine = Native.machine_memory()
    assert machine > 2 * @gib, "this test tells nothing on a machine of 2 GiB"

    File.mkdir!(outer)
    if limit == "memory.max", do: File.write(Path.join(outer, "cgroup.subtree_control"), "+memory")
    File.mkdir!(inner)
    assert memory_within(inner) == machine
    File.write!(Path.join(outer, limit), "#{@gib}")
    assert memory_within(outer) == @gib
    assert memory_within(inner) == @gib
    File.write!(Path.join(inner, limit), "#{div(@gib, 2)}")
    assert memory_within(inner) == div(@gib, 2)
  end

  # What a VM of its own says that is started within the group.
  defp memory_within(group) do
    ebin = :code.lib_dir(:tidepool, :ebin)
    join = "echo $$ > #{group}/cgroup.procs && exec elixir -pa #{ebin} -e 'IO.puts(Tidepool.Native.machine_memory())'"
    {output, 0} = System.cmd("sh", ["-c", join])
    output |> String.trim() |> String.to_integer()
  end
end
