defmodule TidepoolWeb.Resources.Processes do
  @moduledoc """
  Processes of guests on this node: programs are started and upgraded, their processes listed, looked at and killed.

  A process is called `PROGRAM.ID`, by the numbers that it has on this node and in its program.
  """

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Error, Log, Native}
  alias Tidepool.Function.Fields
  alias TidepoolWeb.Reply

  # A program's arguments and its environment.
  @max_body 262_144
  # A killed process ends with its slice, which is a ms.
  @patience_ms 5_000
  # A node may have a hundred thousand.
  @listed 1_000

  @impl true
  def routes do
    [
      {"GET", "/processes", scope: :read, query: true},
      {"POST", "/processes/:function", scope: :call, body: {:whole, @max_body}},
      {"POST", "/processes/:process/upgrade", scope: :deploy},
      {"GET", "/processes/:process", scope: :read},
      {"DELETE", "/processes/:process", scope: :deploy}
    ]
  end

  @impl true
  def serve("GET", ["processes"], %{query: query}) do
    with {:ok, function} <- listed(query) do
      all = for info <- Tidepool.Process.list(), function in [nil, info.function], do: info
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

  def serve("POST", ["processes", name], %{body: body}) do
    with {:ok, args, options} <- program(body, name),
         {:ok, pid} <- Tidepool.Process.start(name, args, options) do
      case Tidepool.Process.info(pid) do
        # A short one is over by now, and its end is in the log.
        nil -> Reply.json(201, %{id: nil, function: name, node: node(), state: :ended})
        # Where it is changes at every moment now.
        info -> Reply.json(201, info |> json(%{}) |> Map.drop([:current_function, :stack]))
      end
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("POST", ["processes", process, "upgrade"], %{origin: origin}) do
    with {:ok, %{pid: pid, version: before} = info} <- find(process),
         {:ok, version} <- Tidepool.Process.upgrade(pid) do
      Log.changed(:process_upgraded, number(info), origin)
      Reply.json(202, %{asked: number(info), from: before, to: version})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("GET", ["processes", process], _request) do
    with {:ok, %{pid: pid} = found} <- find(process) do
      # It may have ended meanwhile, and was there when it was asked for.
      Reply.json(200, json(Tidepool.Process.info(pid) || found, %{}))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("DELETE", ["processes", process], %{origin: origin}) do
    with {:ok, %{pid: pid} = info} <- find(process) do
      monitor = Process.monitor(pid)
      Tidepool.Process.kill(pid)
      Log.changed(:process_killed, number(info), origin)

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

  # Who misspells what to list should not be told of everything.
  defp listed([]), do: {:ok, nil}
  defp listed([{"function", name}]), do: {:ok, name}

  defp listed(query) do
    case Enum.find(query, fn {parameter, _text} -> parameter != "function" end) do
      {parameter, _text} ->
        Fields.unknown("parameter", parameter, ["function"])

      nil ->
        {:error, Error.new(:duplicate_field, "the parameter `function` may be given once", nil, %{field: "function"})}
    end
  end

  # `{"args": ["--port", "7000"], "env": {"LANG": "C"}, "entry": "_start"}`; no body is an empty one. The first argument of all
  # is the function's name, as programs expect it.
  defp program("", name), do: {:ok, [name], []}

  defp program(body, name) do
    with {:ok, %{} = given} <- Native.json_decode(body),
         {:known, nil} <- {:known, Enum.find(Map.keys(given), &(&1 not in ["args", "env", "entry"]))},
         {args, env, entry} =
           {Map.get(given, "args", []), Map.get(given, "env", %{}), Map.get(given, "entry", "_start")},
         true <- is_list(args) and is_map(env) and is_binary(entry) do
      {:ok, [name | args], env: env, entry: entry}
    else
      {:known, field} -> Fields.unknown("field", field, ["args", "env", "entry"])
      {:error, why} when is_binary(why) -> wrong("is no JSON: #{why}", name)
      _other -> wrong(~s(has to be like {"args": ["a"], "env": {"KEY": "value"}, "entry": "_start"}), name)
    end
  end

  defp wrong(why, name), do: {:error, Error.new(:invalid_option, "the body " <> why, name)}

  defp find(process) do
    with [program, id] <- String.split(process, "."),
         {program, ""} <- Integer.parse(program),
         {id, ""} <- Integer.parse(id),
         %{} = info <- Tidepool.Process.find(program, id) do
      {:ok, info}
    else
      _other -> {:error, Error.new(:unknown_process, "no process #{inspect(process)} of a guest runs on this node")}
    end
  end

  defp number(%{program: program, id: id}), do: "#{program}.#{id}"

  # Links to processes of other programs, and of the host's, are told as the VM does.
  defp json(info, numbers) do
    links = for pid <- info.links, do: numbers[pid] || linked(pid)
    info |> Map.drop([:pid, :program]) |> Map.merge(%{id: number(info), links: links})
  end

  defp linked(pid) do
    case Tidepool.Process.info(pid) do
      nil -> inspect(pid)
      info -> number(info)
    end
  end
end
