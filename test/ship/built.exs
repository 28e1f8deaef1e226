defmodule Tidepool.Built do
  @moduledoc "What is built of this checkout to be run elsewhere, and what that takes."

  @doc "Makes a release in the folder, as `MIX_ENV=prod mix release` does."
  def release!(folder) do
    env = [{"MIX_ENV", "prod"}, {"MIX_BUILD_PATH", nil}]
    {output, status} = System.cmd("mix", ["release", "--quiet", "--path", folder], env: env, stderr_to_stdout: true)
    status == 0 || raise output
  end

  @doc "Makes a release that is removed with the module of tests that calls this, and returns its folder."
  def release_of_module!(stem) do
    folder = Path.join(System.tmp_dir!(), "tidepool-#{stem}-#{System.pid()}")
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(folder) end)
    release!(folder)
    folder
  end

  @doc "Runs a command to its end, which is to be a good one, and returns what it has written, its errors included."
  def run!(command, arguments, options \\ []) do
    # A script of the project is named by its path in it.
    command = if command =~ "/", do: Path.expand(command), else: command
    {output, status} = System.cmd(command, arguments, [stderr_to_stdout: true] ++ options)
    status == 0 || raise "#{command} #{Enum.join(arguments, " ")}: #{status}\n#{output}"
    output
  end

  @doc """
  Makes a folder that is removed with the module of tests that calls this, and in it a keyring with a key of each of `users`: the
  folder, and `env` with what has gpg find the keyring.
  """
  def keyring_of_module!(stem, users, env) do
    folder = Path.join(System.tmp_dir!(), "tidepool-#{stem}-#{System.pid()}")
    keyring = keyring!(Path.join(folder, "gnupg"))

    ExUnit.Callbacks.on_exit(fn ->
      System.cmd("gpgconf", ["--kill", "all"], env: keyring, stderr_to_stdout: true)
      File.rm_rf!(folder)
    end)

    generate = ["--batch", "--passphrase", "", "--quick-gen-key"]
    for user <- users, do: run!("gpg", generate ++ [user, "ed25519", "sign", "never"], env: keyring)
    {folder, keyring ++ env}
  end

  @doc "Makes an empty keyring in a folder: the environment in which gpg finds it."
  def keyring!(folder) do
    File.mkdir_p!(folder)
    File.chmod!(folder, 0o700)
    [{"GNUPGHOME", folder}]
  end

  @doc "Runs a command as root, as `bin/setup` does: what it has written, and its status."
  def as_root(command, arguments) do
    case System.cmd("id", ["-u"]) do
      {"0\n", 0} -> System.cmd(command, arguments, stderr_to_stdout: true)
      {_user, 0} -> System.cmd("sudo", ["-n", command | arguments], stderr_to_stdout: true)
    end
  end

  @doc "Ends the name server of nodes at a port, once no node is left that it knows; there may be none."
  def end_name_server!(port) do
    kill = fn -> System.cmd("epmd", ["-kill"], env: [{"ERL_EPMD_PORT", port}], stderr_to_stdout: true) end
    Tidepool.Case.eventually(fn -> not (elem(kill.(), 0) =~ "not allowed") end, 60_000)
  end

  @doc "The documents in a file of YAML."
  def yaml!(file) do
    {:ok, documents} = Tidepool.Native.json_decode(run!(python(), ["test/ship/ops/read.py", "yaml", file]))
    documents
  end

  @doc "The Python that has the validators of `ops/requirements.txt`, which are fetched when first needed."
  def python do
    {path, 0} = System.cmd(Path.expand("test/ship/ops/validators"), [])
    String.trim(path)
  end

  @doc "One of the validators' commands."
  def validator(name), do: Path.join(Path.dirname(python()), name)
end
