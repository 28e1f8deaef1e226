defmodule Tidepool.Audit do
  @moduledoc """
  What was changed on this node, by whom: kept in its data folder, for `GET /audit`.

  Each node keeps what it was asked for; what others were asked for is with them. A change is written down when the function that
  made it returns, as a line of JSON, and survives a power cut. The last 2 to 4 MiB are kept, some thousands of changes: a file
  is begun when the last one is full, and the one before that goes. A disk that refuses loses entries, not changes: the log
  says so.

  Payloads, modules and secrets are in no entry.
  """

  use GenServer

  require Logger

  alias Tidepool.Native

  @file_bytes 2_097_152
  @most 1_000
  # Texts come from clients.
  @max_text 256

  @typedoc """
  `id` goes up by one with each; `at` is seconds since 1970. `token` is the name of the token that the change was asked for with:
  `TIDEPOOL_TOKEN` for the node's own, `elixir` for code, `nil` where none was needed. `name` is what was changed.
  """
  @type entry :: %{
          id: pos_integer,
          at: integer,
          action: String.t(),
          name: String.t() | nil,
          version: pos_integer | nil,
          token: String.t() | nil,
          peer: String.t() | nil
        }

  @doc false
  def start_link(folder), do: GenServer.start_link(__MODULE__, folder, name: __MODULE__)

  @doc "The names of its files."
  @spec files :: [String.t()]
  def files, do: ["audit.log", "audit.old.log"]

  @doc "How many entries are answered with at most."
  @spec most :: pos_integer
  def most, do: @most

  @doc "Writes down a change that was made: what of, in which version, and by the token of which name, from where."
  @spec note(
          action :: atom,
          name :: String.t() | nil,
          version :: pos_integer | nil,
          {token :: String.t() | nil, peer :: String.t() | nil}
        ) :: :ok
  def note(action, name, version, {token, peer}) do
    entry = %{action: action, name: cut(name), version: version, token: token, peer: peer}
    GenServer.call(__MODULE__, {:note, entry}, :infinity)
  catch
    # It is being restarted, or the node stops.
    :exit, _gone -> Logger.error("#{action} of #{inspect(cut(name))} by #{inspect(token)} could not be noted")
  end

  @doc "The last entries before one, newest first, and the id to go on before, if there are more."
  @spec list(before :: pos_integer | nil, count :: pos_integer) :: {[entry], next :: pos_integer | nil}
  def list(before, count) do
    entries = GenServer.call(__MODULE__, :folder, :infinity) |> lines() |> take(before, min(count, @most) + 1)

    case Enum.split(entries, min(count, @most)) do
      {entries, []} -> {entries, nil}
      {entries, _more} -> {entries, List.last(entries).id}
    end
  end

  # Newest first. A file that is begun meanwhile makes the one that was read come again: ids go down alone.
  defp lines(folder) do
    Stream.flat_map(files(), fn name ->
      case File.read(Path.join(folder, name)) do
        {:ok, bytes} -> bytes |> String.split("\n", trim: true) |> Enum.reverse()
        {:error, _none} -> []
      end
    end)
  end

  defp take(lines, before, count) do
    lines
    |> Stream.transform(before || :infinity, fn line, before ->
      case decode(line) do
        %{id: id} = entry when id < before -> {[entry], id}
        _other -> {[], before}
      end
    end)
    |> Enum.take(count)
  end

  # The end of a file may be half a line.
  defp decode(line) do
    with {:ok, %{"id" => id, "at" => at, "action" => action} = entry} when is_integer(id) <- Native.json_decode(line) do
      %{
        id: id,
        at: at,
        action: action,
        name: entry["name"],
        version: entry["version"],
        token: entry["token"],
        peer: entry["peer"]
      }
    else
      _damaged -> nil
    end
  end

  @impl true
  def init(folder) do
    last = with [%{id: id}] <- folder |> lines() |> take(nil, 1), do: id, else: ([] -> 0)
    {:ok, open(%{folder: folder, last: last, file: nil, bytes: 0})}
  end

  @impl true
  def handle_call({:note, entry}, _from, state) do
    state = if state.bytes > @file_bytes, do: turn(state), else: state
    entry = Map.merge(entry, %{id: state.last + 1, at: System.os_time(:second)})
    line = [Native.json_encode(entry), "\n"]

    with file when file != nil <- state.file,
         :ok <- :file.write(file, line),
         :ok <- :file.datasync(file) do
      {:reply, :ok, %{state | last: entry.id, bytes: state.bytes + IO.iodata_length(line)}}
    else
      failed ->
        Logger.error("#{path(state)} can't be written (#{inspect(failed)}): #{Native.json_encode(entry)}")
        # What was written of it ends here, and the next one begins a line.
        {:reply, :ok, open(%{state | last: entry.id})}
    end
  end

  def handle_call(:folder, _from, state), do: {:reply, state.folder, state}

  defp turn(state) do
    if state.file, do: :file.close(state.file)
    [name, old] = files()
    _renamed = File.rename(Path.join(state.folder, name), Path.join(state.folder, old))
    open(%{state | file: nil})
  end

  defp open(state) do
    if state.file, do: :file.close(state.file)

    with {:ok, file} <- :file.open(path(state), [:read, :append, :raw, :binary]),
         :ok <- File.chmod(path(state), 0o600),
         {:ok, bytes} <- :file.position(file, :eof) do
      # Whatever a write that failed has left is a line of its own.
      if bytes > 0 and :file.pread(file, bytes - 1, 1) != {:ok, "\n"}, do: :file.write(file, "\n")
      %{state | file: file, bytes: bytes}
    else
      {:error, reason} ->
        Logger.error("#{path(state)} can't be opened: #{:file.format_error(reason)}")
        %{state | file: nil, bytes: 0}
    end
  end

  defp path(state), do: Path.join(state.folder, hd(files()))

  defp cut(nil), do: nil
  defp cut(text), do: String.slice(text, 0, @max_text)
end
