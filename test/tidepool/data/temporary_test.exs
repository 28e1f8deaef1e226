defmodule Tidepool.Data.TemporaryTest do
  # Nodes without a data folder.
  use Tidepool.Case, async: true

  alias Tidepool.Data.Temporary
  alias Tidepool.Peer

  # A folder for temporary files of this test's own.
  defp elixir!(code, root) do
    code = "Logger.configure(level: :warning); " <> code
    ebin = Application.app_dir(:tidepool, "ebin")
    {output, 0} = System.cmd("elixir", ["-pa", ebin, "-e", code], env: [{"TMPDIR", root}], stderr_to_stdout: true)
    output
  end

  defp start(data) do
    """
    Application.put_env(:tidepool, :data, #{inspect(data)})
    {:ok, _started} = Application.ensure_all_started(:tidepool)
    data = Tidepool.Config.get(:data)
    [root] = Path.wildcard(Path.join(System.tmp_dir!(), "tidepool-*"))
    true = data == root
    0o40700 = File.stat!(root).mode
    {:ok, _function} = Tidepool.deploy(File.read!("guests/build/rust/hello_world.wasm"), name: "hello")
    IO.puts(Tidepool.call!("hello", "hello", "Ada"))
    """
  end

  test "without a data folder functions are deployed and called, nothing of them is left, and a warning says so" do
    root = tmp_folder!()
    output = elixir!(start(nil), root)
    assert output =~ "Hello, Ada!"
    assert output =~ "Tidepool has no data folder"
    assert output =~ "config :tidepool, data:"
    assert File.ls!(root) == []
  end

  test "a folder that is meant to be temporary is no reason for a warning" do
    root = tmp_folder!()
    assert elixir!(start(:temporary), root) == "Hello, Ada!\n"
    assert File.ls!(root) == []
  end

  test "the folder goes when Tidepool is stopped, and when it can't start" do
    root = tmp_folder!()
    stop = "Application.stop(:tidepool); [] = File.ls!(System.tmp_dir!()); IO.puts(:gone)"
    assert elixir!("Logger.configure(level: :none)\n" <> start(:temporary) <> stop, root) =~ "gone\n"

    refused = """
    Logger.configure(level: :none)
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    for {key, value} <- [server: true, port: port], do: Application.put_env(:tidepool, key, value)
    {:error, _reason} = Application.ensure_all_started(:tidepool)
    [] = File.ls!(System.tmp_dir!())
    IO.puts(:gone)
    """

    assert elixir!(refused, root) =~ "gone\n"
  end

  test "what a killed node has left goes when it is a minute old, and neither a running node's nor what is no such folder" do
    root = tmp_folder!()
    old = System.os_time(:second) - 120
    [running, killed, bare, young] = for name <- ~w(a b c d), do: Path.join(root, "tidepool-temporary-#{name}")
    for folder <- [running, killed, young], do: File.mkdir_p!(Path.join(folder, "nonode@nohost"))
    File.mkdir_p!(bare)
    peer = Peer.start!(data: running)
    for folder <- [killed, young], do: File.write!(Path.join(folder, "nonode@nohost/lock"), "")
    [other, link] = [Path.join(root, "other"), Path.join(root, "tidepool-temporary-link")]
    File.mkdir_p!(other)
    File.ln_s!(other, link)
    for path <- [running, killed, bare, other], do: File.touch!(path, old)
    System.cmd("touch", ["-h", "-d", "@#{old}", link])

    assert Temporary.remove_abandoned(root) == :ok

    assert Enum.sort(File.ls!(root)) == [
             "other",
             "tidepool-temporary-a",
             "tidepool-temporary-d",
             "tidepool-temporary-link"
           ]

    Peer.halt(peer)
    File.touch!(running, old)
    assert Temporary.remove_abandoned(root) == :ok
    refute File.exists?(running)
  end
end
