defmodule Bench.Cluster.Node do
  @moduledoc "Nodes of the bench: processes of their own, driven over standard input."

  @enforce_keys [:pid, :name]
  defstruct @enforce_keys

  # Compiled here, and loaded into each node.
  @code (for file <- ["../support.exs", "probe.exs"], compiled <- Code.require_file(file, __DIR__) || [] do
           compiled
         end)

  @doc "A name that no other node of this machine has."
  def unique(stem), do: :"#{:peer.random_name(to_charlist(stem))}@127.0.0.1"

  @doc "Starts a node with everything ready but Tidepool not started; `more` are settings of it."
  def start!(name, cookie, seeds, more \\ []) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    distribution = [~c"-name", Atom.to_charlist(name), ~c"-setcookie", Atom.to_charlist(cookie)]
    args = paths ++ [~c"-kernel", ~c"logger_level", ~c"error"] ++ distribution
    env = [{~c"ERL_EPMD_PORT", to_charlist(names_port())}]
    # A busy machine takes longer than the 15 s that `:peer` waits for by itself.
    {:ok, pid, _name} = :peer.start_link(%{connection: :standard_io, args: args, env: env, wait_boot: 120_000})
    node = %__MODULE__{pid: pid, name: name}
    for {module, binary} <- @code, do: on(node, :code, :load_binary, [module, ~c"bench", binary])
    settings = [data: Path.join(folder(), to_string(name)), cluster: true, seeds: seeds, port: 0]
    :ok = probe(node, :configure, [settings ++ more])
    node
  end

  # Of the run's own port mapper, which is begun with the first node, and ends with the process that starts that.
  defp names_port do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      {_server, port} = Bench.server("epmd")
      :persistent_term.put(__MODULE__, port)
      port
    end
  end

  @doc "Starts Tidepool there."
  def boot!(node) do
    {:ok, _started} = on(node, Application, :ensure_all_started, [:tidepool])
    node
  end

  @doc "Calls a function of `Bench.Probe` there."
  def probe(node, function, arguments), do: on(node, Bench.Probe, function, arguments)

  @doc "Calls any function there."
  def on(node, module, function, arguments), do: :peer.call(node.pid, module, function, arguments, 120_000)

  @doc "Ends the node."
  def stop(node), do: :peer.stop(node.pid)

  @doc "Folder of all data of the bench."
  def folder, do: Path.join(System.tmp_dir!(), "tidepool-bench-#{System.pid()}")
end
