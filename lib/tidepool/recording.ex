defmodule Tidepool.Recording do
  @moduledoc """
  Calls that were recorded, and what becomes of them when they are run again.

  A function that was deployed with `record` has what its guests are told kept: payloads, answers of the host, clocks, random bytes. Of a
  program of processes (`Tidepool.Process`) each process is recorded from its start to its end, as a call of its entry is, with the
  messages that it received, and replayed without the others.
  With the module of that function a recording is run again, without host, clock or network, here or on another machine:

      {:ok, [%{id: id} | _older]} = Tidepool.Recording.list("shop")
      {:ok, recording} = Tidepool.Recording.fetch(id)
      {:ok, %{"verdict" => "same"}} = Tidepool.Recording.replay(recording)

  Recordings are files in the node's data folder, `recordings/`. They hold what callers and hosts sent, and never leave their node by
  themselves. The settings `recordings` and `function_recordings` bound them; the oldest go first, of the
  namespace that has the most.

  ## Verdicts

  - `same`: the call came to what was recorded, by the same way: the same answer, or the same trap at the same instruction;
  - `cut`: it came to where it was stopped by a limit of time, or its caller went away; `last` is the last entry before that, and where
    the guest computed then is the backtrace of `recorded`;
  - `diverged`: it asked for something else than was recorded; `parted` says for what, and where.

  Of another version of the module, which is what `replay/3` with `against: true` is for:

  - `same`: the same answer, and the same was asked of the host, in whatever order;
  - `other_answer`, `trapped`, `limit`, `failed`: what it came to instead;
  - `asked_more`: it asked the host for what nobody recorded; `asked_less`: it did not ask for something, and came to the same.
  """

  alias Tidepool.{Catalog, Config, Engine, Error, Execution, Native, Options}
  alias Tidepool.Catalog.{BlobStore, Entry}
  alias Tidepool.Error.Reason
  alias Tidepool.Function.{Actors, Fields, Loader, Spec}
  alias Tidepool.Namespaces.Turns

  @listed 100
  # Recordings and reports of so many bytes are read where they are: that is done in less time than to go to another scheduler.
  @short_bytes 4_096
  # Calls of an instance are replayed within what they may have together, and no more than this, unless one may have more.
  @most_ms 60_000
  # Whoever reads files of recordings, or replays one, waits so long for a turn, and in one to read for what is yet to be written: beyond that a
  # list lacks it.
  @turn_ms 30_000
  @replay_ms 60_000
  @written_ms 5_000
  # Code that is debugged takes some times as long, and each instruction of a step much longer.
  @debugged_times 100
  # Stopped between two instructions that nobody knows.
  @cuts ["timeout", "aborted", "internal", "overloaded"]

  @typedoc """
  A recording. `at` is when the call ended, in ms since 1970; `calls` how many calls of its instance are in it, for what they left in
  memory; `bytes` its size. `reason` is `ok`, or why the call failed. Of one that is `damaged` that is all there is.
  """
  @type info :: %{
          optional(:id) => String.t(),
          optional(:bytes) => non_neg_integer,
          optional(:damaged) => String.t(),
          optional(:function) => String.t(),
          optional(:version) => pos_integer,
          optional(:sha256) => String.t() | nil,
          optional(:at) => non_neg_integer,
          optional(:operation) => String.t(),
          optional(:payload_bytes) => non_neg_integer,
          optional(:calls) => pos_integer,
          optional(:redacted) => boolean,
          optional(:reason) => String.t(),
          optional(:message) => String.t()
        }

  @doc """
  The newest recordings of this node, of one function, of all whose names have the beginning before a star (`shop/*`), or of all; `most`
  of them at most. Files are read in turns of the namespace, or of that of whoever `asks` for functions of others: an error has the reason `:overloaded` when none comes within half
  a minute.
  """
  @spec list(functions :: String.t() | nil, most :: pos_integer, asks :: String.t() | nil) ::
          {:ok, [info]} | {:error, Error.t()}
  def list(functions \\ nil, most \\ @listed, asks \\ nil) do
    reading(asks || functions || "", fn ->
      await_written(false)
      listed(functions, most)
    end)
  end

  defp listed(functions, most) do
    with {:ok, listed} <- asked(Native.recordings(Engine.runtime(), functions, most)) do
      {listed, _said} =
        Enum.map_reduce(listed, %{}, fn {id, bytes, head, call}, said ->
          # Those of a version say the same of it, which may be long.
          {head, said} = hashed(head, said)
          {Map.merge(info(head, call), %{id: id, bytes: bytes}), said}
        end)

      {:ok, listed}
    end
  end

  # Each look at files is one of the VM's few threads for those, which actors and the catalog need as well.
  defp reading(function, work) do
    message = "others of the namespace read recordings, one at a time: try again later"
    in_turn(:recordings, function, @turn_ms, work, message)
  end

  # What is read of one to replay it is many times its size.
  defp replaying(function, work) do
    message = "others of the namespace replay recordings, of which a few are replayed at a time: try again later"
    in_turn(:replays, function, @replay_ms, work, message)
  end

  defp in_turn(kind, function, wait_ms, work, message) do
    case Turns.run(kind, function, System.monotonic_time(:millisecond) + wait_ms, work) do
      {:ok, result} -> result
      refused when refused in [:late, :busy] -> {:error, Error.new(:overloaded, message)}
    end
  end

  # In a turn's own process, with which what comes too late goes.
  defp await_written(forget?) do
    id = System.unique_integer([:positive])

    with :ok <- Native.flush_recordings(Engine.runtime(), id, forget?) do
      receive do
        {:tidepool_written, ^id} -> :ok
      after
        @written_ms -> :late
      end
    end
  end

  defp hashed(nil, said), do: {nil, said}

  defp hashed({name, version, about, _made, _start}, said) do
    key = {name, version}

    case said do
      %{^key => {^about, sha256}} ->
        {{name, version, sha256}, said}

      _other_or_none ->
        sha256 = hash(about)
        {{name, version, sha256}, Map.put(said, key, {about, sha256})}
    end
  end

  defp hash(about), do: with({:ok, sha256, _options} <- read_about(about), do: sha256, else: (:error -> nil))

  @doc """
  A recording of this node, as a file of its own; it is read in a turn of the namespace of a function, where one is named. Errors have
  the reason `:unknown_recording`, `:invalid_recording`, or `:overloaded` as those of `list/2`.
  """
  @spec fetch(id :: String.t(), function :: String.t()) :: {:ok, binary} | {:error, Error.t()}
  def fetch(id, function \\ "") do
    case reading(function, fn -> asked(Native.recording(Engine.runtime(), id)) end) do
      {:ok, nil} -> unknown(id)
      {:damaged, message} -> invalid(message)
      found -> found
    end
  end

  @doc """
  Deletes a recording of this node: what it held is overwritten. Errors have the reason `:unknown_recording`, or `:overloaded` as those
  of `list/2`.
  """
  @spec delete(id :: String.t()) :: :ok | {:error, Error.t()}
  def delete(id) do
    delete = fn ->
      await_written(true)
      asked(Native.delete_recording(Engine.runtime(), id))
    end

    case reading("", delete) do
      {:ok, true} -> :ok
      {:ok, false} -> unknown(id)
      refused -> refused
    end
  end

  @doc "What is in a file with a recording. Errors have the reason `:invalid_recording`."
  @spec read(binary) :: {:ok, info} | {:error, Error.t()}
  def read(recording) do
    with {:ok, {name, version, about, _made, _start}, call} <- parsed(recording),
         do: {:ok, info({name, version, hash(about)}, call)}
  end

  @doc """
  Replays a recording with its module, which is found in the node's catalog by its hash when it is not given, and reports what it came
  to: a map with `verdict`, `recorded`, `replayed`, `parted`, `calls` and `log`, what the host was asked in the recorded call. `exact`
  says whether the code is the one that ran, made by the same compiler for the same processor: if not, stacks may end elsewhere, and
  numbers that are none differ, these not where `deterministic` says that the function was deployed with that.

  With `against: true` the module is another version. Errors have the reason `:invalid_recording`; `:not_deployed` when its module is
  not here; or are those of a deploy, of a module that can't be one.
  """
  @spec replay(binary, wasm :: binary | nil, against: boolean) :: {:ok, map} | {:error, Error.t()}
  def replay(recording, wasm \\ nil, options \\ []) do
    against? = Keyword.get(options, :against, false)

    with {:ok, {name, version, _about, made, _start} = head, call} <- parsed(recording),
         {:ok, function, entry, _wasm} <- function(head, call, wasm, against?, &Loader.compile_optimised/2),
         {:ok, report} <- replaying(name, fn -> run(function, recording, against?, name, call) end) do
      of = %{"function" => name, "version" => version, "deterministic" => entry.deterministic}
      {:ok, report |> Map.merge(of) |> Map.put("exact", Native.made(function) == made)}
    end
  end

  @doc """
  Begins to debug a recording with its module, as `replay/3` has them; `command/2` goes on. The guest's code is compiled for that, on an
  engine of its own, and is a few times slower: do it on a runtime that serves nobody else. Errors are those of `replay/3`.
  """
  @spec debug(binary, wasm :: binary | nil) :: {:ok, Native.session()} | {:error, Error.t()}
  def debug(recording, wasm \\ nil) do
    with {:ok, head, call} <- parsed(recording),
         {:ok, function, _entry, wasm} <-
           function(head, call, wasm, false, &Loader.compile_debugged/2, @debugged_times),
         {:error, message} <- Native.debug(function, recording, wasm),
         do: invalid(message)
  end

  @doc """
  Does what a line says to the debugger, of those that `help` lists: what there is to say, the report of the replay where the call is over
  by it, as `replay/3` has it, and whether the session is over. What makes no sense is `{:error, text}`, and changes nothing.
  """
  @spec command(Native.session(), line :: binary) ::
          {:ok, [binary], report :: map | nil, quits? :: boolean} | {:error, binary}
  def command(session, line) do
    with {:ok, lines, report, quits?} when report != nil <- Native.debug_command(session, line),
         {:ok, report} <- Native.json_decode_large(report),
         do: {:ok, lines, Map.put(report, "exact", false), quits?}
  end

  # The function of a recording, as it was when that was made.
  defp function({name, version, about, _made, start}, call, wasm, against?, compile, times \\ 1) do
    with {:ok, sha256, deployed} <- about(about),
         :ok <- named(name, deployed[:name]),
         {:ok, wasm} <- module(wasm, sha256, against?),
         {:ok, entry} <- entry(deployed, version, wasm, start),
         entry = within(entry, call, times),
         {:ok, loaded} <- compile.(wasm, entry),
         entry = unhurried(entry, loaded.abi, times),
         :ok <- begun_alike(loaded, start, against?),
         {:ok, function} <- Loader.function(loaded, entry),
         do: {:ok, function, entry, wasm}
  end

  defp run(function, recording, against?, name, call) do
    case function |> begun(recording, against?, call) |> Execution.take_over(beside(name), nil) do
      {:ok, report} ->
        decoded(report)

      {:error, %Error{reason: reason} = error} when reason in [:invalid_image, :invalid_option] ->
        invalid(error.message)

      {:error, %Error{reason: reason} = error} ->
        # The node has no room for it, which says nothing of the call.
        if Reason.is?(reason, :no_room), do: {:error, error}, else: {:ok, stopped(error, call)}
    end
  end

  # That of one call begins where it is asked for, as calls do: to go to another scheduler takes longer than a short one.
  defp begun(function, recording, against?, {_at, _operation, _bytes, 1, _redacted, _reason, _message})
       when byte_size(recording) <= @short_bytes,
       do: Native.replay(function, recording, against?)

  defp begun(function, recording, against?, _call), do: Native.replay_large(function, recording, against?)

  # By a limit of time while it waited for a core, so that its guest can't say where it was.
  defp stopped(error, {_at, _operation, _bytes, calls, _redacted, reason, message}) do
    told = fn reason, message -> %{"reason" => reason, "message" => message} end
    cut? = reason in @cuts or (reason == "limit" and message =~ "cpu_time")

    %{
      "verdict" => if(cut?, do: "cut", else: "limit"),
      "recorded" => told.(reason, message),
      "replayed" => told.(Error.reason(error), error.message),
      "parted" => nil,
      "last" => nil,
      "calls" => calls,
      "log" => []
    }
  end

  defp parsed(recording) do
    with {:error, message} <- read_head(recording), do: invalid(message)
  end

  defp read_head(recording) when byte_size(recording) <= @short_bytes, do: Native.read_recording(recording)
  defp read_head(recording), do: Native.read_recording_large(recording)

  defp about(about) do
    with :error <- read_about(about), do: invalid("this node does not know all options that its function has")
  end

  # By its name it has its turn, and by that among its options its account. Who has sent it may have written either.
  defp named(name, name), do: :ok

  defp named(name, other),
    do: invalid("it says that it is of #{Options.show(name)}, and that this was deployed as #{Options.show(other)}")

  # The hash of the module, and the options of the deploy.
  defp read_about(about) do
    with {:ok, %{"sha256" => sha256, "fields" => fields}} when is_binary(sha256) and is_list(fields) <-
           decoded(about),
         true <- Enum.all?(fields, &match?([name, text] when is_binary(name) and is_binary(text), &1)),
         {:ok, options} <- fields |> Enum.map(&List.to_tuple/1) |> Fields.read(Spec.kept()) do
      {:ok, sha256, Actors.without_former(options)}
    else
      _other -> :error
    end
  end

  defp decoded(text) when byte_size(text) <= @short_bytes, do: Native.json_decode(text)
  defp decoded(text), do: Native.json_decode_large(text)

  defp module(wasm, sha256, against?) when is_binary(wasm) do
    cond do
      not against? and BlobStore.sha256(wasm) != sha256 ->
        invalid("it is of a module with the SHA-256 #{sha256}; with this one it can be compared as another version")

      # Of any other nobody knows who made it.
      Config.words(Config.get(:deploy_keys)) != [] and not match?({:ok, _wasm}, Catalog.module(BlobStore.sha256(wasm))) ->
        {:error,
         Error.new(:unsigned, "this node runs signed modules alone (setting :deploy_keys), and has not this one")}

      true ->
        with :ok <- Loader.check_size(byte_size(wasm)), do: {:ok, wasm}
    end
  end

  defp module(nil, sha256, _against?) do
    with {:error, %Error{reason: :not_deployed}} <- Catalog.module(sha256) do
      {:error, Error.new(:not_deployed, "its module is not on this node: give the one with the SHA-256 #{sha256}")}
    end
  end

  # The function as it was, but for what others would notice of it: nothing outside of the recording is there for its guests. Instances
  # that ran their start functions had no snapshot.
  defp entry(deployed, version, wasm, start) do
    closed = [signature: nil, ref: nil, net: [], files: [], routes: [], tools: []]

    deployed =
      deployed |> Keyword.merge(closed) |> Keyword.merge(if(start == "initialiser", do: [snapshot: false], else: []))

    with {:ok, options} <- Spec.check(deployed, Spec.schema(), "the option") do
      at = System.os_time(:second)
      fields = %{version: version, sha256: BlobStore.sha256(wasm), size: byte_size(wasm), deployed_at: at}
      {:ok, Entry |> struct!(options |> Spec.take() |> Map.merge(fields)) |> aside()}
    end
  end

  # All calls of its instance are replayed in one.
  defp within(entry, {_at, _operation, _bytes, calls, _redacted, _reason, _message}, times) do
    together = fn limit -> limit |> Kernel.*(calls) |> min(max(limit, @most_ms)) |> Kernel.*(times) end
    %{entry | limits: Map.merge(entry.limits, Map.new([:time, :cpu_time], &{&1, together.(entry.limits[&1])}))}
  end

  # Limits of calls are none of processes, which may have run for days.
  defp unhurried(entry, :lunatic, times),
    do: %{entry | limits: Map.merge(entry.limits, %{time: @most_ms * times, cpu_time: @most_ms * times})}

  defp unhurried(entry, _abi, _times), do: entry

  @doc """
  A function beside the one that is called, of the same options, for replays. What its guests print has a name before it that no function
  can have. It has no pool, as an instance that is kept serves as a fresh one does, and it records nothing.
  """
  @spec aside(Entry.t()) :: Entry.t()
  def aside(entry), do: %{entry | name: beside(entry.name), instances: :fresh, record: :off}

  defp beside(name), do: name <> "@replay"

  @doc """
  The verdict on a recording of a function with another version of its module, in a turn of the namespace. Errors have the reason
  `:invalid_recording` where it can't be compared: it is redacted, or of an actor; or are those of a node that has no room.
  """
  @spec compare(Native.function_ref(), binary, name :: String.t()) :: {:ok, verdict :: String.t()} | {:error, Error.t()}
  def compare(function, recording, name) do
    replaying(name, fn ->
      with {:ok, _head, call} <- parsed(recording),
           {:ok, report} <- run(function, recording, true, name, call),
           do: {:ok, report["verdict"]}
    end)
  end

  defp begun_alike(_loaded, _start, true), do: :ok

  defp begun_alike(%{start: start}, recorded, false) do
    if to_string(start) == recorded,
      do: :ok,
      else:
        invalid(
          "its function began with #{recorded}, and here with #{start}: a busy machine may have had no time for a snapshot, so try again"
        )
  end

  defp info(nil, message) when is_binary(message), do: %{damaged: message}
  defp info(head, message) when is_binary(message), do: head |> of() |> Map.put(:damaged, message)

  defp info(head, {at, operation, payload_bytes, calls, redacted, reason, message}) do
    call = %{at: at, operation: operation, payload_bytes: payload_bytes, calls: calls, redacted: redacted}
    head |> of() |> Map.merge(call) |> Map.merge(%{reason: reason, message: message})
  end

  defp of({name, version, sha256}), do: %{function: name, version: version, sha256: sha256}

  defp asked({:error, message}), do: {:error, Error.new(:unavailable, "recordings can't be read: #{message}")}
  defp asked(found), do: found

  defp unknown(id), do: {:error, Error.new(:unknown_recording, "no recording #{inspect(id)} is kept on this node")}
  defp invalid(message), do: {:error, Error.new(:invalid_recording, "the recording can't be replayed: #{message}")}
end
