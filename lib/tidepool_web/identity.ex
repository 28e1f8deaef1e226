defmodule TidepoolWeb.Identity do
  @moduledoc """
  The certificates that the edge shows, from the files of the settings `tls_cert`, `tls_key` and `tls_clients`, and those in the
  folder `tls_certs`.
  """

  alias Tidepool.Native

  # Certificates of a chain or two; whoever names something else has erred.
  @most_bytes 1_048_576
  # Those of a folder, which are all read when one of them changes.
  @most_certificates 10_000

  @doc "What is in the files; `nil` for settings without a certificate. An error names the setting."
  @spec read(Tidepool.Config.t()) :: {:ok, Native.identity() | nil} | {:error, message :: String.t()}
  def read(%{tls_cert: nil}), do: {:ok, nil}

  def read(config) do
    with {:ok, cert} <- file(:tls_cert, config.tls_cert),
         {:ok, key} <- file(:tls_key, config.tls_key),
         {:ok, named} <- named(config.tls_certs),
         {:ok, clients} <- if(config.tls_clients, do: file(:tls_clients, config.tls_clients), else: {:ok, nil}),
         do: {:ok, {cert, key, named, clients}}
  end

  defp named(nil), do: {:ok, []}

  defp named(folder) do
    case names(folder) do
      {:error, posix} ->
        {:error, "tls_certs: #{folder} can't be read: #{:file.format_error(posix)}"}

      {:ok, names} when length(names) > @most_certificates ->
        {:error, "tls_certs: #{folder} has more than #{@most_certificates} certificates"}

      {:ok, names} ->
        with {:ok, read} <- each(names, &pair(folder, &1)), do: {:ok, Enum.reverse(read)}
    end
  end

  defp names(folder) do
    with {:ok, files} <- File.ls(folder) do
      {:ok, for(file <- Enum.sort(files), Path.extname(file) == ".crt", do: Path.rootname(file))}
    end
  end

  defp pair(folder, name) do
    with {:ok, cert} <- file(:tls_certs, Path.join(folder, name <> ".crt")),
         {:ok, key} <- file(:tls_certs, Path.join(folder, name <> ".key")),
         do: {:ok, {name, cert, key}}
  end

  defp each(names, read) do
    Enum.reduce_while(names, {:ok, []}, fn name, {:ok, before} ->
      case read.(name) do
        {:ok, one} -> {:cont, {:ok, [one | before]}}
        error -> {:halt, error}
      end
    end)
  end

  defp file(setting, path) do
    with {:ok, %{type: :regular, size: size}} when size <= @most_bytes <- File.stat(path),
         {:ok, bytes} <- File.read(path) do
      {:ok, bytes}
    else
      {:ok, _other} -> {:error, "#{setting}: #{path} is no file of PEM"}
      {:error, posix} -> {:error, "#{setting}: #{path} can't be read: #{:file.format_error(posix)}"}
    end
  end

  @doc "What tells whether the files are others than before. A link that leads to another counts."
  @spec look(Tidepool.Config.t()) :: [term]
  def look(config) do
    files = for path <- [config.tls_cert, config.tls_key, config.tls_clients], path != nil, do: path
    Enum.map(files ++ in_folder(config.tls_certs), &{&1, stamp(&1)})
  end

  defp in_folder(nil), do: []

  defp in_folder(folder) do
    case names(folder) do
      {:ok, names} -> for name <- names, kind <- [".crt", ".key"], do: Path.join(folder, name <> kind)
      {:error, _posix} -> []
    end
  end

  defp stamp(path) do
    with {:ok, stat} <- File.stat(path, time: :posix), do: {stat.inode, stat.size, stat.mtime, stat.ctime}
  end
end
