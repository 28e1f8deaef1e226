defmodule Tidepool.Process.Runners do
  @moduledoc """
  Drives processes of guests that wait, when they are due or were woken: a runner for each run queue of the native library.

  A driver whose guest computes little sleeps on without a timer meanwhile (`native/tidepool_core/src/slice/run_queue.rs`). A
  runner that ends is replaced, and the queue is as it was.
  """

  use Supervisor

  alias Tidepool.Native

  @doc false
  @spec start_link(term) :: Supervisor.on_start()
  def start_link(_none), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(_none) do
    runners =
      for queue <- 0..(Native.run_queues() - 1) do
        %{id: queue, start: {Task, :start_link, [__MODULE__, :run, [queue]]}, restart: :permanent}
      end

    Supervisor.init(runners, strategy: :one_for_one)
  end

  @doc false
  @spec run(non_neg_integer) :: no_return
  def run(queue) do
    case Native.drive_queue(queue) do
      :yield ->
        # As drivers do: processes that a timer has woken run first.
        :erlang.yield()

      wait ->
        receive do
          _any -> :ok
        after
          wait -> :ok
        end
    end

    run(queue)
  end
end
