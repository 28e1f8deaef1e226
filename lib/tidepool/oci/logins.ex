defmodule Tidepool.Oci.Logins do
  @moduledoc """
  The logins that this node has for registries, in the file that `docker login` and others write: `config.json` in the folder
  `DOCKER_CONFIG`, or in `~/.docker`, or the file that the setting `registry_logins` names.

  It is read each time, so that what is changed there counts. Nothing of it is kept, logged or told; programs that it names
  (`credHelpers`, `credsStore`) are not run.
  """

  alias Tidepool.{Config, Native}

  @max_bytes 1_048_576
  # Docker's own registry is called by three names.
  @docker ["docker.io", "index.docker.io", "registry-1.docker.io"]

  @doc "The user and the password for a registry, if there are any."
  @spec find(registry :: String.t()) ::
          {:ok, {user :: String.t(), password :: String.t()} | nil} | {:error, :unreadable}
  def find(registry) do
    {path, named?} = path()

    with {:ok, bytes} <- read(path, named?),
         {:ok, %{} = config} <- Native.json_decode(bytes) do
      {:ok, of(config["auths"], one(registry))}
    else
      :none -> {:ok, nil}
      _unreadable -> {:error, :unreadable}
    end
  end

  defp path do
    case {Config.get(:registry_logins), System.get_env("DOCKER_CONFIG", ""), System.user_home()} do
      {"" <> path, _folder, _home} -> {path, true}
      {nil, folder, _home} when folder != "" -> {Path.join(folder, "config.json"), false}
      {nil, "", nil} -> {nil, false}
      {nil, "", home} -> {Path.join(home, ".docker/config.json"), false}
    end
  end

  defp read(nil, _named?), do: :none

  defp read(path, named?) do
    case File.stat(path) do
      {:ok, %{type: :regular, size: size}} when size <= @max_bytes -> File.read(path)
      {:error, :enoent} when not named? -> :none
      _other -> :error
    end
  end

  defp of(%{} = auths, registry) do
    Enum.find_value(auths, fn {key, entry} -> if one(key) == registry, do: login(entry) end)
  end

  defp of(_none, _registry), do: nil

  # Keys are hosts, or addresses of old ones, such as https://index.docker.io/v1/.
  defp one(key) do
    [host | _path] = key |> String.downcase() |> String.replace(~r/\Ahttps?:\/\//, "") |> String.split("/")
    if host in @docker, do: hd(@docker), else: host
  end

  defp login(%{"auth" => auth}) when is_binary(auth) and auth != "" do
    with {:ok, both} <- Base.decode64(auth), [user, password] <- String.split(both, ":", parts: 2) do
      {user, String.trim_trailing(password, <<0>>)}
    else
      _none -> nil
    end
  end

  defp login(%{"username" => user, "password" => password}) when is_binary(user) and is_binary(password),
    do: {user, password}

  defp login(_other), do: nil
end
