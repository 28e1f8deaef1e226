defmodule Tidepool.Error do
  alias Tidepool.Error.{Lines, Reason}

  @moduledoc """
  Why an operation failed. Match on `:reason`, which is stable; the message is for people and may change.

  `:details` holds what the reason is about, in a map whose keys depend on it: `:backtrace` and `:console` of a trap (what the
  guest printed last in this call: up to 32 lines, in bytes up to 4,096), `:allowed` of a limit, `:import` or `:export` and `:step` of
  a refused deploy.

  ## Reasons of a call

  #{Reason.documented(:call)}
  ## Reasons of a deploy

  Those above when the module's start functions fail, and

  #{Reason.documented(:deploy)}
  ## Reasons of forgetting a node

  #{Reason.documented(:node)}
  ## Reasons of a process

  #{Reason.documented(:process)}
  ## Reasons of an actor

  Those of a call, and

  #{Reason.documented(:actor)}
  ## Reasons of a token

  #{Reason.documented(:token)}
  ## Reasons of a start

  #{Reason.documented(:start)}
  """

  @type reason :: Reason.t()

  @type t :: %__MODULE__{reason: reason, message: String.t(), function: String.t() | nil, details: map}

  defexception [:reason, :message, :function, details: %{}]

  @doc false
  # See `Tidepool.Error.Reason.word/1`.
  @spec reason(t) :: String.t()
  def reason(%__MODULE__{reason: reason}), do: reason |> Reason.word() |> to_string()

  @doc false
  # What the file system says of a path: an atom, or a text of the native library's.
  @spec storage(Path.t(), :file.posix() | :badarg | :terminated | :system_limit | String.t()) :: t
  def storage(path, reason) do
    text = if is_atom(reason), do: :file.format_error(reason), else: reason
    new(:storage, "#{path}: #{text}")
  end

  @doc false
  @spec new(reason, String.t(), String.t() | nil, map) :: t
  def new(reason, message, function \\ nil, details \\ %{}) do
    %__MODULE__{reason: reason, message: message, function: function, details: Lines.told(details)}
  end
end
