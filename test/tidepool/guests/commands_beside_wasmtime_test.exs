defmodule Tidepool.CommandsBesideWasmtimeTest do
  # Commands on another host: with the same arguments, input, environment, folders and network they print the same.
  # It changes the node's setting `files`.
  use Tidepool.Case, async: false

  alias Tidepool.{Config, Error, Origin, Wasmtime}
  alias Tidepool.Files.{Folder, Setting}

  # It is minutes until wasmtime is built.
  @moduletag skip: System.get_env("TIDEPOOL_LONG", "") == ""

  @piece 65_536
  @patience 60_000

  # A command, deployed, and what `wasmtime run` is told for it.
  defp command!(module, options \\ [], flags \\ [], language \\ "rust"),
    do: %{name: deploy!(language, module, options), path: guest_path(language, module), flags: flags}

  # Standard output and exit status, which are the same on both.
  defp same!(command, args, input \\ "", options \\ []) do
    own = run(command.name, ["command" | args], input, options)
    assert own == Wasmtime.run(command.path, args, input, ["--argv0", "command" | command.flags]), inspect(args)
    own
  end

  defp run(name, args, input, options) do
    Process.flag(:trap_exit, true)
    {:ok, pid} = Tidepool.Process.start_link(name, args, [stdio: self()] ++ options)
    told(pid, input, "")
  end

  defp told(pid, input, output) do
    receive do
      {:tidepool_input, ^pid} ->
        {piece, rest} = if input == "", do: {:eof, ""}, else: cut(input)
        Tidepool.Process.input(pid, piece)
        told(pid, rest, output)

      {:tidepool_output, ^pid, stream, bytes} ->
        Tidepool.Process.written(pid, byte_size(bytes))
        told(pid, input, if(stream == :stdout, do: output <> bytes, else: output))

      {:EXIT, ^pid, reason} ->
        {output, status(reason)}
    after
      @patience -> flunk("#{inspect(pid)} does not end, and has printed #{inspect(output)}")
    end
  end

  defp cut(<<piece::binary-size(@piece), rest::binary>>), do: {piece, rest}
  defp cut(piece), do: {piece, ""}

  # As wasmtime has them: a trap is what `abort` would be.
  defp status(:normal), do: 0
  defp status({%Error{reason: :guest_error, details: %{exit_code: code}}, _console}), do: code
  defp status({%Error{reason: {:trap, _kind}}, _console}), do: 134

  for language <- ["rust", "c"] do
    test "a command in #{language} prints the same of the same input, and fails with the same, run or called" do
      command = command!("upper_command", [], [], unquote(language))

      for input <- ["", "low tide", "two\nlines\n", <<0, 255, ?a>>, String.duplicate("abc", 300_000)] do
        {output, 0} = same!(command, [], input)
        assert output == String.upcase(input, :ascii)
        assert Tidepool.call(command.name, "command", input) == {:ok, output}
      end

      assert {"", status} = same!(command, [], "fail")
      called = Tidepool.call(command.name, "command", "fail")
      assert {:error, %Error{reason: :guest_error, details: %{exit_code: ^status}}} = called
    end
  end

  test "a command sees the same arguments, environment and folder, and ends with the same status" do
    {_own, other} = folders!(%{"a" => "", "b" => ""})
    flags = ["--env", "HIGH=6.1", "--env", "LOW=0.4", "--dir", "#{other}::/"]
    command = command!("surroundings_command", [files: ["/=host:own"]], flags)
    {output, 0} = same!(command, ["look", "", "a round"], "", env: %{"HIGH" => "6.1", "LOW" => "0.4"})
    assert output == "arguments: command look  a round\nenvironment: HIGH LOW\nfiles: 2\nclock: real\n"
    {output, 0} = same!(command!("surroundings_command"), [])
    assert output == "arguments: command\nenvironment: \nfiles: none\nclock: real\n"

    files = command!("files_command")

    for {line, status} <- [{"exit 0", 0}, {"exit 7", 1}, {"panic", 134}],
        do: assert({"", ^status} = same!(files, String.split(line)))

    assert same!(command!("exit_command", [], [], "component"), []) == {"", 7}
  end

  test "a command reads and writes the same files, and fails where the other does" do
    {own, other} = folders!(%{"in" => :binary.copy("low tide ", 40_000), "empty" => "", "sub/deep" => "x"})
    {grants, flags} = {[files: ["/data=host:own:rw"]], ["--dir", "#{other}::/data"]}
    files = command!("files_command", grants, flags)

    for line <- [
          "write /data/a low",
          "append /data/a tide",
          "read /data/a",
          "size /data/in",
          "edit /data/edited",
          "large /data/large 300000",
          "make /data/made/deep",
          "many /data/made/deep 300",
          "copy /data/in /data/made/copy",
          "rename /data/a /data/made/a",
          "list /data",
          "remove-all /data/made/deep",
          "list /data/made"
        ],
        do: assert({"ok" <> _said, 0} = same!(files, String.split(line)))

    # There is none, it is a folder, it is no folder, or it is outside.
    for line <- [
          "read /data/none",
          "write /data/none/a x",
          "remove /data/sub",
          "list /data/in",
          "read /etc/passwd",
          "read /data/../etc/passwd",
          "read /data/sub/../../etc/passwd"
        ],
        do: assert({"failed" <> _number, 0} = same!(files, String.split(line)))

    streams = command!("streams_command", grants, flags)

    for line <- ["copy in copied", "copy empty nothing", "splice in spliced", "tail in 359991", "zeroes zeroes 5000"],
        do: assert({"ok " <> _said, 0} = same!(streams, String.split(line)))

    assert contents(own) == contents(other)
    assert contents(own)["spliced"] == contents(own)["in"]
  end

  test "a command has the same of a network that is granted, and of one that is not" do
    grants = [net: ["tcp:connect:127.0.0.1:*", "dns"]]
    sockets = command!("sockets_command", grants, ["-S", "inherit-network,allow-ip-name-lookup"])
    assert same!(sockets, ["ask", "127.0.0.1:#{answering!(2)}", "ping"]) == {"ok pong\n", 0}
    assert same!(sockets, ["ask", "127.0.0.1:#{unused!()}", "ping"]) == {"failed connection-refused\n", 0}
    assert same!(sockets, ["lookup", "127.0.0.1"]) == {"ok 127.0.0.1\n", 0}
    assert same!(sockets, ["lookup", "no.such.name.invalid"]) == {"failed name-unresolvable\n", 0}
    asked = same!(command!("sockets_command"), ["ask", "127.0.0.1:#{unused!()}", "ping"])
    assert asked == {"failed access-denied\n", 0}
  end

  test "a command gets the same responses of servers" do
    fetch = command!("fetch_command", [net: ["http:127.0.0.1:*"]], ["-S", "http"])

    # The last one breaks off.
    for {response, expected} <- [
          {"200 OK\r\ncontent-length: 8\r\n\r\nlow tide", "200\nlow tide\n"},
          {"404 Not Found\r\ncontent-length: 0\r\n\r\n", "404\n\n"},
          {"200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nlow\r\n5\r\n tide\r\n0\r\n\r\n", "200\nlow tide\n"},
          {"200 OK\r\ncontent-length: 100\r\n\r\nhalf", "200\nhalf\n"}
        ] do
      port = Origin.start!(fn socket, _head -> :gen_tcp.send(socket, "HTTP/1.1 " <> response) end)
      assert same!(fetch, ["127.0.0.1:#{port}", "/a?b=c"]) == {expected, 0}
    end

    assert {"error " <> _number, 0} = same!(fetch, ["127.0.0.1:#{unused!()}", "/"])
  end

  # Two with the same files: one that the node's setting calls `own`, and one for wasmtime.
  defp folders!(files) do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
    {own, other} = {tmp_folder!(), tmp_folder!()}

    for folder <- [own, other], {name, bytes} <- files, path = Path.join(folder, name) do
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, bytes)
    end

    Config.put(%{config | files: Setting.read(own: {Folder, path: own, write: true})})
    {own, other}
  end

  defp contents(folder) do
    for path <- Path.wildcard("#{folder}/**"), File.regular?(path), into: %{} do
      {Path.relative_to(path, folder), File.read!(path)}
    end
  end

  # The port of a server for so many connections, each of which says `ping` and that it has no more to say.
  defp answering!(connections) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, exit_on_close: false])

    spawn_link(fn ->
      for _connection <- 1..connections do
        {:ok, socket} = :gen_tcp.accept(listener, @patience)
        {:ok, "ping"} = :gen_tcp.recv(socket, 4, @patience)
        {:error, :closed} = :gen_tcp.recv(socket, 0, @patience)
        :ok = :gen_tcp.send(socket, "pong")
        :gen_tcp.close(socket)
      end
    end)

    port(listener)
  end

  # A port at which nobody is.
  defp unused! do
    {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    port = port(listener)
    :gen_tcp.close(listener)
    port
  end

  defp port(listener), do: with({:ok, port} <- :inet.port(listener), do: port)
end
