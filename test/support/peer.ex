defmodule Tidepool.Peer do
  @moduledoc """
  A node of its own: another process of the operating system with settings, data and edge of its own, driven over its
  standard input. It ends with the test that started it, or with its module when `setup_all` did.
  """

  @enforce_keys [:pid, :data]
  defstruct @enforce_keys

  @call_ms 60_000

  @doc "Starts a node and Tidepool on it. `settings` are those of `config :tidepool`; the edge is off unless they say so."
  def start!(settings \\ []) do
    peer = boot!(settings)
    {:ok, _started} = start_application(peer)
    peer
  end

  @doc "Starts a node with everything ready but Tidepool not started."
  def boot!(settings \\ []) do
    data = settings[:data] || Tidepool.Case.tmp_folder!()
    # :code.get_path/0 has the working folder and the archives too, which do no harm.
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    options = %{connection: :standard_io, args: paths ++ [~c"-kernel", ~c"logger_level", ~c"warning"]}
    child = %{id: make_ref(), start: {:peer, :start_link, [options]}, restart: :temporary}
    pid = ExUnit.Callbacks.start_supervised!(child)
    peer = %__MODULE__{pid: pid, data: data}
    :ok = call(peer, __MODULE__, :prepare, [[port: 0, data: data] ++ Keyword.drop(settings, [:data])])
    peer
  end

  @doc "Calls a function there. What it raises is raised here."
  def call(%__MODULE__{pid: pid}, module, function, arguments) do
    :peer.call(pid, module, function, arguments, @call_ms)
  end

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
  def folder(peer), do: call(peer, Tidepool.Catalog, :folder, [peer.data])

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

  @doc false
  # Runs in the peer. Its output would be this node's.
  def prepare(settings) do
    :ok = Application.load(:logger)
    Application.put_env(:logger, :backends, [])
    {:ok, _started} = Application.ensure_all_started(:logger)
    _ = :logger.remove_handler(:default)
    :ok = Application.load(:tidepool)
    Enum.each(settings, fn {key, value} -> Application.put_env(:tidepool, key, value) end)
  end
end
