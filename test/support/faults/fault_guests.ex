defmodule Tidepool.FaultGuests do
  @moduledoc """
  The hostile guests and what the host has to make of each: the table of guests/hostile/README.md as data.
  """

  # What a module may use. Time is no object for those that end by themselves, so that a busy machine changes nothing.
  @patient [time: 60_000, cpu_time: 30_000]
  @endless [time: 60_000, cpu_time: 100]
  @sleeping [time: 500]

  # {:reply, bytes}; {:fails, reason, details}; {:refused, step, reason, details}: the details that have to be there.
  @hostile %{
    # Never done
    "loop" => {@endless, {:fails, {:limit, :cpu_time}, []}},
    "loop_fill" => {@endless, {:fails, {:limit, :cpu_time}, []}},
    "host_flood" => {@endless, {:fails, {:limit, :cpu_time}, []}},
    "log_flood" => {@endless, {:fails, {:limit, :cpu_time}, []}},
    "recurse_forever" => {@patient, {:fails, :guest_error, []}},
    "parked" => {@patient, {:reply, "let go"}},
    # Traps
    "trap_unreachable" => {@patient, {:fails, {:trap, :unreachable}, []}},
    "trap_out_of_bounds" => {@patient, {:fails, {:trap, :memory_out_of_bounds}, []}},
    "trap_divide_by_zero" => {@patient, {:fails, {:trap, :integer_division_by_zero}, []}},
    "trap_integer_overflow" => {@patient, {:fails, {:trap, :integer_overflow}, []}},
    "trap_bad_conversion" => {@patient, {:fails, {:trap, :bad_conversion_to_integer}, []}},
    "trap_null_call" => {@patient, {:fails, {:trap, :indirect_call_to_null}, []}},
    "trap_bad_signature" => {@patient, {:fails, {:trap, :bad_signature}, []}},
    "trap_table_out_of_bounds" => {@patient, {:fails, {:trap, :table_out_of_bounds}, []}},
    "stack_overflow" => {@patient, {:fails, {:trap, :stack_overflow}, []}},
    "trap_after_reply" => {@patient, {:fails, {:trap, :unreachable}, []}},
    # Too much
    "memory_bomb" => {@patient, {:fails, {:limit, :memory}, [allowed: 67_108_864]}},
    "memory_hold" => {@patient, {:reply, "1024"}},
    "memory_leak" => {@patient, {:reply, ""}},
    "memory_huge" => {@patient, {:refused, :compile, :too_demanding, []}},
    "table_bomb" => {@patient, {:fails, {:limit, :table}, [allowed: 65_536]}},
    "table_huge" => {@patient, {:refused, :compile, :too_demanding, []}},
    "huge_reply" => {@patient, {:fails, {:limit, :reply}, [allowed: 8_388_608]}},
    "huge_error" => {@patient, {:fails, :guest_error, []}},
    "huge_log" => {@patient, {:reply, ""}},
    "huge_host_call" => {@patient, {:reply, "0"}},
    # Pointers and lengths that lie
    "lie_response_negative_len" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_response_past_end" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_response_overflow" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_response_empty" => {@patient, {:reply, ""}},
    "lie_request_past_end" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_request_overflow" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_error" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_log" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_host_call_payload" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_host_call_name" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_host_response" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    "lie_host_error" => {@patient, {:fails, {:trap, :bad_pointer}, []}},
    # Texts that are not UTF-8
    "not_utf8_error" => {@patient, {:fails, :guest_error, []}},
    "not_utf8_log" => {@patient, {:reply, ""}},
    "not_utf8_host_call" => {@patient, {:reply, "0"}},
    # Answers out of order
    "returns_0_silent" => {@patient, {:fails, :guest_error, []}},
    "returns_0_reply" => {@patient, {:fails, :guest_error, []}},
    "returns_1_silent" => {@patient, {:reply, ""}},
    "returns_1_error" => {@patient, {:fails, :guest_error, []}},
    "returns_1_both" => {@patient, {:reply, "reply"}},
    "returns_1_twice" => {@patient, {:reply, "second"}},
    "returns_2" => {@patient, {:fails, :guest_error, []}},
    "returns_minus_1" => {@patient, {:fails, :guest_error, []}},
    "host_unasked" => {@patient, {:reply, "nothing"}},
    # Not a guest
    "no_exports" => {@patient, {:refused, :compile, :unknown_abi, [exports: []]}},
    "no_guest_call" => {@patient, {:refused, :compile, :unknown_abi, []}},
    "no_memory" => {@patient, {:refused, :compile, :missing_export, [export: "memory"]}},
    "memory_not_memory" => {@patient, {:refused, :compile, :export_type, [export: "memory"]}},
    "memory_imported" => {@patient, {:refused, :compile, :missing_import, [import: "env.memory"]}},
    "memory64" => {@patient, {:refused, :compile, :invalid_module, []}},
    "guest_call_signature" => {@patient, {:refused, :compile, :export_type, [export: "__guest_call"]}},
    "guest_call_not_function" => {@patient, {:refused, :compile, :export_type, [export: "__guest_call"]}},
    "init_signature" => {@patient, {:refused, :compile, :export_type, [export: "wapc_init"]}},
    "import_unknown" => {@patient, {:refused, :compile, :missing_import, [import: "env.mystery"]}},
    "import_unknown_wapc" => {@patient, {:refused, :compile, :missing_import, [import: "wapc.__mystery"]}},
    "import_signature" => {@patient, {:refused, :compile, :import_type, [import: "wapc.__guest_response"]}},
    "invalid" => {@patient, {:refused, :compile, :invalid_module, []}},
    # Starts
    "init_loop" => {@endless, {:refused, :start, {:limit, :cpu_time}, []}},
    "init_slow" => {@patient, {:reply, "ready"}},
    "init_trap" => {@patient, {:refused, :start, {:trap, :unreachable}, []}},
    "init_host" => {@patient, {:reply, "refused"}},
    "start_loop" => {@endless, {:refused, :start, {:limit, :cpu_time}, []}},
    "start_exit_0" => {@patient, {:reply, "ready"}},
    "start_exit_7" => {@patient, {:refused, :start, {:trap, :exit}, []}},
    "start_section_trap" => {@patient, {:refused, :start, {:trap, :unreachable}, []}},
    "start_section_loop" => {@endless, {:refused, :start, {:limit, :cpu_time}, []}},
    "start_section_log" => {@patient, {:reply, "ready"}},
    "call_exit_0" => {@patient, {:fails, {:trap, :exit}, []}},
    "call_exit_3" => {@patient, {:fails, {:trap, :exit}, []}},
    # WASI commands
    "wasi_loop" => {@endless, {:fails, {:limit, :cpu_time}, []}},
    "wasi_yield" => {@endless, {:fails, {:limit, :cpu_time}, []}},
    "wasi_sleep" => {@sleeping, {:fails, :timeout, []}},
    "wasi_trap" => {@patient, {:fails, {:trap, :unreachable}, []}},
    "wasi_exit_silent" => {@patient, {:fails, :guest_error, [exit_code: 9]}},
    "wasi_exit_1000" => {@patient, {:fails, {:trap, :other}, []}},
    "wasi_stdout_flood" => {@patient, {:fails, {:limit, :reply}, [allowed: 8_388_608]}},
    "wasi_stderr_flood" => {@endless, {:fails, {:limit, :cpu_time}, []}},
    "wasi_lie" => {@patient, {:fails, {:trap, :other}, []}},
    "wasi_no_memory" => {@patient, {:refused, :compile, :missing_export, [export: "memory"]}},
    "wasi_unknown" => {@patient, {:refused, :compile, :missing_import, [import: "wasi_snapshot_preview1.mystery"]}}
  }

  @doc "Every hostile guest: `{name, limits, expectation}`, by name."
  def hostile, do: for({name, {limits, expectation}} <- Enum.sort(@hostile), do: {name, limits, expectation})

  @doc "The hostile guests that get a name, and so can be called."
  def callable, do: Enum.reject(hostile(), &match?({_name, _limits, {:refused, _, _, _}}, &1))

  @doc "The hostile guests that are refused."
  def refused, do: hostile() -- callable()

  @doc """
  Registers what the hostile guests call: `host`/`test`/`echo`, `park`, and `init`, and themselves through the host.
  Calls of the first are counted; `echoes/1` says how many there were.
  """
  def answer_hostile do
    echoes = :counters.new(1, [])

    Tidepool.Case.handle!({"host", "test", "echo"}, fn call ->
      :counters.add(echoes, 1, 1)
      {:ok, call.payload}
    end)

    Tidepool.Case.handle!({"host", "test", "park"}, fn _call -> {:ok, "let go"} end)
    Tidepool.Case.handle!({"host", "test", "init"}, fn _call -> {:ok, "answered"} end)

    # Tests deploy it under a name of their own, and that is who calls here.
    Tidepool.Case.handle!({"tidepool", "function", "recurse_forever"}, fn call ->
      Tidepool.Host.Builtin.function(%{call | operation: call.function})
    end)

    echoes
  end

  @doc "How often the guests have called `host`/`test`/`echo`."
  def echoes(counter), do: :counters.get(counter, 1)
end
