defmodule Tidepool.Audit do
  @moduledoc """
  What was changed on this node, by whom: kept in its data folder, for `GET /audit`.

  Each node keeps what it was asked for; what others were asked for is with them. A change is written down when the function that
  made it returns, as a line of JSON, and survives a power cut. The last 60 to 64 MiB are kept, some hundred thousands of
  changes: a file is begun when the last one has 4 MiB, and of sixteen the oldest goes. A disk that refuses loses entries, not
  changes: the log says so.

  Payloads, modules and secrets are in no entry.
  """

  use GenServer

  require Logger

  alias Tidepool.{Native, Options}

  @file_bytes 4_194_304
  @files ["audit.log" | for(number <- 1..15, do: "audit.#{number}.log")]
  @most 1_000
  # Texts come from clients.
  @max_text 256

  @typedoc """
  `id` goes up by one with each; `at` is seconds since 1970. `token` is the name of the token that the change was asked for with:
  `TIDEPOOL_TOKEN` for the node's own, `elixir` for code, `nil` where none was needed. `name` is what was changed, and `ref` the
  reference, with its digest, that the module of a deploy was fetched by. `left_out` is
  how many like it before were too many to be kept.
  """
  @type entry :: %{
          id: pos_integer,
          at: integer,
          action: String.t(),
          name: String.t() | nil,
          version: pos_integer | nil,
          token: String.t() | nil,
          peer: String.t() | nil,
          ref: String.t() | nil,
          left_out: non_neg_integer
        }

  @typedoc """
  Which entries are wanted: not before a time, in seconds since 1970; of a name, or with `*` at its end of all that begin so; those
  that their reader `sees?`.
  """
  @type filter :: %{
          optional(:since) => non_neg_integer | nil,
          optional(:name) => String.t() | nil,
          optional(:sees?) => (entry -> boolean)
        }

  @doc false
  def start_link(folder), do: GenServer.start_link(__MODULE__, folder, name: __MODULE__)

  @doc "The names of its files, newest first."
  @spec files :: [String.t()]
  def files, do: @files

  @doc "How many entries are answered with at most."
  @spec most :: pos_integer
  def most, do: @most

  @doc """
  Writes down a change that was made: what of, in which version, and by the token of which name, from where; how many like it
  were left out before, and where a module was fetched from.
  """
  @spec note(
          action :: atom,
          name :: String.t() | nil,
          version :: pos_integer | nil,
          {token :: String.t() | nil, peer :: String.t() | nil},
          left_out :: non_neg_integer,
          ref :: String.t() | nil
        ) :: :ok
  def note(action, name, version, {token, peer}, left_out \\ 0, ref \\ nil) do
    entry = %{action: action, name: cut(name), version: version, token: token, peer: peer, left_out: left_out, ref: ref}
    GenServer.call(__MODULE__, {:note, entry}, :infinity)
  catch
    # It is being restarted, or the node stops.
    :exit, _gone -> Logger.error("#{action} of #{inspect(cut(name))} by #{inspect(token)} could not be noted")
  end

  @doc """
  What a token is called by whose leave something was changed (`Tidepool.Catalog.Origin`): by its name, that of the setting for the
  node's own.

      iex> Tidepool.Audit.token({{:token, "ci", <<0::256>>}, "127.0.0.1:50000"})
      "ci"
  """
  @spec token(Tidepool.Catalog.Origin.t()) :: String.t() | nil
  def token(:elixir), do: "elixir"
  def token({:token, _peer}), do: "TIDEPOOL_TOKEN"
  def token({:no_token, _peer}), do: nil
  def token({{:token, name, _sha256}, _peer}), do: name

  @doc "The last entries before one that are wanted, newest first, and the id to go on before, if there are more."
  @spec list(before :: pos_integer | nil, count :: pos_integer, filter) :: {[entry], next :: pos_integer | nil}
  def list(before, count, filter \\ %{}) do
    filter = Map.merge(%{since: nil, name: nil, sees?: fn _entry -> true end}, filter)

    entries =
      GenServer.call(__MODULE__, :folder, :infinity)
      |> lines(filter)
      |> take(before)
      |> Stream.filter(&wanted?(&1, filter))
      |> Enum.take(min(count, @most) + 1)

    case Enum.split(entries, min(count, @most)) do
      {entries, []} -> {entries, nil}
      {entries, _more} -> {entries, List.last(entries).id}
    end
  end

  # Newest first; not those that can be told not to be wanted by their text, or by their file. A file that is begun meanwhile
  # makes the one that was read come again: ids go down alone.
  defp lines(folder, filter) do
    Stream.flat_map(@files, fn name ->
      path = Path.join(folder, name)

      with {:ok, %{mtime: written}} when filter.since == nil or written >= filter.since <-
             File.stat(path, time: :posix),
           {:ok, bytes} <- File.read(path) do
        bytes |> String.split("\n", trim: true) |> Enum.filter(&may_name?(&1, filter.name)) |> Enum.reverse()
      else
        _none_or_older -> []
      end
    end)
  end

  defp may_name?(_line, nil), do: true

  defp may_name?(line, name) do
    # `{"name":"shop"}` without what is around.
    <<"{", member::binary>> = Native.json_encode(%{name: String.replace_suffix(name, "*", "")})
    String.contains?(line, binary_part(member, 0, byte_size(member) - 2))
  end

  defp wanted?(entry, %{since: since, name: name, sees?: sees?}),
    do: (since == nil or entry.at >= since) and named?(entry.name, name) and sees?.(entry)

  defp named?(_any, nil), do: true
  defp named?(nil, _name), do: false

  defp named?(name, wanted) do
    case String.split_at(wanted, -1) do
      {beginning, "*"} -> String.starts_with?(name, beginning)
      _whole -> name == wanted
    end
  end

  defp take(lines, before) do
    Stream.transform(lines, before || :infinity, fn line, before ->
      case decode(line) do
        %{id: id} = entry when id < before -> {[entry], id}
        _other -> {[], before}
      end
    end)
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
        peer: entry["peer"],
        ref: entry["ref"],
        left_out: entry["left_out"] || 0
      }
    else
      _damaged -> nil
    end
  end

  @impl true
  def init(folder) do
    newest = folder |> lines(%{since: nil, name: nil}) |> take(nil) |> Enum.take(1)
    last = with [%{id: id}] <- newest, do: id, else: ([] -> 0)
    {:ok, open(%{folder: folder, last: last, file: nil, bytes: 0})}
  end

  @impl true
  def handle_call({:note, entry}, _from, state) do
    state = if state.bytes > @file_bytes, do: turn(state), else: state
    entry = Map.merge(entry, %{id: state.last + 1, at: System.os_time(:second)})
    kept = Map.reject(entry, &(&1 in [left_out: 0, ref: nil]))
    line = [Native.json_encode(kept), "\n"]

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
    # The last one is written over. There may be none of some.
    for [newer, older] <- @files |> Enum.reverse() |> Enum.chunk_every(2, 1, :discard) |> Enum.map(&Enum.reverse/1),
        do: File.rename(Path.join(state.folder, newer), Path.join(state.folder, older))

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
  defp cut(text), do: Options.cut(text, @max_text)
end
