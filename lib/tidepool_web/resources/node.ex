defmodule TidepoolWeb.Resources.Node do
  @moduledoc "This node: what it runs on, how it is, and its settings. Of secrets it says whether they are set."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Config, Engine, Options}
  alias TidepoolWeb.{Listener, Reply}

  @impl true
  # Settings name folders and other machines.
  def routes, do: [{"GET", "/node", scope: :read, guarded: true}]

  @impl true
  def serve("GET", ["node"], _request) do
    {memory, cores} = Engine.machine()
    {uptime_ms, _since} = :erlang.statistics(:wall_clock)

    Reply.json(200, %{
      node: node(),
      tidepool: vsn(:tidepool),
      elixir: System.version(),
      otp: System.otp_release(),
      uptime_s: div(uptime_ms, 1_000),
      machine: %{memory: memory, cores: cores},
      beam: %{
        memory: Map.new(:erlang.memory()),
        processes: :erlang.system_info(:process_count),
        run_queue: :erlang.statistics(:total_run_queue_lengths),
        schedulers: System.schedulers_online()
      },
      engines: Engine.engines(),
      edge: Listener.stats(),
      settings: Enum.map(Config.Schema.settings(), &setting/1)
    })
  end

  defp setting({key, spec}) do
    value = Config.get(key)
    shown = if spec[:secret], do: if(value, do: "set", else: "not set"), else: shown(key, value)
    %{name: key, value: shown, default: value == spec[:default], doc: spec[:doc]}
  end

  # Modules that answer for folders have arguments, which are theirs.
  defp shown(:files, files), do: files |> Map.keys() |> Options.show()
  defp shown(:otlp, %{} = settings), do: settings |> Map.delete(:headers) |> Options.show()
  # What is between a scheme and an `@` may be a password.
  defp shown(_key, value), do: value |> Options.show() |> String.replace(~r{//[^/\s"@]*@}, "//…@")

  defp vsn(application), do: application |> Application.spec(:vsn) |> to_string()
end
