defmodule Tidepool.Cluster.Waiters do
  @moduledoc """
  The processes that wait until a version can be called elsewhere: state and effects of `Tidepool.Cluster.Server`, which says by a
  function what became of a version, `t:standing/0`.

  It is asked once for all that has happened in between, when the message `:look` comes. The message `{:late, monitor}` ends
  one's patience, and that of its monitor says that it waits no more.
  """

  alias Tidepool.Catalog.Clock
  alias Tidepool.Cluster

  # By their monitors: whom to answer, the version, and the timer of their patience. Is no `:look` under way?
  defstruct waiting: %{}, looked?: true

  @type version :: %{name: String.t(), stamp: Clock.stamp(), extent: Cluster.extent()}
  @type standing :: (version -> {:ok | :waiting | :superseded, Cluster.spread()})
  @opaque t :: %__MODULE__{waiting: %{reference => map}, looked?: boolean}

  @doc "Nobody waits."
  @spec new :: t
  def new, do: %__MODULE__{}

  @doc "Does the process of this monitor wait?"
  @spec waits?(t, reference) :: boolean
  def waits?(waiters, monitor), do: is_map_key(waiters.waiting, monitor)

  @doc "One more, who is answered at once if that can be, and within `timeout` ms in any case."
  @spec add(t, GenServer.from(), version, timeout :: non_neg_integer, standing) :: t
  def add(waiters, {pid, _tag} = from, version, timeout, standing) do
    monitor = Process.monitor(pid)
    timer = Process.send_after(self(), {:late, monitor}, timeout)
    answer(put_in(waiters.waiting[monitor], %{from: from, version: version, timer: timer}), monitor, standing)
  end

  @doc "Something has happened that they may have waited for."
  @spec look_again(t) :: t
  def look_again(%{waiting: waiting, looked?: true} = waiters) when waiting != %{} do
    send(self(), :look)
    %{waiters | looked?: false}
  end

  def look_again(waiters), do: waiters

  @doc "Answers those who have waited long enough for what is."
  @spec look(t, standing) :: t
  def look(waiters, standing) do
    waiters.waiting |> Map.keys() |> Enum.reduce(%{waiters | looked?: true}, &answer(&2, &1, standing))
  end

  @doc "One's time is over."
  @spec late(t, reference, standing) :: t
  def late(waiters, monitor, standing) do
    {_standing, spread} = standing.(waiters.waiting[monitor].version)
    reply(waiters, monitor, {:timeout, spread})
  end

  @doc "One waits no more."
  @spec leave(t, reference) :: t
  def leave(waiters, monitor), do: waiters |> pop(monitor) |> elem(1)

  defp answer(waiters, monitor, standing) do
    case standing.(waiters.waiting[monitor].version) do
      {:waiting, _spread} -> waiters
      answer -> reply(waiters, monitor, answer)
    end
  end

  defp reply(waiters, monitor, answer) do
    {waits, waiters} = pop(waiters, monitor)
    GenServer.reply(waits.from, answer)
    waiters
  end

  defp pop(waiters, monitor) do
    {waits, waiting} = Map.pop!(waiters.waiting, monitor)
    Process.demonitor(monitor, [:flush])
    Process.cancel_timer(waits.timer)
    {waits, %{waiters | waiting: waiting}}
  end
end
