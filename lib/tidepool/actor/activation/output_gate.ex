defmodule Tidepool.Actor.Activation.OutputGate do
  @moduledoc """
  Answers of an actor's calls, held back in the order of the calls until what they depend on is on disk: the output commit of a process that
  goes on before its state is stable. A value: who holds it sends what is released.
  """

  # With so many outputs, or bytes of answers, that are held it is full.
  @most 1_000
  @most_bytes 4_194_304

  # `last` is the id of the write that began last, and `pending` how many have not ended. `held` has {id of a write | :now, output}:
  # `count` of them, with so many `bytes` of answers.
  defstruct last: 0, pending: 0, held: :queue.new(), count: 0, bytes: 0

  @typedoc "What is released: an answer for a caller, or an alarm that is on disk by then."
  @type output :: {:answer, GenServer.from(), answer :: term} | {:alarm, due :: integer | nil}

  @opaque t :: %__MODULE__{}

  @doc "With no write under way."
  @spec new :: t
  def new, do: %__MODULE__{}

  @doc "Has every write ended?"
  @spec idle?(t) :: boolean
  def idle?(%__MODULE__{pending: pending}), do: pending == 0

  @doc "The id of the write that began last."
  @spec last(t) :: non_neg_integer
  def last(%__MODULE__{last: last}), do: last

  @doc """
  Are as many outputs held, or bytes of answers, as may be? Those who wait for them have left the actor's queue, and may have left
  altogether: what is computed then should wait for writes before.
  """
  @spec full?(t) :: boolean
  def full?(%__MODULE__{count: count, bytes: bytes}), do: count >= @most or bytes >= @most_bytes

  @doc "A write with this id has begun: ids grow."
  @spec began(t, id :: pos_integer) :: t
  def began(gate, id), do: %{gate | last: id, pending: gate.pending + 1}

  @doc """
  Takes an output: `:gated` by the write that began last, or `:now`, which waits for outputs before it alone.

      iex> alias Tidepool.Actor.Activation.OutputGate
      iex> {[:first], gate} = OutputGate.put(OutputGate.new(), :now, :first)
      iex> {[], gate} = gate |> OutputGate.began(1) |> OutputGate.put(:gated, :second)
      iex> {[], gate} = OutputGate.put(gate, :now, :third)
      iex> {[:second, :third], gate} = OutputGate.committed(gate, 1)
      iex> OutputGate.idle?(gate)
      true
  """
  @spec put(t, :now | :gated, output) :: {released :: [output], t}
  def put(%{pending: 0} = gate, _when, output), do: {[output], gate}
  def put(gate, :now, output), do: {[], hold(gate, :now, output)}
  def put(gate, :gated, output), do: {[], hold(gate, gate.last, output)}

  defp hold(gate, id, output),
    do: %{gate | held: :queue.in({id, output}, gate.held), count: gate.count + 1, bytes: gate.bytes + bytes(output)}

  defp bytes({:answer, _from, {:ok, reply}}) when is_binary(reply), do: byte_size(reply)
  defp bytes({:answer, _from, {:error, %{message: message}}}), do: byte_size(message)
  defp bytes(_other), do: 0

  @doc "A write is on disk: it releases what waits for it or one before it, and those `:now` outputs that come next."
  @spec committed(t, id :: pos_integer) :: {released :: [output], t}
  def committed(gate, id), do: release(%{gate | pending: gate.pending - 1}, id, [])

  @doc """
  A write has failed: answers that wait for it become `answer`, and are told as soon as those before them are. Its alarms are dropped.

      iex> alias Tidepool.Actor.Activation.OutputGate
      iex> {[], gate} = OutputGate.new() |> OutputGate.began(1) |> OutputGate.put(:gated, {:alarm, 5})
      iex> {[], gate} = OutputGate.put(gate, :gated, {:answer, :a, :ok})
      iex> gate |> OutputGate.failed(1, :failed) |> elem(0)
      [{:answer, :a, :failed}]
  """
  @spec failed(t, id :: pos_integer, answer :: term) :: {released :: [output], t}
  def failed(gate, id, answer) do
    held =
      :queue.filter(
        fn
          {^id, {:answer, from, _answer}} -> [{:now, {:answer, from, answer}}]
          {^id, {:alarm, _due}} -> false
          _other -> true
        end,
        gate.held
      )

    count = :queue.len(held)
    bytes = :queue.fold(fn {_id, output}, bytes -> bytes + bytes(output) end, 0, held)
    release(%{gate | pending: gate.pending - 1, held: held, count: count, bytes: bytes}, 0, [])
  end

  defp release(gate, id, released) do
    case :queue.peek(gate.held) do
      {:value, {waits, output}} when waits == :now or waits <= id ->
        gate = %{gate | held: :queue.drop(gate.held), count: gate.count - 1, bytes: gate.bytes - bytes(output)}
        release(gate, id, [output | released])

      _later_or_none ->
        {Enum.reverse(released), gate}
    end
  end
end
