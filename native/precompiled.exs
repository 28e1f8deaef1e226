defmodule Tidepool.Native.Precompiled do
  @moduledoc """
  The native library as it was built for a release, for who has no Rust: an archive for each target, fetched from
  `TIDEPOOL_DOWNLOADS` and held to a checksum that is in the repository.

  `checksums.tsv` beside this file has a row for each archive: its name, its SHA-256, and the digest of the Rust sources that it was
  built from. An archive is taken for the very sources that are there, and for no others: whoever changes a line of Rust, or has a
  newer checkout of the same version, builds the library. What was fetched is kept in `precompiled` of the user's cache folder for
  Tidepool, so that the next application needs no network.

  An archive is named by what a library must fit: Tidepool's version, the NIF version, and the target. It is a
  `.tar.gz` of `tidepool_nif.so` and `tidepool_compiler`. `mix tidepool.precompiled` makes them.
  """

  @table Path.expand("checksums.tsv", __DIR__)
  # What the library asks of the VM (rustler's feature in Cargo.toml).
  @nif_version "2.16"
  @timeout_ms 300_000
  # Larger than any archive: an address that answers without an end fills no disk.
  @max_bytes 512 * 1024 * 1024

  @typedoc "An archive: its name, and the SHA-256 that its bytes have to have, in hex."
  @type archive :: {name :: String.t(), sha256 :: String.t()}

  @doc "The name of the archive for this machine."
  @spec name() :: String.t()
  def name, do: "tidepool_native-#{Mix.Project.config()[:version]}-nif-#{@nif_version}-#{target()}.tar.gz"

  # As Rust names targets, whatever the vendor that Erlang was built for.
  defp target do
    [machine | rest] = :erlang.system_info(:system_architecture) |> to_string() |> String.split("-")
    rest = Enum.reject(rest, &(&1 in ~w(pc unknown)))
    machine = if machine in ~w(arm64 aarch64), do: "aarch64", else: machine
    Enum.join([machine | Enum.map(rest, &String.replace(&1, ~r/^darwin.*/, "darwin"))], "-")
  end

  @doc "The archive for this machine that was built from these sources, if there is one, and if the VM can load it."
  @spec find(digest :: String.t()) :: {:ok, archive} | :none
  def find(digest) do
    name = name()

    case Enum.find(table(), fn [named, _sha256, of] -> named == name and of == digest end) do
      [_name, sha256, _digest] -> if loads?(), do: {:ok, {name, sha256}}, else: :none
      nil -> :none
    end
  end

  defp loads?, do: Version.compare(version(:nif_version), version(@nif_version)) != :lt

  defp version(:nif_version), do: :nif_version |> :erlang.system_info() |> to_string() |> version()
  defp version(text), do: Version.parse!(text <> ".0")

  defp table do
    for line <- File.stream!(@table),
        not String.starts_with?(line, "#"),
        do: line |> String.trim() |> String.split("\t")
  end

  @doc """
  Puts what is in the archive into the folder, each file whole or not at all.

  The archive is that of the cache, or it is fetched. `{:error, sentence}` when it can't be had, or is another one than was built.
  """
  @spec install(archive, folder :: Path.t(), files :: [String.t()]) :: :ok | {:error, String.t()}
  def install({name, _sha256} = archive, folder, files) do
    with {:ok, bytes} <- cached(archive),
         {:ok, found} <- unpack(bytes, files) do
      File.mkdir_p!(folder)

      for {file, content} <- found do
        # A running node has the old one mapped.
        beside = Path.join(folder, "#{file}.#{System.pid()}.new")
        File.write!(beside, content)
        File.chmod!(beside, 0o755)
        File.rename!(beside, Path.join(folder, file))
      end

      :ok
    else
      {:error, sentence} -> {:error, "#{name}: #{sentence}"}
    end
  end

  @doc "Whether there is a place that may have the archive: an address, or the cache."
  @spec reachable?(archive) :: boolean
  def reachable?(archive), do: match?({:ok, _base}, downloads()) or File.exists?(kept(archive))

  defp unpack(bytes, files) do
    with {:ok, found} <- :erl_tar.extract({:binary, bytes}, [:memory, :compressed]),
         found = Enum.map(found, fn {name, content} -> {to_string(name), content} end),
         [] <- files -- Enum.map(found, &elem(&1, 0)) do
      {:ok, Enum.filter(found, fn {name, _content} -> name in files end)}
    else
      {:error, reason} -> {:error, "it is no archive: #{inspect(reason)}"}
      missing -> {:error, "it lacks #{Enum.join(missing, " and ")}"}
    end
  end

  defp cached({_name, sha256} = archive) do
    with {:ok, bytes} <- File.read(kept(archive)),
         true <- sha256(bytes) == sha256 do
      {:ok, bytes}
    else
      _absent_or_damaged -> fetched(archive, kept(archive))
    end
  end

  defp kept({name, sha256}), do: Path.join(cache(), "#{sha256}-#{name}")

  @doc "The folder in which what was fetched is kept."
  @spec cache() :: Path.t()
  def cache do
    # What is relative is none, by the standard for such folders.
    base = System.get_env("XDG_CACHE_HOME", "")
    base = if Path.type(base) == :absolute, do: base, else: Path.join(System.user_home!(), ".cache")
    Path.join([base, "tidepool", "precompiled"])
  end

  defp fetched({name, sha256}, path) do
    with {:ok, base} <- downloads(),
         url = "#{String.trim_trailing(base, "/")}/#{name}",
         {:ok, bytes} <- get(url),
         {:checked, true} <- {:checked, sha256(bytes) == sha256} do
      # Without a cache it is fetched again next time.
      beside = "#{path}.#{System.pid()}.new"
      with :ok <- File.mkdir_p(Path.dirname(path)), :ok <- File.write(beside, bytes), do: File.rename(beside, path)
      {:ok, bytes}
    else
      {:checked, false} ->
        {:error, "what #{System.get_env("TIDEPOOL_DOWNLOADS")} has is not what was built: its SHA-256 differs"}

      {:error, sentence} ->
        {:error, sentence}
    end
  end

  defp downloads do
    case System.get_env("TIDEPOOL_DOWNLOADS") do
      base when base in [nil, ""] -> {:error, "no address is known that has it: set TIDEPOOL_DOWNLOADS"}
      base -> {:ok, base}
    end
  end

  defp get("file://" <> path) do
    with {:error, reason} <- File.read(path), do: {:error, "#{path} can't be read: #{:file.format_error(reason)}"}
  end

  defp get(url) do
    for app <- [:inets, :ssl], do: {:ok, _started} = Application.ensure_all_started(app)
    Enum.each(~w(http https), &use_proxy/1)
    request = {String.to_charlist(url), []}
    http = [timeout: @timeout_ms, connect_timeout: 30_000, ssl: tls(url)]

    case :httpc.request(:get, request, http, body_format: :binary, full_result: false) do
      {:ok, {200, bytes}} when byte_size(bytes) <= @max_bytes -> {:ok, bytes}
      {:ok, {200, _bytes}} -> {:error, "#{url} is larger than any archive"}
      {:ok, {status, _body}} -> {:error, "#{url} answers #{status}"}
      {:error, reason} -> {:error, "#{url} can't be fetched: #{inspect(reason)}"}
    end
  end

  # As curl does.
  defp use_proxy(scheme) do
    with text when is_binary(text) <- variable("#{scheme}_proxy"),
         %URI{host: host, port: port} when is_binary(host) and is_integer(port) <- URI.parse(text) do
      except =
        for host <- String.split(variable("no_proxy") || "", [",", " "], trim: true), do: String.to_charlist(host)

      option = if scheme == "https", do: :https_proxy, else: :proxy
      :httpc.set_options([{option, {{String.to_charlist(host), port}, except}}])
    end
  end

  # In capitals, too, but for HTTP_PROXY, which a CGI's client sets.
  defp variable(name) do
    names = if name == "http_proxy", do: [name], else: [name, String.upcase(name)]
    Enum.find_value(names, fn name -> if (text = System.get_env(name)) not in [nil, ""], do: text end)
  end

  # Also where the address redirects to another host, whose name the certificate there has to have.
  defp tls("https:" <> _rest) do
    names = [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
    [verify: :verify_peer, cacerts: :public_key.cacerts_get(), customize_hostname_check: names]
  end

  defp tls(_url), do: []

  @doc "Makes the archive for this machine of these files, at the path: the same bytes for the same files."
  @spec pack(files :: [Path.t()], Path.t()) :: :ok
  def pack(files, path) do
    {:ok, tar} = :erl_tar.open(String.to_charlist(path), [:write, :compressed])
    same = [mtime: 0, atime: 0, ctime: 0, uid: 0, gid: 0]

    for file <- files,
        do: :ok = :erl_tar.add(tar, File.read!(file), file |> Path.basename() |> String.to_charlist(), same)

    :ok = :erl_tar.close(tar)
  end

  @doc "The table of this checkout."
  @spec table_path() :: Path.t()
  def table_path, do: @table

  @doc "Writes a table: the archives of a version that are in the folder, as built from sources of this digest."
  @spec write_table(folder :: Path.t(), digest :: String.t(), Path.t()) :: [String.t()]
  def write_table(folder, digest, table) do
    names =
      folder |> Path.join("tidepool_native-*.tar.gz") |> Path.wildcard() |> Enum.map(&Path.basename/1) |> Enum.sort()

    head = for line <- File.stream!(@table), String.starts_with?(line, "#"), do: line

    rows =
      for name <- names,
          do: Enum.join([name, folder |> Path.join(name) |> File.read!() |> sha256(), digest], "\t") <> "\n"

    File.write!(table, [head, rows])
    names
  end

  defp sha256(bytes), do: :sha256 |> :crypto.hash(bytes) |> Base.encode16(case: :lower)
end
