defmodule Tidepool.Fault.NativeArgumentsTest do
  use Tidepool.Case, async: true

  alias Tidepool.{FaultClient, FaultNative, Native, Peer}

  # What each NIF takes. Every argument is replaced by every value that it can't be, the others being right.
  @arguments %{
    start_runtime: [:settings],
    machine: [],
    subscribe_console: [:runtime, :pid],
    flush_console: [:runtime],
    instances: [:runtime],
    engines: [:runtime],
    console_taken: [:runtime],
    calls_queued_at_caps: [:runtime],
    compiles_queued: [:runtime],
    shared: [:runtime],
    io: [:runtime],
    metrics: [:runtime, :list, :list],
    figures: [:runtime],
    figures_by_version: [:runtime, :text],
    figures_of: [:runtime, :text],
    newest_lines: [:runtime, :optional_binary, :number],
    lines_after: [:runtime, :optional_binary, :number, :number],
    newest_failures: [:runtime, :optional_binary, :number],
    failures_after: [:runtime, :optional_binary, :number, :number],
    count_deploy: [:runtime, :text, :number],
    abis: [:runtime],
    suited: [:runtime, :binary],
    typed?: [:runtime, :binary],
    compile: [:runtime, :binary, :compile_config],
    open_cache: [:runtime, :text, :number],
    open_recordings: [:runtime, :text, :number, :number],
    recording_counts: [:runtime],
    flush_recordings: [:runtime, :number, :boolean],
    recordings: [:runtime, :optional_binary, :number],
    recording: [:runtime, :text],
    delete_recording: [:runtime, :text],
    read_recording: [:binary],
    read_recording_large: [:binary],
    replay: [:function, :binary, :boolean],
    replay_large: [:function, :binary, :boolean],
    debug: [:function, :binary, :binary],
    debug_command: [:session, :binary],
    made: [:function],
    new_function: [:module, :config],
    grants_fault: [:list],
    grants_beyond: [:list, :list],
    host_grants_fault: [:list],
    import_granted: [:list, :value],
    publish: [:runtime, :list],
    tier: [:runtime, :text],
    set_routes: [:runtime, :list],
    unpublish: [:runtime, :text],
    call: [:runtime, :binary, :optional_binary, :payload, :number, :timeout],
    call_observed: [
      :runtime,
      :binary,
      :optional_binary,
      :payload,
      :number,
      :timeout,
      :optional_last_line,
      :optional_binary
    ],
    new_last_line: [],
    last_line: [:last_line],
    usage: [:task],
    observe: [:runtime, :boolean],
    code_fits: [:runtime, :function],
    start_trial: [:function],
    resume: [:task],
    answer: [:task, :reply],
    answer_value: [:task, :value_reply],
    exchange_refuse: [:exchange, :refusal],
    exchange_trace: [:exchange, :text],
    cancel: [:task, :atom],
    start_process: [:runtime, :binary, :program],
    process_ref: [:task],
    process_begin: [:process],
    process_spawned: [:task, :number, :pid],
    process_signal: [:task, :signal],
    run_queues: [],
    drive_queue: [:number],
    process_tell: [:task, :signal],
    process_ties: [:task, :number, :number, :atom],
    process_compiled: [:task, :compiled, :number],
    process_info: [:process],
    process_find: [:process, :number],
    process_infos: [:process],
    process_look: [:task],
    process_upgrade: [:runtime, :task],
    process_ask_upgrade: [:runtime, :process, :number],
    process_end: [:process],
    process_introduce: [:process, :pid],
    process_whereis: [:process, :text],
    process_figures: [:process],
    set_nodes: [:runtime, :list],
    published: [:runtime, :binary],
    published_version: [:runtime, :binary],
    process_part: [:function, :part],
    process_arrive: [:function, :process, :away],
    process_release: [:process],
    process_locate: [:process, :number],
    process_name: [:process, :atom, :text, :number],
    process_forget_names: [:process, :number],
    process_room: [:task, :integer],
    process_input: [:process, :binary],
    process_written: [:process, :number],
    lock_file: [:text],
    sync_folder: [:text],
    list_folder: [:binary, :number],
    own: [:function, :optional_binary],
    image_room: [:function, :number],
    own_in: [:function, :binary, :room],
    free_image_room: [:room],
    call_owned: [:owned, :binary, :payload, :number, :timeout],
    own_for_good: [:function],
    make_owned: [:owned, :timeout],
    memory_size: [:owned],
    read_memory: [:owned, :number, :number],
    read_memory_large: [:owned, :number, :number],
    write_memory: [:owned, :number, :binary],
    write_memory_large: [:owned, :number, :binary],
    grow_memory: [:owned, :number],
    get_global: [:owned, :text],
    set_global: [:owned, :text, :value],
    owned_exports: [:owned],
    image: [:owned],
    image_large: [:owned],
    image_copy: [:owned],
    owned_spent?: [:owned],
    owned_imaged?: [:owned],
    resource_new: [:runtime, :pid, :number],
    resource_id: [:resource],
    resource_end: [:resource],
    open_records: [:text],
    commit_record: [:records, :text, :text, :change],
    record_settled: [:records, :text, :text],
    records_waiting: [:records],
    read_record: [:records, :text, :text],
    read_record_up_to: [:records, :text, :text, :number],
    record_head: [:records, :text, :text],
    record_value: [:records, :text, :text, :binary],
    record_values: [:records, :text, :text, :binary, :optional_binary, :most_values],
    list_records: [:records, :text, :optional_binary, :number],
    record_classes: [:records, :text, :number],
    record_heads: [:records, :text, :optional_binary, :number],
    records_usage: [:records, :text, :boolean],
    record_alarms: [:records, :integer, :number, :list],
    record_shard: [:text, :text],
    export_records: [:record_place, :optional_binary, :text, :boolean],
    import_records: [:record_place, :list, :boolean],
    differing_records: [:list],
    part_of_records: [:text, :list, :text],
    accept_records: [:text],
    open_shared: [:text, :text, :integer],
    open_voter: [:text, :text, :list],
    voter_answer: [:voter, :text, :binary],
    voter_answered: [:voter, :number, :answered],
    voter_standing: [:voter],
    voter_known: [:voter],
    voter_members: [:voter, :number],
    voter_change: [:voter, :member_change, :text, :number],
    voter_give_up_lead: [:voter, :number],
    open_replicated: [:voter, :text, :integer],
    lease_renew: [:records, :number, :number],
    lease_release: [:records, :number],
    shards: [:records, :number],
    shards_claim: [:records, :list, :number],
    shards_hand: [:records, :list, :optional_binary, :number],
    boottime_ms: [],
    source_lines: [:lines, :list],
    strip_module: [:binary],
    json_encode: [:json],
    json_encode_large: [:json],
    json_decode: [:binary],
    json_decode_large: [:binary],
    http_start: [:runtime, :edge, :list],
    http_unannounced: [:queue],
    http_take: [:queue],
    http_answer: [:responder, :number, :content_type, :list, :binary],
    http_stream: [:responder, :number, :content_type, :list],
    http_write: [:stream, :binary],
    http_finish: [:stream],
    http_read: [:body],
    http_identify: [:server, :identity],
    http_unfit: [:identity],
    http_grant: [:server, :list],
    http_drain: [:server, :number],
    http_stats: [:server],
    http_open_code: [:server, :binary, :number],
    http_open_session: [:server, :binary, :binary, :optional_binary, :number, :number],
    http_close: [:server, :binary, :binary]
  }

  setup do
    runtime = FaultNative.runtime()
    function = FaultNative.publish(runtime, "wat", "parked")
    task = FaultNative.park(runtime)
    {:ok, server, port} = Native.http_start(runtime, FaultNative.edge(), [self()])
    socket = FaultClient.connect(port)
    {queue, responder} = take(socket)
    {stream, body} = FaultNative.stream()

    right = %{
      settings: FaultNative.settings(),
      runtime: runtime,
      module: FaultNative.module(runtime, "wat", "parked"),
      config: FaultNative.config("parked"),
      compile_config: FaultNative.compile_config(),
      function: function,
      task: task,
      last_line: Native.new_last_line(),
      optional_last_line: nil,
      reply: {:ok, "right"},
      value_reply: {:ok, 1},
      compiled: {:ok, function},
      payload: "",
      value: 1,
      exchange: exchange(runtime, port),
      refusal: :missing,
      program: FaultNative.program(),
      part: FaultNative.part(),
      away: FaultNative.away(),
      process: FaultNative.process(runtime),
      signal: {:link_died, 1, nil},
      server: server,
      edge: FaultNative.edge(),
      queue: queue,
      responder: responder,
      stream: stream,
      body: body,
      lines: FaultNative.lines(runtime),
      records: FaultNative.records(),
      record_place: {:file, "/nowhere/records"},
      voter: FaultNative.voter(),
      answered: {:ok, ""},
      member_change: :add,
      owned: FaultNative.owned(function),
      room: elem(Native.image_room(function, 0), 1),
      session: FaultNative.session(runtime),
      resource: Native.resource_new(runtime, self(), 1),
      identity: {"", "", [{"", "", ""}], nil},
      change: {:put, 1, 1, nil, "", nil, []},
      most_values: {1, nil},
      content_type: :text,
      pid: self(),
      list: [],
      binary: "",
      optional_binary: nil,
      text: "",
      number: 200,
      integer: -200,
      timeout: :infinity,
      boolean: true,
      atom: :text,
      json: %{}
    }

    {:ok, right: right, socket: socket}
  end

  test "every NIF is in the table of this test" do
    assert Map.new(@arguments, fn {name, kinds} -> {name, length(kinds)} end) ==
             Native.__info__(:functions) |> Keyword.drop([:load, :folder]) |> Map.new()
  end

  # Several to a test, because each test starts a runtime of its own.
  for group <- @arguments |> Enum.sort() |> Enum.chunk_every(20) do
    @tag group: group
    test "#{group |> hd() |> elem(0)} to #{group |> List.last() |> elem(0)} raise ArgumentError for arguments of another type",
         context do
      for {name, kinds} <- context.group,
          {kind, position} <- Enum.with_index(kinds),
          wrong <- wrong(kind, context.right) do
        arguments = kinds |> Enum.map(&context.right[&1]) |> List.replace_at(position, wrong)
        assert_argument_error(name, arguments)
      end

      assert_unharmed(context)
    end
  end

  test "a setting of another type, or that is missing, raises ArgumentError", context do
    %{runtime: runtime, module: module} = context.right

    for {name, before, right, behind} <- [
          {:start_runtime, [], FaultNative.settings(), []},
          {:compile, [runtime, ""], FaultNative.compile_config(), []},
          {:new_function, [module], FaultNative.config("parked"), []},
          {:start_process, [runtime, "puppet"], FaultNative.program(), []},
          {:process_part, [context.right.function], FaultNative.part(), []},
          {:process_arrive, [context.right.function, context.right.process], FaultNative.away(), []},
          {:http_start, [runtime], FaultNative.edge(), [[self()]]}
        ],
        {key, value} <- right do
      assert_argument_error(name, before ++ [Map.delete(right, key)] ++ behind)
      wrong = [make_ref(), {}, 1.5, [1], <<1::3>>] ++ if(is_integer(value), do: [-1, 2 ** 64], else: [])
      for value <- wrong, do: assert_argument_error(name, before ++ [Map.put(right, key, value)] ++ behind)
    end

    for wrong <- [nil, 1, :yes],
        do: assert_argument_error(:compile, [runtime, "", Map.put(FaultNative.compile_config(), :actor, wrong)])

    for wrong <- [:slow, "fast"], do: assert_argument_error(:compile, [runtime, "", %{engine: wrong}])
    limits = FaultNative.config("parked").limits

    for {key, _value} <- limits, wrong <- [-1, 2 ** 64, 1.5, nil, :infinity] do
      config = %{FaultNative.config("parked") | limits: Map.put(limits, key, wrong)}
      assert_argument_error(:new_function, [module, config])
    end

    for wrong <- [:cold, {:warm, -1}, {:warm, 2 ** 64}, {:warm, :many}, {:cold, 1}, {:warm, 1, 1}] do
      assert_argument_error(:new_function, [module, %{FaultNative.config("parked") | instances: wrong}])
    end

    assert_unharmed(context)
  end

  test "an improper list raises ArgumentError", context do
    %{runtime: runtime, function: function, responder: responder} = context.right
    assert_argument_error(:metrics, [runtime, [{"name", "help", 1} | 2], []])
    assert_argument_error(:metrics, [runtime, [], [{"name", "help", "label", [{"function", 1} | 2]}]])
    assert_argument_error(:publish, [runtime, [{"name", "operation", function} | 2]])
    assert_argument_error(:json_encode, [[1 | 2]])
    assert_argument_error(:open_voter, ["/nowhere", "a@b", ["a@b" | 2]])
    assert_argument_error(:shards_claim, [context.right.records, [1 | 2], 100])
    assert_argument_error(:shards_hand, [context.right.records, [{1, 1} | 2], nil, 100])
    assert_argument_error(:import_records, [{:file, "/nowhere"}, [{"file", [{"class", "name"} | 2]}], false])
    assert_argument_error(:differing_records, [["file" | 2]])
    assert_argument_error(:part_of_records, ["file", [{"class", "name"} | 2], "part"])
    put = {:put, 1, 1, nil, "", nil, [{"key", nil} | 2]}
    assert_argument_error(:commit_record, [context.right.records, "class", "name", put])
    assert_argument_error(:http_start, [runtime, FaultNative.edge(), [self() | 2]])
    assert_argument_error(:http_answer, [responder, 200, :text, [{"name", "value"} | 2], ""])
    assert_unharmed(context)
  end

  test "a number that is larger than its field raises ArgumentError", context do
    %{runtime: runtime, responder: responder} = context.right
    assert_argument_error(:call, [runtime, "parked", nil, "", 2 ** 32, 1_000])
    assert_argument_error(:metrics, [runtime, [{"name", "help", 2 ** 63}], []])
    assert_argument_error(:metrics, [runtime, [], [{"name", "help", "label", [{"function", 2 ** 63}]}]])
    assert_argument_error(:count_deploy, [runtime, "ok", 2 ** 64])
    assert_argument_error(:json_encode, [2 ** 64])
    assert_argument_error(:lease_renew, [context.right.records, 2 ** 32, 100])
    assert_argument_error(:shards_claim, [context.right.records, [65_536], 100])
    assert_argument_error(:shards_hand, [context.right.records, [{1, 2 ** 63}], nil, 100])
    assert_argument_error(:http_answer, [responder, 65_536, :text, [], ""])
    assert_argument_error(:http_start, [runtime, %{FaultNative.edge() | port: 65_536}, [self()]])
    assert_unharmed(context)
  end

  test "a change of a record with a part of another type raises ArgumentError", context do
    records = context.right.records
    put = {:put, 1, 1, nil, "head", nil, [{"key", "value"}]}

    for {part, wrong} <- [
          {0, :patch},
          {1, -1},
          {1, 2 ** 63},
          {2, 1.5},
          {2, 2 ** 63},
          {3, 2 ** 63},
          {3, :soon},
          {4, nil},
          {5, :whole},
          {5, {:next, nil}},
          {5, {:last, "change"}},
          {6, nil},
          {6, [{"key"}]},
          {6, [{nil, "value"}]},
          {6, [{"key", 1}]}
        ] do
      assert_argument_error(:commit_record, [records, "class", "name", put_elem(put, part, wrong)])
    end

    for wrong <- [
          {:erase},
          {:erase, -1},
          {:delete, 1},
          {:delete, 1, -1},
          {:delete, 2 ** 63, 1},
          {:delete, 1, 1, 1},
          Tuple.append(put, 1)
        ] do
      assert_argument_error(:commit_record, [records, "class", "name", wrong])
    end

    assert Native.read_record(records, "class", "name") == {:ok, nil}
    assert_unharmed(context)
  end

  test "text that is not UTF-8, or has a NUL where a path is due, is refused", context do
    assert_argument_error(:unpublish, [context.right.runtime, <<255>>])
    assert_argument_error(:lock_file, [<<255>>])
    assert_argument_error(:new_function, [context.right.module, FaultNative.config(<<255>>)])
    assert {:error, :not_deployed, _message, %{}} = FaultNative.call(context.right.runtime, <<255>>)
    assert {:error, _message} = Native.lock_file("a\0b")
    assert {:error, _message} = Native.sync_folder("a\0b")
    assert {:error, :eio} = Native.list_folder("a\0b", 1)
    assert {:error, _message} = Native.json_decode(<<34, 255, 34>>)
    assert_unharmed(context)
  end

  test "terms nested without end are refused by both directions of JSON", context do
    assert_argument_error(:json_encode, [Enum.reduce(1..100_000, [], fn _level, inner -> [inner] end)])
    assert {:error, _message} = Native.json_decode(String.duplicate("[", 1_000_000))
    assert_unharmed(context)
  end

  test "of an object that has a name twice there is no term, however many others it has", context do
    object = fn names -> "{" <> Enum.map_join(names, ",", &~s("#{&1}":1)) <> "}" end

    for others <- [0, 1, 30, 31, 32, 33, 40, 1_000] do
      names = Enum.map(1..others//1, &"n#{&1}")
      assert Native.json_decode(object.(names ++ ["one"])) == {:ok, Map.from_keys(names ++ ["one"], 1)}
      assert {:error, message} = Native.json_decode(object.(["one"] ++ names ++ ["one"]))
      assert message =~ ~s(it has the name "one" twice in one object)
      assert {:error, _message} = Native.json_decode(object.(List.duplicate("one", others + 2)))
    end

    assert_unharmed(context)
  end

  test "an answer that HTTP has no words for becomes one that it has", context do
    answers = [
      {0, [], "a"},
      {99, [], "a"},
      {101, [], "a"},
      {1_000, [], "a"},
      {65_535, [], "a"},
      {200, [{"bad name", "a"}, {"", ""}], "a"},
      {200, [{"name", "a\r\nother: b"}], "a"},
      {200, [{"content-length", "100"}, {"transfer-encoding", "chunked"}], "a"}
    ]

    # The first request has been made by the setup.
    for {{status, headers, body}, index} <- Enum.with_index(answers) do
      responder = if index == 0, do: context.right.responder, else: elem(take(context.socket), 1)
      assert Native.http_answer(responder, status, :text, headers, body) == :ok
      # One answer for each request: with a forged head in between the next one would be read wrong.
      assert FaultClient.answer(context.socket) == {if(status == 200, do: 200, else: 500), "a"}
    end
  end

  test "sizes beyond all bounds are refused and don't end the VM" do
    settings = FaultNative.settings()
    config = FaultNative.config("parked")

    absurd = [
      {:start_runtime, %{settings | max_instances: 2 ** 32 - 1}},
      {:start_runtime, %{settings | max_memory_bytes: 2 ** 63}},
      {:start_runtime, %{settings | stack_bytes: 2 ** 64 - 1}},
      {:start_runtime, %{settings | max_dense_instances: 2 ** 32 - 1}},
      {:start_runtime, %{settings | max_dense_memory_bytes: 2 ** 64 - 1}},
      {:start_runtime, %{settings | max_dense_instances: nil, max_dense_memory_bytes: 2 ** 64 - 1}},
      {:start_runtime, %{settings | io_threads: 2 ** 64 - 1}},
      {:start_runtime, %{settings | io_threads: 2 ** 44}},
      {:start_runtime, %{settings | compile_threads: 2 ** 44}},
      {:new_function, %{config | instances: {:warm, 2 ** 64 - 1}}},
      {:new_function, %{config | instances: {:warm, 2 ** 40}}}
    ]

    # In a VM of its own each, so that its end is a failed assertion and not the end of all tests.
    outcomes = for {name, argument} <- absurd, do: {name, argument, refused(Peer.boot!(), name, argument)}
    assert for({_name, _argument, outcome} = failed <- outcomes, outcome != :refused, do: failed) == []
  end

  defp refused(peer, name, argument) do
    Peer.call(peer, FaultNative, :refused, [name, argument])
  catch
    kind, reason -> {kind, reason}
  end

  defp wrong(kind, right) do
    handles =
      for key <- [
            :runtime,
            :session,
            :module,
            :function,
            :task,
            :process,
            :server,
            :queue,
            :responder,
            :stream,
            :body,
            :records,
            :voter,
            :owned
          ],
          key != kind,
          do: right[key]

    others = [nil, :atom, -1, 2 ** 64, 1.5, "text", <<1::3>>, self(), make_ref(), [], %{}, {}, {:ok}, fn -> :ok end]
    Enum.reject(handles ++ others, &right?(kind, &1))
  end

  defp right?(:optional_last_line, value), do: value == nil
  defp right?(:refusal, value), do: value == :missing or is_binary(value)
  defp right?(kind, value) when kind in [:binary, :text], do: is_binary(value)
  # Values of any kind, and what is none is told as an error of the call.
  defp right?(kind, _value) when kind in [:payload, :value], do: true
  defp right?(:boolean, value), do: is_boolean(value)
  defp right?(:optional_binary, value), do: is_nil(value) or is_binary(value)
  defp right?(:atom, value), do: is_atom(value)
  defp right?(:content_type, value), do: is_atom(value) or is_binary(value)
  defp right?(:pid, value), do: is_pid(value)
  defp right?(:list, value), do: value == []
  defp right?(:integer, value), do: value == -1
  defp right?(:json, value), do: is_atom(value) or is_binary(value) or value in [-1, 1.5, [], %{}]
  defp right?(_kind, _value), do: false

  defp assert_argument_error(name, arguments) do
    outcome =
      try do
        {:returned, apply(Native, name, arguments)}
      rescue
        error -> error.__struct__
      end

    assert {outcome, name, arguments} == {ArgumentError, name, arguments}
  end

  # The task that was there before goes on, and so does the edge.
  defp assert_unharmed(context) do
    assert FaultNative.settle(Native.answer(context.right.task, {:ok, "unharmed"})) == {:ok, "unharmed"}
    assert Native.http_answer(context.right.responder, 200, :text, [], "unharmed") == :ok
    assert FaultClient.answer(context.socket) == {200, "unharmed"}
    assert_no_stray_messages()
  end

  # A request for a handler: such a one is passed on whole where calls are observed.
  defp exchange(runtime, port) do
    FaultNative.publish(runtime, "abis", "http")
    Native.observe(runtime, true)
    :ok = :gen_tcp.send(FaultClient.connect(port), "GET /call/http/a HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert_receive {:tidepool_http, queue}
    assert Native.http_unannounced(queue) == 1
    assert {_responder, {:exchange, "http", "GET /a", exchange, nil}, _body} = Native.http_take(queue)
    Native.observe(runtime, false)
    exchange
  end

  defp take(socket) do
    FaultClient.ask(socket, "any", "thing")
    assert_receive {:tidepool_http, queue}
    assert Native.http_unannounced(queue) == 1
    assert {responder, {:admit, "any"}, nil} = Native.http_take(queue)
    {queue, responder}
  end
end
