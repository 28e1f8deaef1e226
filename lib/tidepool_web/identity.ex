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

  @typedoc "What of the folder is left out, and why: a sentence each."
  @type left_out :: [String.t()]

  @doc """
  What is in the files; `nil` for settings without a certificate. An error names the setting. A certificate of the folder that can't be
  used is left out, or is the one that was `before` in its place, so that those of other hosts go on.
  """
  @spec read(Tidepool.Config.t(), before :: Native.identity() | nil) ::
          {:ok, Native.identity() | nil, left_out} | {:error, message :: String.t()}
  def read(config, before \\ nil)
  def read(%{tls_cert: nil}, _before), do: {:ok, nil, []}

  def read(config, before) do
    with {:ok, cert} <- file(:tls_cert, config.tls_cert),
         {:ok, key} <- file(:tls_key, config.tls_key),
         {:ok, clients} <- if(config.tls_clients, do: file(:tls_clients, config.tls_clients), else: {:ok, nil}),
         {:ok, named, unread, messages} <- named(config.tls_certs),
         {:ok, unfit} <- Native.http_unfit({cert, key, named, clients}) do
      left_out = unread ++ for {name, _message, false} <- unfit, do: name

      {:ok, {cert, key, whole(named, left_out, before), clients},
       messages ++ for({_name, message, _used?} <- unfit, do: message)}
    end
  end

  # What could be used before goes on in the place of what can't be now.
  defp whole(named, left_out, before) do
    before = if before, do: elem(before, 2), else: []
    used = Enum.reject(named, fn {name, _cert, _key} -> name in left_out end)
    Enum.sort(used ++ for({name, _cert, _key} = pair <- before, name in left_out, do: pair))
  end

  # Those that can be read, and why the others can't.
  defp named(nil), do: {:ok, [], [], []}

  defp named(folder) do
    case names(folder) do
      {:error, posix} ->
        {:error, "tls_certs: #{folder} can't be read: #{:file.format_error(posix)}"}

      {:ok, names} when length(names) > @most_certificates ->
        {:error, "tls_certs: #{folder} has more than #{@most_certificates} certificates"}

      {:ok, names} ->
        read = for name <- names, do: {name, pair(folder, name)}
        unread = for {name, {:error, message}} <- read, do: {name, message}
        {names, messages} = Enum.unzip(unread)
        {:ok, for({_name, {:ok, pair}} <- read, do: pair), names, messages}
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

  # By this process, and not by the VM's one for files: there may be many.
  defp stamp(path) do
    with {:ok, info} <- :file.read_file_info(path, [:raw, time: :posix]) do
      stat = File.Stat.from_record(info)
      {stat.inode, stat.size, stat.mtime, stat.ctime}
    end
  end
end
