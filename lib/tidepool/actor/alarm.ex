defmodule Tidepool.Actor.Alarm do
  @moduledoc """
  The alarm of an actor: an operation that is called at a time, without a caller. It is called until that is once written that it was:
  when it fails again after 2, 4, 8, 16, 32 and 64 s, and then it stays as it is, as one that has failed.
  """

  alias Tidepool.Function.{Actors, Spec}

  # Of the process that rings: `Tidepool.Actor.Activation.Alarms`.
  @process Tidepool.Actor.AlarmClock
  @retries 6
  @first_retry_ms 2_000
  # The end of the year 9999.
  @latest 253_402_300_799_999
  @digits 15
  # An actor that sets its next alarm whenever one comes is no endless loop.
  @apart_ms 100

  @enforce_keys [:at, :operation, :due]
  defstruct @enforce_keys ++ [tries: 0]

  @typedoc """
  `at` is what the guest has said, in ms since 1970, and `due` when it is called next, which is no time before it was set; `nil` when it has failed for good. `tries` are
  those that have failed.
  """
  @type t :: %__MODULE__{
          at: non_neg_integer,
          operation: String.t(),
          due: non_neg_integer | nil,
          tries: non_neg_integer
        }

  @doc "The name of the process that rings."
  @spec process :: atom
  def process, do: @process

  @doc "Has it look when this one is due."
  @spec told(due :: integer | nil) :: :ok
  def told(nil), do: :ok
  def told(due), do: GenServer.cast(@process, {:set, due})

  @doc "Has it look at once, at those too that it has left alone: this node has actors that it did not have."
  @spec owned :: :ok
  def owned, do: GenServer.cast(@process, :owned)

  @doc """
  The alarm that a guest asks for: a time in ms since 1970, or `+` and in how many ms from now, a line break, and the operation. `within`
  says that it is asked for by what an alarm has called.

      iex> {:ok, alarm} = Tidepool.Actor.Alarm.read("+500\\nwake up", 1_000, false)
      iex> {alarm.at, alarm.operation}
      {1_500, "wake up"}
      iex> for text <- ["-5\\na", "NaN\\na", "5", "5\\n", "1e3\\na", "\#{10 ** 15}\\na", ""], do: {:error, _why} = Tidepool.Actor.Alarm.read(text, 0, false)
      iex> {:ok, %{at: 5, due: 1_100}} = Tidepool.Actor.Alarm.read("5\\na", 1_000, true)
  """
  @spec read(binary, now :: integer, within :: boolean) :: {:ok, t} | {:error, String.t()}
  def read(text, now, within) do
    with [time, operation] <- :binary.split(text, "\n"),
         {:ok, at} <- time(time, now),
         true <- at <= @latest and Spec.operation?(operation) and not Actors.handover?(operation) do
      # What the guest sent may be a part of something larger.
      due = max(at, if(within, do: now + @apart_ms, else: now))
      {:ok, %__MODULE__{at: at, due: due, operation: :binary.copy(operation)}}
    else
      _other ->
        {:error, "it is ms since 1970 until #{@latest}, or + and ms from now, a line break, and an operation"}
    end
  end

  defp time("+" <> digits, now), do: with({:ok, ms} <- time(digits, now), do: {:ok, now + ms})

  defp time(digits, _now) do
    if digits =~ ~r/\A[0-9]{1,#{@digits}}\z/, do: {:ok, String.to_integer(digits)}, else: :error
  end

  @doc """
  What becomes of one that has failed.

      iex> alarm = %Tidepool.Actor.Alarm{at: 0, operation: "a", due: 0}
      iex> alarm |> Stream.iterate(&Tidepool.Actor.Alarm.failed(&1, 0)) |> Stream.map(& &1.due) |> Enum.take(8)
      [0, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, nil]
  """
  @spec failed(t, now :: integer) :: t
  def failed(%__MODULE__{tries: tries} = alarm, now) do
    due = if tries < @retries, do: now + @first_retry_ms * 2 ** tries
    %{alarm | due: due, tries: tries + 1}
  end

  @doc "As callers are shown it."
  @spec shown(t) :: map
  def shown(%__MODULE__{} = alarm),
    do: %{at: alarm.at, operation: alarm.operation, due: alarm.due, tries: alarm.tries, failed: alarm.due == nil}

  @doc "When a record's alarm is due."
  @spec due(t | nil) :: integer | nil
  def due(alarm), do: alarm && alarm.due

  @doc "Now, in ms since 1970: the machine's clock, however it was set."
  @spec now :: integer
  def now, do: System.os_time(:millisecond)
end
