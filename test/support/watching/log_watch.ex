defmodule Tidepool.LogWatch do
  @moduledoc """
  A Logger handler that sends events to a test: `{:logged, function, level, text, metadata}`, in the order in which they
  were logged.
  """

  @watchers __MODULE__.Watchers

  @doc """
  Begins to listen, once for all tests: the logger of OTP 27 may lose count of its handlers when some are added and others
  removed at the same time.
  """
  def start do
    {:ok, _registry} = Registry.start_link(keys: :duplicate, name: @watchers)
    :ok = :logger.add_handler(:watch, __MODULE__, %{config: :watchers})
  end

  @doc "Sends the events of `function`, or with `nil` those of none, to the calling process until that ends."
  def watch(function), do: {:ok, _registry} = Registry.register(@watchers, function, nil)

  @doc "Collects all events of this node in a process of its own; `collected/0` returns their texts. For peers."
  def collect do
    {:ok, agent} = Agent.start(fn -> [] end, name: __MODULE__)
    :logger.add_handler(:collect, __MODULE__, %{config: %{agent: agent}})
  end

  @doc "What was logged since `collect/0`: `{level, text}`, oldest first."
  def collected, do: for({level, text, _metadata} <- collected_events(), do: {level, text})

  @doc "The same with metadata: `{level, text, metadata}`."
  def collected_events, do: Agent.get(__MODULE__, &Enum.reverse/1)

  @doc false
  def log(%{level: level, msg: message, meta: meta}, %{config: :watchers}) do
    function = meta[:tidepool_function]

    Registry.dispatch(@watchers, function, fn watchers ->
      for {pid, nil} <- watchers, do: send(pid, {:logged, function, level, text(message), meta})
    end)
  end

  def log(%{level: level, msg: message, meta: meta}, %{config: %{agent: agent}}) do
    Agent.update(agent, &[{level, text(message), meta} | &1])
  end

  defp text({:string, text}), do: IO.chardata_to_string(text)
  defp text({:report, report}), do: inspect(report)
  defp text({format, arguments}), do: format |> :io_lib.format(arguments) |> IO.chardata_to_string()
end
