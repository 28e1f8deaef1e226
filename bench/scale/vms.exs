defmodule Bench.Scale.VMs do
  @moduledoc "Virtual machines of the bench: processes of their own, pinned to cores, driven over standard input."

  # Compiled here, and loaded into each VM.
  @code (for file <- ["../support.exs", "subjects.exs"], compiled <- Code.require_file(file, __DIR__) || [] do
           compiled
         end)

  @typedoc "A running VM."
  @type t :: pid

  @doc "Starts a VM of so many schedulers on these cores, as taskset names them, with Tidepool's code and nothing started."
  @spec start!(pos_integer, String.t()) :: t
  def start!(schedulers, cores) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    erl = Path.join([:code.root_dir(), "bin", "erl"])
    flags = ["+S", "#{schedulers}:#{schedulers}", "-kernel", "logger_level", "error"]
    taskset = {to_charlist(System.find_executable("taskset")), Enum.map(["-c", cores, erl], &to_charlist/1)}
    args = Enum.map(flags, &to_charlist/1) ++ paths
    {:ok, vm, _name} = :peer.start_link(%{connection: :standard_io, exec: taskset, args: args, wait_boot: 60_000})
    for {module, binary} <- @code, do: on(vm, :code, :load_binary, [module, ~c"bench", binary])
    vm
  end

  @doc "Starts Tidepool there with these settings, on a folder of the bench."
  @spec boot!(t, keyword) :: :ok
  def boot!(vm, settings) do
    {:ok, _started} = on(vm, Bench.Scale.Subjects, :boot, [settings])
    :ok
  end

  @doc "Calls any function there."
  @spec on(t, module, atom, list) :: term
  def on(vm, module, function, arguments), do: :peer.call(vm, module, function, arguments, 300_000)

  @doc "What Linux says of the VM: memory in RAM and address space in bytes, and threads."
  @spec usage(t) :: %{resident: non_neg_integer, address_space: non_neg_integer, threads: pos_integer}
  def usage(vm) do
    status = on(vm, File, :read!, ["/proc/self/status"])
    number = fn name -> Regex.run(~r/^#{name}:\s+(\d+)/m, status) |> List.last() |> String.to_integer() end
    %{resident: number.("VmRSS") * 1_024, address_space: number.("VmSize") * 1_024, threads: number.("Threads")}
  end

  @doc """
  Has Linux give a process and another one like it as much of busy cores together as one process gets.

  Where each session is a group of its own (`sched_autogroup_enabled`), groups and not threads share the cores with what
  else runs: two processes have twice the part of one, and would win for that alone. A nice value of 3 halves the weight.
  """
  @spec halve_weight(pos_integer | String.t()) :: :ok
  def halve_weight(os_pid) do
    # Without groups there is no such file, or it has no effect.
    _ = File.write("/proc/#{os_pid}/autogroup", "3")
    :ok
  end

  @doc "Ends Tidepool and the VM."
  @spec stop(t) :: :ok
  def stop(vm) do
    :ok = on(vm, Application, :stop, [:tidepool])
    :peer.stop(vm)
  end
end
