defmodule Tidepool.Peer do
  @moduledoc """
  A node of its own: another process of the operating system with settings, data and edge of its own, driven over its
  standard input. It ends with the test that started it, or with its module when `setup_all` did.

  With a name it is distributed, beside that: `cut/2` and `heal/2` part such nodes and let them meet again, and the test
  goes on driving both.
  """

  @enforce_keys [:pid, :data]
  defstruct @enforce_keys ++ [:node, :cookie]

  @call_ms 180_000
  # A busy machine takes longer than the 15 s that `:peer` waits for by itself.
  @boot_ms 120_000

  @doc """
  Starts a node and Tidepool on it. `settings` are those of `config :tidepool`; the edge is off unless they say so.

  ## Options

  - `:name`: makes it a distributed node on 127.0.0.1; see `name/1`. Needs `:cookie` as well.
  - `:cookie`: an atom; see `cookie/0`.
  - `:args`: further arguments of `erl`, as charlists.
  - `:env`: environment variables, as `{charlist, charlist}`.
  """
  def start!(settings \\ [], options \\ []) do
    peer = boot!(settings, options)
    {:ok, _started} = start_application(peer)
    peer
  end

  @doc "Starts a node with everything ready but Tidepool not started."
  def boot!(settings \\ [], options \\ []) do
    data = settings[:data] || Tidepool.Case.tmp_folder!()
    # :code.get_path/0 has the working folder and the archives too, which do no harm.
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    # Elixir's own level counts from 1.15 on.
    quiet = [~c"-kernel", ~c"logger_level", ~c"warning", ~c"-logger", ~c"level", ~c"warning"]

    args =
      shipped() ++ paths ++ quiet ++ distribution(options[:name], options[:cookie]) ++ Keyword.get(options, :args, [])

    start = %{connection: :standard_io, args: args, env: Keyword.get(options, :env, []), wait_boot: @boot_ms}
    child = %{id: make_ref(), start: {:peer, :start_link, [start]}, restart: :temporary}
    pid = ExUnit.Callbacks.start_supervised!(child)
    peer = %__MODULE__{pid: pid, data: data, node: options[:name], cookie: options[:cookie]}
    pid = call(peer, System, :pid, [])
    begun = begun(pid)
    # Its end is not the process's that drives it, and until then it may write into its folder, which is removed next.
    ExUnit.Callbacks.on_exit(fn -> Tidepool.Case.eventually(fn -> begun(pid) != begun end, 20_000) end)
    :ok = call(peer, __MODULE__, :prepare, [[port: 0, data: data] ++ Keyword.drop(settings, [:data])])
    peer
  end

  # When a process began, in ticks since the machine did; numbers of processes are used again.
  defp begun(pid) do
    with {:ok, stat} <- File.read("/proc/#{pid}/stat"),
         do: stat |> String.split(") ") |> List.last() |> String.split() |> Enum.at(19)
  end

  # The flags that ship: schedulers that wait by spinning take the cores of a machine that runs many nodes.
  defp shipped do
    for line <- "rel/vm.args.eex" |> File.read!() |> String.split("\n", trim: true),
        not String.starts_with?(line, "#"),
        word <- String.split(line),
        do: to_charlist(word)
  end

  defp distribution(nil, nil), do: []

  defp distribution(name, cookie) when is_atom(name) and is_atom(cookie) do
    [~c"-name", Atom.to_charlist(name), ~c"-setcookie", Atom.to_charlist(cookie)]
  end

  @doc "A name that no other node of this machine has: `STEM-…@127.0.0.1`."
  def name(stem \\ "node"), do: :"#{:peer.random_name(to_charlist(stem))}@127.0.0.1"

  @doc "A cookie that no other nodes of this machine have."
  def cookie, do: :"cookie_#{System.pid()}_#{System.unique_integer([:positive])}"

  @doc "Makes a hidden link from one node to the other, as `Tidepool.Cluster` does."
  def link(from, to), do: true = call(from, :net_kernel, :hidden_connect_node, [to.node])

  @doc "Parts two nodes as a cut cable would, until `heal/2`: what links them is gone, and no new link comes about."
  def cut(one, other) do
    # Each expects another cookie of the other: neither side's attempts succeed.
    for {here, there} <- [{one, other}, {other, one}] do
      true = call(here, :erlang, :set_cookie, [there.node, :"cut_by_#{here.node}"])
    end

    for {here, there} <- [{one, other}, {other, one}], do: call(here, :erlang, :disconnect_node, [there.node])
    :ok
  end

  @doc "Lets two nodes that were cut from each other meet again; they have to find each other on their own."
  def heal(one, other) do
    for {here, there} <- [{one, other}, {other, one}] do
      true = call(here, :erlang, :set_cookie, [there.node, here.cookie])
    end

    :ok
  end

  @doc "Kills the node's process, whose number `System.pid/0` said there, with SIGKILL after so many ms, and waits for its end."
  def kill_after!(%__MODULE__{pid: pid}, os_pid, wait_ms) do
    monitor = Process.monitor(pid)

    receive do
    after
      wait_ms -> {_output, 0} = System.cmd("kill", ["-KILL", os_pid])
    end

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    after
      60_000 -> raise "a node that was killed did not end"
    end
  end

  @doc "Calls a function there. What it raises is raised here."
  def call(%__MODULE__{pid: pid}, module, function, arguments) do
    :peer.call(pid, module, function, arguments, @call_ms)
  end

  @doc "`Code.eval_string/3` there, by one process for all that it is given, as a shell does it."
  def shell(peer) do
    {:ok, shell} = call(peer, Agent, :start, [Map, :new, []])
    &call(peer, Agent, :get, [shell, __MODULE__, :evaluate, [&1, &2, &3], @call_ms])
  end

  @doc false
  def evaluate(_state, code, binding, options), do: Code.eval_string(code, binding, options)

  @doc "Starts Tidepool there."
  def start_application(peer), do: call(peer, Application, :ensure_all_started, [:tidepool])

  @doc "Stops Tidepool there; the node lives on."
  def stop_application(peer), do: call(peer, Application, :stop, [:tidepool])

  @doc "Ends the node, as if it had crashed."
  def halt(%__MODULE__{pid: pid} = peer) do
    monitor = Process.monitor(pid)
    os_pid = call(peer, System, :pid, [])
    {_output, 0} = System.cmd("kill", ["-KILL", os_pid])

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    end
  end

  @doc "The folder of the node within its data folder."
  def folder(peer), do: call(peer, Tidepool.Catalog.Store, :folder, [peer.data])

  @doc "Address of the node's edge."
  def url(peer, path), do: "http://127.0.0.1:#{call(peer, TidepoolWeb.Listener, :port, [])}#{path}"

  @doc "Deploys a guest there, under the guest's own name unless `options` give another."
  def deploy!(peer, language, guest, options \\ []) do
    options = Keyword.put_new(options, :name, guest)
    {:ok, function} = call(peer, Tidepool, :deploy, [Tidepool.Case.guest(language, guest), options])
    function
  end

  @doc "Calls in a task of the test, so that several can be under way there at once."
  def async(peer, module, function, arguments) do
    Task.async(fn -> call(peer, module, function, arguments) end)
  end

  @doc "Gives a GenServer so much room that it does not collect garbage of its own accord. Runs in the peer."
  def collect_no_garbage(name) do
    :sys.replace_state(name, fn state ->
      Process.flag(:min_heap_size, 10_000_000)
      Process.flag(:min_bin_vheap_size, 1_000_000_000)
      state
    end)

    true = :erlang.garbage_collect(Process.whereis(name))
  end

  @doc "Kills whoever has the name, again and again for `ms`. Runs in the peer."
  def keep_killing(name, ms), do: keep_killing_until(name, System.monotonic_time(:millisecond) + ms)

  defp keep_killing_until(name, deadline) do
    with pid when pid != nil <- Process.whereis(name), do: Process.exit(pid, :kill)
    if System.monotonic_time(:millisecond) < deadline, do: keep_killing_until(name, deadline), else: :ok
  end

  @doc false
  # Runs in the peer. Its output would be this node's.
  def prepare(settings) do
    :ok = Application.load(:logger)
    Application.put_env(:logger, :backends, [])
    {:ok, _started} = Application.ensure_all_started(:logger)
    _ = :logger.remove_handler(:default)
    # What it tells its user, as why it can't start, would come among the dots.
    if Process.whereis(:standard_error), do: Process.unregister(:standard_error)
    true = Process.register(spawn(&hush/0), :standard_error)
    :ok = Application.load(:tidepool)
    # As config/test.exs does for the node of the tests.
    with folder when folder != nil <- System.get_env("NATIVE_OF_TESTS"),
         do: :persistent_term.put({Tidepool.Native, :folder}, folder)

    Enum.each(settings, fn {key, value} -> Application.put_env(:tidepool, key, value) end)
  end

  # Takes what is written to a device, and does nothing with it.
  defp hush do
    receive do
      {:io_request, from, reference, _request} -> send(from, {:io_reply, reference, :ok})
    end

    hush()
  end
end
