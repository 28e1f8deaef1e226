defmodule TidepoolWeb.Identity do
  @moduledoc "The certificate that the edge shows, from the files of the settings `tls_cert`, `tls_key` and `tls_clients`."

  alias Tidepool.Native

  # Certificates of a chain or two; whoever names something else has erred.
  @most_bytes 1_048_576

  @doc "What is in the files; `nil` for settings without a certificate. An error names the setting."
  @spec read(Tidepool.Config.t()) :: {:ok, Native.identity() | nil} | {:error, message :: String.t()}
  def read(%{tls_cert: nil}), do: {:ok, nil}

  def read(config) do
    with {:ok, cert} <- file(config, :tls_cert),
         {:ok, key} <- file(config, :tls_key),
         {:ok, clients} <- if(config.tls_clients, do: file(config, :tls_clients), else: {:ok, nil}),
         do: {:ok, {cert, key, clients}}
  end

  defp file(config, setting) do
    path = Map.fetch!(config, setting)

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
    for path <- [config.tls_cert, config.tls_key, config.tls_clients], path != nil do
      with {:ok, stat} <- File.stat(path, time: :posix), do: {stat.inode, stat.size, stat.mtime, stat.ctime}
    end
  end
end
