defmodule Tidepool.Files.Setting do
  @moduledoc """
  The setting `files`: what a node has for deploys to refer to, by name. A module with the behaviour `Tidepool.Files`, one with an
  argument (`{module, argument}`), or the path of a folder of the machine, for reading.

  As a string it is folders alone, with commas between: `certificates=/etc/certificates,work=/srv/work:rw`.
  """

  alias Tidepool.Files.Folder

  @name ~r/\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z/

  @type t :: %{String.t() => {module, argument :: term}}

  @doc "What the setting has to be."
  @spec expectation :: String.t()
  def expectation,
    do: "names with modules of the behaviour Tidepool.Files, {module, argument}, or absolute paths of folders"

  @doc "Can the setting be this?"
  @spec valid?(term) :: boolean
  def valid?(setting), do: read(setting) != :error

  @doc """
  What answers, by name.

      iex> Tidepool.Files.Setting.read("certs=/etc/certs, work=/srv/work:rw")
      %{
        "certs" => {Tidepool.Files.Folder, [path: "/etc/certs"]},
        "work" => {Tidepool.Files.Folder, [path: "/srv/work", write: true]}
      }
      iex> Tidepool.Files.Setting.read(work: "srv/work")
      :error
  """
  @spec read(term) :: t | :error
  def read(text) when is_binary(text) do
    entries = for entry <- String.split(text, ",", trim: true), do: entry |> String.trim() |> entry()
    if :error in entries, do: :error, else: read(entries)
  end

  def read(setting) when is_map(setting) and not is_struct(setting), do: setting |> Map.to_list() |> read()

  def read(setting) do
    if is_list(setting) and List.improper?(setting) == false and Enum.all?(setting, &entry?/1) do
      Map.new(setting, fn {name, source} -> {to_string(name), source(source)} end)
    else
      :error
    end
  end

  defp entry(text) do
    with [name, path] <- String.split(text, "=", parts: 2) do
      if String.ends_with?(path, ":rw"),
        do: {name, {Folder, path: String.replace_suffix(path, ":rw", ""), write: true}},
        else: {name, path}
    else
      _other -> :error
    end
  end

  defp entry?({name, source}),
    do: (is_atom(name) or is_binary(name)) and to_string(name) =~ @name and source?(source(source))

  defp entry?(_other), do: false

  defp source?({Folder, argument}), do: Folder.argument?(argument)

  defp source?({module, _argument}) when is_atom(module),
    do: Code.ensure_loaded?(module) and Enum.all?([stat: 2, list: 2, read: 4], &exported?(module, &1))

  defp source?(_other), do: false

  defp exported?(module, {name, arity}), do: function_exported?(module, name, arity)

  defp source(path) when is_binary(path), do: {Folder, path: path}
  defp source(module) when is_atom(module), do: {module, nil}
  defp source(source), do: source
end
