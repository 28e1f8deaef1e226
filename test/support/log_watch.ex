defmodule Tidepool.LogWatch do
  @moduledoc """
  A Logger handler that sends events to a test: `{:logged, function, level, text, metadata}`, in the order in which they
  were logged.
  """

  @doc "Sends the events of `function` to the calling process until the test is over."
  def watch(function) do
    id = :"watch_#{System.unique_integer([:positive])}"
    config = %{config: %{pid: self(), function: function}}
    :ok = :logger.add_handler(id, __MODULE__, config)
    ExUnit.Callbacks.on_exit(fn -> :logger.remove_handler(id) end)
  end

  @doc "Collects all events of this node in a process of its own; `collected/0` returns their texts. For peers."
  def collect do
    {:ok, agent} = Agent.start(fn -> [] end, name: __MODULE__)
    :logger.add_handler(:collect, __MODULE__, %{config: %{agent: agent}})
  end

  @doc "What was logged since `collect/0`: `{level, text}`, oldest first."
  def collected, do: Agent.get(__MODULE__, &Enum.reverse/1)

  @doc false
  def log(%{level: level, msg: message, meta: meta}, %{config: %{pid: pid, function: function}}) do
    if meta[:function] == function, do: send(pid, {:logged, function, level, text(message), meta})
  end

  def log(%{level: level, msg: message}, %{config: %{agent: agent}}) do
    Agent.update(agent, &[{level, text(message)} | &1])
  end

  defp text({:string, text}), do: IO.chardata_to_string(text)
  defp text({:report, report}), do: inspect(report)
  defp text({format, arguments}), do: format |> :io_lib.format(arguments) |> IO.chardata_to_string()
end
