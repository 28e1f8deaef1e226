defmodule TidepoolWeb.Resources.Processes do
  @moduledoc """
  Processes of guests on this node: programs are started and upgraded, their processes listed, looked at and killed.

  A process is called `PROGRAM.ID`, by the numbers that it has on this node and in its program.
  """

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Error, Log, Native}
  alias Tidepool.Function.Fields
  alias Tidepool.Tokens.Access
  alias Tidepool.Log.Change
  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resource.{Namespace, Parameters, Shares}

  # A program's arguments and its environment.
  @max_body 262_144
  @large_bytes 4_096
  # Starts at a time with a body of so many bytes, which as terms have many times as many.
  @large 16
  # A killed process ends with its slice, which is a ms.
  @patience_ms 5_000
  # Those of a start.
  @fields ["args", "env", "entry", "cpu_time", "total_cpu_time"]
  # A node may have a hundred thousand.
  @listed 1_000
  # Lists at a time: each has a copy of all processes, whoever they are of.
  @lists 16

  @impl true
  def routes do
    [
      {"GET", "/processes", scope: :read, selects: true, query: true, places: @lists},
      {"POST", "/processes/:function", scope: :call, body: {:whole, @max_body}},
      {"POST", "/processes/:process/upgrade", scope: :deploy, selects: true},
      {"GET", "/processes/:process", scope: :read, selects: true},
      {"DELETE", "/processes/:process", scope: :deploy, selects: true}
    ]
  end

  @impl true
  def serve("GET", ["processes"], %{query: query, origin: origin}) do
    known = [{"function", {:text, nil}}, Namespace.parameter()]

    with {:ok, %{"function" => function, "namespace" => namespace}} <- Parameters.read(query, known) do
      all =
        for %{function: name} = info <- Tidepool.Process.list(),
            function in [nil, name] and Namespace.within?(name, namespace) and Access.sees?(origin, name),
            do: info

      {shown, omitted} = all |> Enum.sort_by(&{&1.program, &1.id}) |> Enum.split(@listed)
      numbers = Map.new(all, &{&1.pid, number(&1)})
      stacks = shown |> Enum.map(& &1.pid) |> Tidepool.Process.stacks()

      list = %{
        processes:
          for info <- shown do
            stack = Map.get(stacks, info.pid, [])
            info |> json(numbers) |> Map.put(:current_function, List.first(stack))
          end
      }

      Reply.json(200, if(omitted == [], do: list, else: Map.put(list, :omitted, length(omitted))))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("POST", ["processes", name], %{body: body, origin: origin}) do
    with :ok <- room(body, origin),
         {:ok, args, options} <- program(body, name),
         {:ok, info} <- start(name, args, options, origin) do
      # Where it is changes at every moment now.
      started = if info, do: info |> json(%{}) |> Map.drop([:current_function, :stack])
      Reply.json(201, started || %{id: nil, function: name, node: node(), state: :ended})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("POST", ["processes", process, "upgrade"], %{origin: origin}) do
    with {:ok, %{version: before} = info} <- find(process, origin),
         {:ok, version} <- upgrade(info, origin) do
      Reply.json(202, %{asked: number(info), from: before, to: version})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("GET", ["processes", process], %{origin: origin}) do
    with {:ok, %{pid: pid} = found} <- find(process, origin) do
      # It may have ended meanwhile, and was there when it was asked for.
      Reply.json(200, json(Tidepool.Process.info(pid) || found, %{}))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("DELETE", ["processes", process], %{origin: origin}) do
    with {:ok, %{pid: pid} = info} <- find(process, origin) do
      monitor = Process.monitor(pid)

      Change.make(fn ->
        Tidepool.Process.kill(pid)
        Log.changed(:process_killed, "#{info.function} #{number(info)}", origin)
      end)

      receive do
        {:DOWN, ^monitor, :process, ^pid, _reason} -> Reply.json(200, %{killed: number(info)})
      after
        @patience_ms ->
          message =
            "the process #{number(info)} was killed, and has not ended within #{@patience_ms} ms: the node is overloaded"

          Reply.error(Error.new(:timeout, message))
      end
    else
      {:error, error} -> Reply.error(error)
    end
  end

  defp start(name, args, options, origin) do
    Change.make(fn ->
      with {:ok, {pid, monitor}} <- Tidepool.Process.start_monitor(name, args, options) do
        Log.changed(:process_started, name, origin)
        with nil <- Tidepool.Process.info(pid), do: over(monitor), else: (info -> {:ok, info})
      end
    end)
  end

  # A short one is over by now: what it failed of is told here, too, as of a call.
  defp over(monitor) do
    receive do
      {:DOWN, ^monitor, :process, _pid, {%Error{} = error, _stack}} -> {:error, error}
      {:DOWN, ^monitor, :process, _pid, _reason} -> {:ok, nil}
    after
      @patience_ms -> {:ok, nil}
    end
  end

  defp upgrade(%{pid: pid} = info, origin) do
    Change.make(fn ->
      with {:ok, _version} = upgraded <- Tidepool.Process.upgrade(pid) do
        Log.changed(:process_upgraded, "#{info.function} #{number(info)}", origin)
        upgraded
      end
    end)
  end

  # `{"args": ["--port", "7000"], "env": {"LANG": "C"}, "entry": "_start"}`; no body is an empty one. The first argument of all
  # is the function's name, as programs expect it.
  defp program("", name), do: {:ok, [name], []}

  defp program(body, name) do
    with {:ok, %{} = given} <- decode(body),
         {:known, nil} <- {:known, Enum.find(Map.keys(given), &(&1 not in @fields))},
         {args, env, entry} =
           {Map.get(given, "args", []), Map.get(given, "env", %{}), Map.get(given, "entry", "_start")},
         true <- is_list(args) and is_map(env) and is_binary(entry) do
      {:ok, [name | args], env: env, entry: entry, cpu_time: given["cpu_time"], total_cpu_time: given["total_cpu_time"]}
    else
      {:known, field} -> Fields.unknown("field", field, @fields)
      {:error, why} when is_binary(why) -> wrong("is no JSON: #{why}", name)
      _other -> wrong(~s(has to be like {"args": ["a"], "env": {"KEY": "value"}, "entry": "_start"}), name)
    end
  end

  # Until the request is answered.
  defp room(body, origin) do
    with true <- byte_size(body) >= @large_bytes,
         :full <- Shares.take(:large_starts, Shares.client(origin), @large) do
      {:error, Error.new(:overloaded, "#{@large} programs start at a time with as long arguments: try again later")}
    else
      _room -> :ok
    end
  end

  # Beside the schedulers, when it takes more than a slice.
  defp decode(body),
    do: if(byte_size(body) < @large_bytes, do: Native.json_decode(body), else: Native.json_decode_large(body))

  defp wrong(why, name), do: {:error, Error.new(:invalid_option, "the body " <> why, name)}

  # What a token is not for is not there.
  defp find(process, origin) do
    with {:ok, info} <- find(process),
         do: if(Access.sees?(origin, info.function), do: {:ok, info}, else: unknown(process))
  end

  defp find(process) do
    with [program, id] <- String.split(process, "."),
         {:ok, program} <- read(program),
         {:ok, id} <- read(id),
         %{} = info <- Tidepool.Process.find(program, id) do
      {:ok, info}
    else
      _other -> unknown(process)
    end
  end

  # As many digits as a number of 63 bits has: the VM reads one of 60,000 digits in one go, which takes 40 ms.
  defp read(<<digit, _rest::binary>> = text) when digit in ?0..?9 and byte_size(text) <= 19,
    do: with({number, ""} <- Integer.parse(text), do: {:ok, number})

  defp read(_text), do: :error

  defp unknown(process),
    do: {:error, Error.new(:unknown_process, "no process #{inspect(process)} of a guest runs on this node")}

  defp number(%{program: program, id: id}), do: "#{program}.#{id}"

  # Links to processes of other programs, and of the host's, are told as the VM does.
  defp json(info, numbers) do
    {shown, omitted} = Enum.split(info.links, @listed)
    told = %{id: number(info), links: for(pid <- shown, do: numbers[pid] || linked(pid))}
    told = if omitted == [], do: told, else: Map.put(told, :links_omitted, length(omitted))
    info |> Map.drop([:pid, :program]) |> Map.merge(told)
  end

  defp linked(pid) do
    case Tidepool.Process.known(pid) do
      nil -> inspect(pid)
      info -> number(info)
    end
  end
end
