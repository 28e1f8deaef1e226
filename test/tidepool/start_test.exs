defmodule Tidepool.StartTest do
  # Starts that are refused, in processes of the system of their own: whoever starts a node reads a sentence.
  use Tidepool.Case, async: true

  alias Tidepool.Peer

  # Starts Tidepool with settings in another VM; what it wrote, and the reason that the start was refused for.
  defp start(settings) do
    code = """
    Logger.configure(level: :none)
    for {key, value} <- #{inspect(settings, limit: :infinity)}, do: Application.put_env(:tidepool, key, value)

    case Application.ensure_all_started(:tidepool) do
      {:ok, _started} -> IO.puts("reason: none")
      {:error, {:tidepool, reason}} -> IO.puts("reason: " <> inspect(reason, limit: :infinity, printable_limit: :infinity))
    end
    """

    ebin = Application.app_dir(:tidepool, "ebin")
    {output, 0} = System.cmd("elixir", ["-pa", ebin, "-e", code], stderr_to_stdout: true)
    [sentence, reason] = String.split(output, "reason: ", parts: 2)
    {sentence, reason}
  end

  test "listening on other machines' address without a token is refused, and the sentence says how it is done" do
    for address <- ["0.0.0.0", "::", "192.0.2.1"] do
      {sentence, reason} = start(server: true, port: 0, address: address, data: tmp_folder!())
      assert reason =~ ":invalid_option"
      assert sentence =~ "tidepool can't start:"
      assert sentence =~ "TIDEPOOL_TOKEN"
      assert sentence =~ address
    end
  end

  test "listening there with a token is fine" do
    assert {"", "none\n"} = start(server: true, port: 0, address: "0.0.0.0", token: "s3cret", data: tmp_folder!())
  end

  test "the largest modules and payloads that the settings allow are fine with the edge" do
    for {key, {:integer, _min, max}} <- types([:max_module, :max_payload]) do
      assert {"", "none\n"} = start([{key, max}, server: true, port: 0, data: tmp_folder!()])
    end
  end

  defp types(keys), do: for(key <- keys, do: {key, Tidepool.Config.Schema.settings()[key][:type]})

  test "an unknown setting is refused, with the nearest known one" do
    {sentence, reason} = start(prt: 4000, data: tmp_folder!())
    assert reason =~ ":invalid_option"
    assert sentence =~ ":prt"
    assert sentence =~ "did you mean :port?"
  end

  test "a port that is taken is refused, and the sentence names it" do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    {sentence, reason} = start(server: true, port: port, data: tmp_folder!())
    assert reason =~ ":listen"
    assert sentence =~ "#{port}"
  end

  test "a data folder that can't be made is refused, and the sentence names it" do
    file = Path.join(tmp_folder!(), "a file")
    File.write!(file, "")
    {sentence, reason} = start(data: file)
    assert reason =~ ":storage"
    assert sentence =~ file
  end

  test "a second node on a folder that one uses is refused, and the first is not disturbed" do
    data = tmp_folder!()
    first = Peer.start!(data: data)
    Peer.deploy!(first, "rust", "hello_world")

    {sentence, reason} = start(data: data)
    assert reason =~ ":data_in_use"
    assert sentence =~ "TIDEPOOL_DATA"
    assert Peer.call(first, Tidepool, :call, ["hello_world", "hello"]) == {:ok, "Hello, world!"}

    Peer.halt(first)
    assert {"", "none\n"} = start(data: data)
  end

  # A value that the type does not have.
  defp bad(:boolean), do: "yes"
  defp bad({:integer, _min, max}), do: max + 1
  defp bad({:keyword, _schema}), do: [nonsense: 1]
  defp bad(_string_or_check), do: "s3cret s3cret\n"

  # Those are strings of any kind.
  @any_string [:data, :dns, :registry_logins, :tls_cert, :tls_certs, :tls_key, :tls_clients]

  # The sentence names what of these is wrong.
  @of_several [:limits, :otlp]

  test "every setting with a bad value is one sentence that names it, and no harm to the VM that it was to start in" do
    settings =
      for {key, spec} <- Tidepool.Config.Schema.settings(),
          do: {key, if(key in @any_string, do: 5, else: bad(spec[:type]))}

    code = """
    Logger.configure(level: :none)

    for {key, value} <- #{inspect(settings, limit: :infinity)} do
      IO.puts(:stderr, "key: \#{key}")
      Application.put_env(:tidepool, key, value)
      {:error, {:tidepool, reason}} = Application.ensure_all_started(:tidepool)
      %{reason: :invalid_option} = reason |> Tuple.to_list() |> Enum.find(&is_struct(&1, Tidepool.Error))
      Application.delete_env(:tidepool, key)
    end
    """

    ebin = Application.app_dir(:tidepool, "ebin")
    {output, 0} = System.cmd("elixir", ["-pa", ebin, "-e", code], stderr_to_stdout: true)
    ["" | said] = String.split(output, "key: ")
    assert length(said) == length(settings)

    for {{key, _value}, text} <- Enum.zip(settings, said) do
      assert [name, sentence, ""] = String.split(text, "\n")
      assert name == to_string(key)

      assert sentence =~ ~r/\Atidepool can't start: the setting #{inspect(key)}.* (has to be|is unknown)/ or
               key in @of_several

      refute sentence =~ ~r/%\{|%Tidepool|\*\*|#PID|:EXIT/
      if key == :token, do: refute(sentence =~ "s3cret")
    end
  end

  # Starts a node that the VM is there for; its standard output and error, its status, and the files that it left.
  defp start_standalone(settings, env \\ []) do
    folder = tmp_folder!()

    code = """
    for {key, value} <- #{inspect([standalone: true] ++ settings, limit: :infinity)}, do: Application.put_env(:tidepool, key, value)
    Application.ensure_all_started(:tidepool, :permanent)
    IO.puts("it goes on")
    """

    ebin = Application.app_dir(:tidepool, "ebin")
    script = ~S(cd "$1" && shift && elixir "$@" 2> stderr)
    arguments = ["-c", script, "sh", folder, "-pa", ebin, "-e", code]
    {output, status} = System.cmd("sh", arguments, env: [{"ERL_CRASH_DUMP", Path.join(folder, "erl_crash.dump")} | env])
    {status, output, File.read!(Path.join(folder, "stderr")), File.ls!(folder)}
  end

  test "a node that can't start ends its own VM with one sentence, status 1, and neither report nor crash dump" do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    file = Path.join(tmp_folder!(), "a file")
    File.write!(file, "")
    used = Peer.start!()

    for {settings, text} <- [
          {[token: "s3cret s3cret"], "the setting :token has to be printable ASCII without spaces\n"},
          {[port: "PORT=abc"], "PORT=abc"},
          {[prt: 5], "did you mean :port?"},
          {[data: Path.join(file, "data")], "not a directory"},
          {[data: used.data], "another node uses the data folder"},
          {[server: true, port: port, token: "s3cret"], "127.0.0.1:#{port} is in use"},
          {[server: true, port: 0, address: "192.0.2.1", token: "s3cret"], "192.0.2.1"},
          {[server: true, address: "0.0.0.0"], "TIDEPOOL_TOKEN"}
        ] do
      assert {1, output, error, ["stderr"]} = start_standalone(Keyword.put_new(settings, :data, :temporary))
      assert output =~ ~r/\A(\n?[\d:.]+ \[(info|warn|warning)\] [^\n]*\n)*\z/
      assert [sentence, ""] = String.split(error, "\n")
      assert sentence =~ ~r/\Atidepool can't start: /
      assert error =~ text
      refute output <> error =~ "s3cret"
    end
  end

  test "a variable that nobody reads stops a node that the VM is there for, and no application with Tidepool in it" do
    env = [{"TIDEPOOL_TOKENS", "s3cret"}, {"RELEASE_ROOT", tmp_folder!()}]
    server = [data: :temporary, server: true, port: 0]
    assert {1, _output, error, ["stderr"]} = start_standalone(server, env)
    assert error == "tidepool can't start: the variable TIDEPOOL_TOKENS is unknown: did you mean TIDEPOOL_TOKEN?\n"

    for settings <- [[standalone: false] ++ server, [data: :temporary, server: false]] do
      assert {0, output, _error, _files} = start_standalone(settings, env)
      assert output =~ "it goes on"
    end
  end

  test "a variable that nobody reads stops a release's commands that change or move data, before they do anything" do
    {data, file} = {tmp_folder!(), Path.join(tmp_folder!(), "actors")}
    adopt = {:adopt, ["a@x", "b@x"]}
    commands = [adopt, check: [], export_actors: [file], import_actors: [file], accept_actors: []]

    said = fn commands, settings ->
      code = """
      settings = #{inspect([server: true, data: data] ++ settings)}
      for {key, value} <- settings, do: Application.put_env(:tidepool, key, value)

      for {function, arguments} <- #{inspect(commands)} do
        try do
          apply(Tidepool.Release, function, arguments)
        catch
          :exit, {:shutdown, 1} -> :ok
        end
      end
      """

      env = [{"TIDEPOOL_TOKENS", "s3cret"}, {"RELEASE_ROOT", tmp_folder!()}]
      arguments = ["-pa", Application.app_dir(:tidepool, "ebin"), "-e", code]
      {output, 0} = System.cmd("elixir", arguments, env: env, stderr_to_stdout: true)
      output
    end

    sentence = "the variable TIDEPOOL_TOKENS is unknown: did you mean TIDEPOOL_TOKEN?\n"
    assert said.(commands, standalone: true) == String.duplicate(sentence, length(commands))
    assert File.ls!(data) == []
    refute File.exists?(file)

    # Another application's release has variables of its own.
    assert said.([adopt], standalone: false) =~ "no node has data"
  end

  describe "config/runtime.exs" do
    # Read in another VM, so that no test changes this one's environment.
    defp runtime(env, mix_env \\ "prod") do
      code = ~s|IO.puts(inspect(Config.Reader.read!("config/runtime.exs", env: :#{mix_env})[:tidepool]))|
      System.cmd("elixir", ["-e", code], env: env, stderr_to_stdout: true)
    end

    test "takes port, address, token, data and drain from the environment" do
      env = [
        {"PORT", "4321"},
        {"TIDEPOOL_ADDRESS", "::1"},
        {"TIDEPOOL_TOKEN", "s3cret"},
        {"TIDEPOOL_DATA", "/somewhere"},
        {"TIDEPOOL_DRAIN", "5"}
      ]

      {output, 0} = runtime(env)
      {settings, []} = Code.eval_string(output)

      assert Enum.sort(settings) ==
               [address: "::1", data: "/somewhere", drain: 5, port: 4321, token: "s3cret"]
    end

    test "takes every number, the limits and where instances come from from the environment, and leaves slips to be refused" do
      schema = Keyword.delete(Tidepool.Config.Schema.settings(), :port)

      numbers =
        for {name, spec} <- schema, match?({:integer, _least, _most}, spec[:type]), do: {name, elem(spec[:type], 1)}

      variables = for {name, least} <- numbers, do: {"TIDEPOOL_" <> String.upcase("#{name}"), "#{least}"}
      further = [{"TIDEPOOL_LIMITS", "time=60000, memory=65536"}, {"TIDEPOOL_INSTANCES", "warm:8"}]
      {output, 0} = runtime(variables ++ further)
      {settings, []} = Code.eval_string(output)
      assert Enum.sort(numbers) == settings |> Keyword.take(Keyword.keys(numbers)) |> Enum.sort()

      assert {:ok, %{limits: %{time: 60_000, memory: 65_536}, instances: {:warm, 8}}} =
               Tidepool.Config.Schema.check(settings)

      for {variable, text, said} <- [
            {"TIDEPOOL_MAX_MEMORY", "4GB", "TIDEPOOL_MAX_MEMORY=4GB"},
            {"TIDEPOOL_LIMITS", "time", "TIDEPOOL_LIMITS=time"},
            {"TIDEPOOL_LIMITS", "times=5", "did you mean :time?"},
            {"TIDEPOOL_INSTANCES", "warm:x", "warm:x"},
            {"TIDEPOOL_PERF_MAP", "yes", "yes"}
          ] do
        {output, 0} = runtime([{variable, text}])
        {settings, []} = Code.eval_string(output)
        assert {:error, error} = Tidepool.Config.Schema.check(settings)
        assert error.message =~ said
      end
    end

    test "takes no service of Kubernetes for a setting" do
      {output, 0} = runtime([{"TIDEPOOL_SITES_PORT", "tcp://10.0.0.1:8080"}])
      {settings, []} = Code.eval_string(output)
      refute Keyword.has_key?(settings, :sites_port)
    end

    test "takes built-in host functions from the environment, and those that there are not as they are, to be refused" do
      for {text, builtins} <- [{"function, log", [:function, :log]}, {",", []}, {"functions", "functions"}] do
        {output, 0} = runtime([{"TIDEPOOL_BUILTINS", text}])
        {settings, []} = Code.eval_string(output)
        assert settings[:builtins] == builtins

        assert match?({:ok, %{builtins: ^builtins}}, Tidepool.Config.Schema.check(builtins: settings[:builtins])) ==
                 is_list(builtins)
      end
    end

    test "takes how a node finds others, and how it leaves, from the environment" do
      env = [
        {"TIDEPOOL_SEEDS", "a@10.0.0.1,b@10.0.0.2"},
        {"TIDEPOOL_DNS", "nodes.example"},
        {"TIDEPOOL_DNS_NODE", "tide"},
        {"TIDEPOOL_LAME_DUCK", "7"}
      ]

      {output, 0} = runtime(env)
      {settings, []} = Code.eval_string(output)

      assert settings |> Keyword.delete(:data) |> Enum.sort() ==
               [dns: "nodes.example", dns_node: "tide", lame_duck: 7, seeds: "a@10.0.0.1,b@10.0.0.2"]

      assert {:ok, %{seeds: seeds}} = Tidepool.Config.Schema.check(settings)
      assert Tidepool.Config.seeds(seeds) == ["a@10.0.0.1", "b@10.0.0.2"]
    end

    test "sets nothing that the environment doesn't name, but where data is: beside the sources, or in the release's folder" do
      names = ["PORT", "TIDEPOOL_ADDRESS", "TIDEPOOL_TOKEN", "TIDEPOOL_DATA", "TIDEPOOL_DRAIN", "RELEASE_ROOT"]
      unset = Enum.map(names, &{&1, nil})

      for {env, data} <- [
            {unset, Path.expand("data")},
            {unset ++ [{"RELEASE_ROOT", "/opt/tidepool"}], "/opt/tidepool/data"}
          ] do
        {output, 0} = runtime(env)
        {settings, []} = Code.eval_string(output)
        assert Keyword.delete(settings, :cluster) == [data: data]
      end
    end

    test "refuses a port that is no number with a sentence that names the variable" do
      for {variable, key} <- [{"PORT", :port}, {"TIDEPOOL_DRAIN", :drain}, {"TIDEPOOL_LAME_DUCK", :lame_duck}],
          text <- ["http", "80 ", "8e1"] do
        {output, 0} = runtime([{variable, text}])
        {settings, []} = Code.eval_string(output)
        assert {:error, %{message: message}} = Tidepool.Config.Schema.check(settings)
        assert message =~ inspect(key)
        assert message =~ "#{variable}=#{text}"
      end
    end
  end
end
