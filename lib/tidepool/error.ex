defmodule Tidepool.Error do
  @moduledoc """
  Why an operation failed. Match on `:reason`, which is stable; the message is for people and may change.

  `:details` holds what the reason is about, in a map whose keys depend on it: `:backtrace` and `:console` of a trap (what the
  guest printed last in this call: up to 32 lines, in bytes up to 4,096), `:allowed` of a limit, `:import` or `:export` and `:step` of
  a refused deploy.

  ## Reasons of a call

  | reason | meaning |
  | --- | --- |
  | `:not_deployed` | no function of that name |
  | `:unavailable` | deployed, but its module could not be loaded; the node's log says why |
  | `:not_ready` | deployed on another node, and its module did not arrive here within the call's time |
  | `:guest_error` | the guest itself said that the call failed; `:exit_code` for programs |
  | `{:trap, kind}` | the guest was stopped: `:unreachable`, `:memory_out_of_bounds`, `:table_out_of_bounds`, `:indirect_call_to_null`, `:bad_signature`, `:integer_overflow`, `:integer_division_by_zero`, `:bad_conversion_to_integer`, `:stack_overflow`, `:bad_pointer`, `:exit`, `:other` |
  | `{:limit, limit}` | a limit of the function: `:memory`, `:table`, `:cpu_time`, `:payload`, `:reply`, `:depth`, `:total_memory` |
  | `:timeout` | not done within the function's time limit or the caller's timeout |
  | `:overloaded` | no instance was free, and the queue was full or the wait too long |
  | `:internal` | Tidepool itself failed |

  ## Reasons of a deploy

  Those above when the module's start functions fail, and `:not_wasm`, `:component`, `:invalid_module`, `:unknown_abi`,
  `:missing_export`, `:export_type`, `:missing_import`, `:import_type`, `:too_demanding`, `:too_large`,
  `:invalid_config`, `:invalid_option`, `:storage`, `:not_spread` (deployed, but other nodes can't serve it yet: the
  details say which can and which can't); and of a form `:unknown_field`, `:duplicate_field`, `:invalid_field`.

  ## Reasons of forgetting a node

  `:node_reachable`, `:unknown_node`, `:unavailable`.

  ## Reasons of a start

  `:invalid_option`, `:data_in_use`, `:storage`, `:engine`, `:listen`.
  """

  @type trap ::
          :unreachable
          | :memory_out_of_bounds
          | :table_out_of_bounds
          | :indirect_call_to_null
          | :bad_signature
          | :integer_overflow
          | :integer_division_by_zero
          | :bad_conversion_to_integer
          | :stack_overflow
          | :bad_pointer
          | :exit
          | :other

  @type limit :: :memory | :table | :cpu_time | :payload | :reply | :depth | :total_memory

  @type reason :: atom | {:trap, trap} | {:limit, limit}

  @type t :: %__MODULE__{reason: reason, message: String.t(), function: String.t() | nil, details: map}

  defexception [:reason, :message, :function, details: %{}]

  @doc false
  # The reason as one word, as in metrics and logs: that of `{:trap, kind}` is `trap`.
  @spec reason(t) :: String.t()
  def reason(%__MODULE__{reason: {reason, _kind}}), do: to_string(reason)
  def reason(%__MODULE__{reason: reason}), do: to_string(reason)

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
    %__MODULE__{reason: reason, message: message, function: function, details: details}
  end
end
