defmodule Tidepool.Function.Folders do
  @moduledoc """
  Folders that a function's programs find. Each is a text: `/data=memory` is kept in memory for as long as its program runs,
  `/etc/app=host:config` is answered by what the node's setting `files` has as `config`, for reading, and with `:rw` behind it for
  writing as well. docs/files.md says more.
  """

  alias Tidepool.Error

  @most 16
  @path_bytes 255
  # Of what a process can run.
  @abis [:command, :wasi, :lunatic]
  @source ~r/\A(memory|host:([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})(:rw)?)\z/

  @type t :: [String.t()]

  @typedoc "The guest's path, the host's name for what answers (`nil` for one in memory), and whether the guest may change it."
  @type folder :: {path :: String.t(), host :: String.t() | nil, writable? :: boolean}

  @doc "What a list of folders has to be."
  @spec expectation :: String.t()
  def expectation,
    do: "a list of at most #{@most} folders of different paths, such as \"/data=memory\" or \"/etc/app=host:config\""

  @doc "What the text of one folder has to be."
  @spec notation :: String.t()
  def notation do
    "`PATH=memory`, `PATH=host:NAME` or `PATH=host:NAME:rw`, with an absolute path; #{@most} folders at most"
  end

  @doc """
  Can a function have these folders?

      iex> alias Tidepool.Function.Folders
      iex> Enum.map([[], ["/data=memory", "/=host:a:rw"], ["data=memory"], ["/a/../b=memory"]], &Folders.valid?/1)
      [true, true, false, false]
      iex> Enum.map([["/a=host:"], ["/a=memory:rw"], ["/a=memory", "/a=host:a"], "/a=memory"], &Folders.valid?/1)
      [false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(folders) do
    is_list(folders) and List.improper?(folders) == false and length(folders) <= @most and
      Enum.all?(folders, &(is_binary(&1) and parse(&1) != :error)) and
      folders |> Enum.map(&path/1) |> Enum.uniq() |> length() == length(folders)
  end

  @doc "The folder of a text."
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text), do: if(valid?([text]), do: {:ok, [text]}, else: :error)

  @doc """
  What valid texts say.

      iex> Tidepool.Function.Folders.parse_all(["/data=memory", "/a=host:b", "/c=d=host:e:rw"])
      [{"/data", nil, true}, {"/a", "b", false}, {"/c=d", "e", true}]
  """
  @spec parse_all(t) :: [folder]
  def parse_all(folders), do: Enum.map(folders, &parse/1)

  defp parse(text) do
    with true <- String.valid?(text) and byte_size(text) <= 2 * @path_bytes,
         [_all, path, source] <- Regex.run(~r/\A(.*)=([^=]*)\z/s, text),
         true <- path?(path),
         [_all, _source | rest] <- Regex.run(@source, source) do
      case rest do
        [] -> {path, nil, true}
        [name] -> {path, name, false}
        [name, ":rw"] -> {path, name, true}
      end
    else
      _other -> :error
    end
  end

  # Without `.`, `..`, slashes that say nothing, and what no terminal shows.
  defp path?("/" <> _rest = path) do
    byte_size(path) <= @path_bytes and Path.expand(path) == path and not (path =~ ~r/[[:cntrl:]]/u)
  end

  defp path?(_path), do: false

  defp path(text), do: text |> parse() |> elem(0)

  @doc "The host's names for what answers."
  @spec hosts(t) :: [String.t()]
  def hosts(folders), do: for({_path, host, _writable?} <- parse_all(folders), host != nil, do: host)

  @doc "Refuses folders that the host would answer for, and does not have under such names."
  @spec check(t, known :: [String.t()]) :: :ok | {:error, Error.t()}
  def check(folders, known) do
    case Enum.find(parse_all(folders), fn {_path, host, _writable?} -> host != nil and host not in known end) do
      nil ->
        :ok

      {path, host, _writable?} ->
        message = "this node has no folder `#{host}` to be #{path}: its setting `files` says which there are"
        {:error, Error.new(:invalid_option, message)}
    end
  end

  @doc """
  Refuses folders of a module that no process can run, by its ABI: nothing would ever find them.

      iex> alias Tidepool.Function.Folders
      iex> for abi <- [:command, :http], do: Folders.fit(["/data=memory"], abi) == :ok
      [true, false]
      iex> Folders.fit([], :http)
      :ok
  """
  @spec fit(t, Tidepool.Function.abi()) :: :ok | {:error, Error.t()}
  def fit(folders, abi) when folders == [] or abi in @abis, do: :ok

  def fit(_folders, abi) do
    message =
      "`files` are folders of programs that are started as processes (the ABIs `command`, `wasi` and `lunatic`), " <>
        "and this module is called (`#{abi}`): leave `files` out"

    {:error, Error.new(:invalid_config, message)}
  end

  @doc """
  Is a file of this path in a folder in memory?

      iex> Enum.map(["/a/b", "/a/h/b", "/a", "/b"], &Tidepool.Function.Folders.in_memory?(["/a=memory", "/a/h=host:h"], &1))
      [true, false, false, false]
  """
  @spec in_memory?(t, path :: String.t()) :: boolean
  def in_memory?(folders, path) do
    above =
      for {folder, host, _writable?} <- parse_all(folders), String.starts_with?(path, slash(folder)), do: {folder, host}

    above != [] and match?({_folder, nil}, Enum.max_by(above, fn {folder, _host} -> byte_size(folder) end))
  end

  defp slash("/"), do: "/"
  defp slash(path), do: path <> "/"
end
