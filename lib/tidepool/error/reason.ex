defmodule Tidepool.Error.Reason do
  @moduledoc """
  Every reason that an error can have, once: what it is told of, the status of its answer over HTTP, and what it means. Types,
  documentation and answers follow from this; what the edge refuses by itself is in `native/tidepool_http/src/message/reason.rs`.

  What a deploy is refused for is up to whoever deploys, so that its answer has 422 whatever the reason has elsewhere, unless the
  reason is one of *anywhere*: then it says the same there.
  """

  @traps [
    :unreachable,
    :memory_out_of_bounds,
    :table_out_of_bounds,
    :indirect_call_to_null,
    :bad_signature,
    :integer_overflow,
    :integer_division_by_zero,
    :bad_conversion_to_integer,
    :stack_overflow,
    :bad_pointer,
    :exit,
    :other
  ]

  # Those whose answers don't have 500.
  @limits [
    memory: 500,
    table: 500,
    cpu_time: 504,
    payload: 413,
    reply: 500,
    depth: 500,
    total_memory: 500,
    messages: 500
  ]

  # {reason, of what, status, meaning}
  @table [
    {:not_deployed, [:call], 404, "no function of that name"},
    {:unavailable, [:call, :node], {:anywhere, 503},
     "deployed, but its module could not be loaded; the node's log says why. Of a node: the cluster's processes are being restarted"},
    {:not_ready, [:call], {:anywhere, 503},
     "deployed on another node, and its module did not arrive here within the call's time"},
    {:guest_error, [:call], 422, "the guest itself said that the call failed; `:exit_code` for programs"},
    {:trap, [:call], 500, "the guest was stopped: #{Enum.map_join(@traps, ", ", &"`:#{&1}`")}"},
    {:limit, [:call], 500, "a limit of the function: #{Enum.map_join(Keyword.keys(@limits), ", ", &"`:#{&1}`")}"},
    {:timeout, [:call], 504, "not done within the function's time limit or the caller's timeout"},
    {:overloaded, [:call], {:anywhere, 503}, "no instance was free, and the queue was full or the wait too long"},
    {:internal, [:call], {:anywhere, 500}, "Tidepool itself failed"},
    {:not_wasm, [:deploy], 422, "the bytes are no WebAssembly"},
    {:component, [:deploy], 422, "a component; core modules can be deployed"},
    {:invalid_module, [:deploy], 422, "malformed, or uses a feature that is off"},
    {:unknown_abi, [:deploy], 422, "neither a waPC module nor a program of WASI or Lunatic"},
    {:missing_export, [:deploy], 422, "the ABI needs it"},
    {:export_type, [:deploy], 422, "it has another type than the ABI says"},
    {:missing_import, [:deploy], 422, "the host does not offer it"},
    {:import_type, [:deploy], 422, "the host offers it with another type"},
    {:too_demanding, [:deploy], 422, "needs more memory, tables, compiling or the like than there is"},
    {:too_large, [:deploy], {:anywhere, 413}, "more bytes than `max_module`"},
    {:invalid_config, [:deploy], 422, "the options do not suit the module"},
    {:invalid_option, [:deploy, :start], {:anywhere, 400}, "an option or a setting has a wrong value"},
    {:storage, [:deploy, :start], {:anywhere, 507}, "the disk refuses"},
    # Not a refusal: it stands, and what was asked for beside it did not come about in time.
    {:not_spread, [:deploy], {:anywhere, 504},
     "deployed, but other nodes can't serve it yet: the details say which can and which can't"},
    {:unknown_field, [:deploy], {:anywhere, 400}, "a form has a field, or a query a parameter, that there is not"},
    {:duplicate_field, [:deploy], {:anywhere, 400}, "a form has a field, or a query a parameter, twice"},
    {:invalid_field, [:deploy], {:anywhere, 400}, "a field of a form is too long"},
    {:node_reachable, [:node], 409, "it can be reached: stop it first"},
    {:unknown_node, [:node], 404, "it is not among the nodes that this node has lost"},
    {:not_a_program, [:process], 422, "a waPC function can be called, and has nothing that a process could run"},
    {:not_upgradable, [:process], 409,
     "the program has not said that it takes upgrades, or it is not its first process"},
    {:up_to_date, [:process], 409, "the program runs the newest version"},
    {:unknown_process, [:process], 404, "no process of that number runs on this node"},
    {:data_in_use, [:start], 500, "another node has the data folder"},
    {:engine, [:start], 500, "the native library can't start"},
    {:listen, [:start], 500, "the edge can't listen where it should"}
  ]

  @rows Map.new(@table, fn {reason, of, status, _meaning} -> {reason, {of, status}} end)

  union = fn names -> Enum.reduce(Enum.reverse(names), fn name, rest -> {:|, [], [name, rest]} end) end
  words = for {reason, _of, _status, _meaning} <- @table, reason not in [:trap, :limit], do: reason

  @type trap :: unquote(union.(@traps))
  @type limit :: unquote(union.(Keyword.keys(@limits)))
  @type t :: unquote(union.(words)) | {:trap, trap} | {:limit, limit}

  @typedoc "What an error is told of: a call, a deploy, another node that is to be forgotten, a guest's process, the start of this node."
  @type subject :: :call | :deploy | :node | :process | :start

  @doc "All reasons as words, those of `{:trap, kind}` and `{:limit, limit}` among them, that are told of this."
  @spec all(subject) :: [atom]
  def all(subject), do: for({reason, of, _status, _meaning} <- @table, subject in of, do: reason)

  @doc "The status of an answer with this reason; `refused?`: that of a deploy."
  @spec status(t, refused? :: boolean) :: 400..599
  def status(reason, refused?) do
    case {reason, refused?} do
      {_reason, true} -> refused(word(reason))
      {{:limit, limit}, false} -> Keyword.fetch!(@limits, limit)
      {_reason, false} -> elsewhere(word(reason))
    end
  end

  defp refused(word), do: with({:anywhere, status} <- own(word), do: status, else: (_other -> 422))
  defp elsewhere(word), do: with({:anywhere, status} <- own(word), do: status)
  defp own(word), do: @rows |> Map.fetch!(word) |> elem(1)

  @doc "The reason as one word, as in metrics and logs: that of `{:trap, kind}` is `trap`."
  @spec word(t) :: atom
  def word({word, _kind}), do: word
  def word(word), do: word

  @doc "The reasons that are told of this, with what they mean, as a table in Markdown."
  @spec documented(subject) :: String.t()
  def documented(subject) do
    rows = for {reason, of, _status, meaning} <- @table, subject in of, do: "| `#{spelled(reason)}` | #{meaning} |\n"
    Enum.join(["| reason | meaning |\n", "| --- | --- |\n" | rows])
  end

  defp spelled(:trap), do: "{:trap, kind}"
  defp spelled(:limit), do: "{:limit, limit}"
  defp spelled(reason), do: inspect(reason)
end
