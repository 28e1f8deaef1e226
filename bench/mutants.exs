defmodule Mutants.Edit do
  @moduledoc "Changes of a source file: found in its syntax tree, made in its text."

  @enforce_keys [:file, :kind, :at, :from, :to, :line]
  defstruct @enforce_keys

  @operators %{
    ==: ["!="],
    !=: ["=="],
    <: ["<=", ">="],
    <=: ["<", ">"],
    >: [">=", "<="],
    >=: [">", "<"],
    and: ["or"],
    or: ["and"],
    &&: ["||"],
    ||: ["&&"],
    +: ["-"],
    -: ["+"]
  }
  @calls %{
    if: "unless",
    unless: "if",
    max: "min",
    min: "max",
    all?: "any?",
    any?: "all?",
    filter: "reject",
    reject: "filter",
    put: "put_new",
    put_new: "put"
  }
  @literals %{:ok => ":error", :error => ":ok", true => "false", false => "true", 0 => "1", 1 => "2", 2 => "1"}
  # What does nothing when it is called, and what can't be compiled without.
  @inert ~w(moduledoc doc typedoc spec type typep opaque callback impl)a
  @kept ~w(= @ def defp defmacro defmodule defstruct alias import require use defdelegate defguardp)a

  @doc "All changes of a file."
  def all(file) do
    text = File.read!(file)
    encode = fn literal, meta -> {:ok, {:__block__, meta, [literal]}} end
    tree = Code.string_to_quoted!(text, columns: true, token_metadata: true, literal_encoder: encode)
    lines = String.split(text, "\n")
    {_tree, found} = Macro.prewalk(tree, [], &visit/2)

    for {kind, {number, _} = at, from, to} <- found, number != nil do
      %__MODULE__{
        file: file,
        kind: kind,
        at: at,
        from: from,
        to: to,
        line: lines |> Enum.at(number - 1) |> String.trim()
      }
    end
  end

  @doc "The text of its file with the change made; `nil` when what it is about is written otherwise."
  def make(edit, text) do
    {line, column} = edit.at
    text |> String.split("\n") |> replace(line, column, edit.from, edit.to)
  end

  @doc "What is changed, for people."
  def describe(%{at: {line, column}} = edit) do
    what =
      if is_tuple(edit.from), do: "without `#{edit.line}`", else: "`#{edit.from}` is `#{edit.to}` in `#{edit.line}`"

    "#{edit.file}:#{line}:#{column} #{edit.kind}: #{what}"
  end

  defp visit({:@, _meta, [{name, _, _}]}, found) when name in @inert, do: {nil, found}

  defp visit({operator, meta, [_left, _right]} = node, found) when is_map_key(@operators, operator) do
    edits = for to <- @operators[operator], do: {:operator, at(meta), "#{operator}", to}
    {node, edits ++ found}
  end

  defp visit({:|>, meta, [_left, {_call, call, _arguments}]} = node, found) do
    {node, if(call[:closing], do: [{:step, at(meta), {:until, at(call[:closing])}, ""} | found], else: found)}
  end

  defp visit({{:., _, [_module, name]}, meta, _arguments} = node, found) when is_map_key(@calls, name),
    do: {node, [{:call, at(meta), "#{name}", @calls[name]} | found]}

  defp visit({name, meta, arguments} = node, found) when is_map_key(@calls, name) and is_list(arguments),
    do: {node, [{:call, at(meta), "#{name}", @calls[name]} | found]}

  defp visit({:__block__, meta, [literal]} = node, found) when is_map_key(@literals, literal) do
    {node,
     if(meta[:format] == :keyword, do: found, else: [{:literal, at(meta), written(literal), @literals[literal]} | found])}
  end

  defp visit({:__block__, _meta, [_, _ | _] = statements} = node, found) do
    drops =
      for [{head, _, _} = statement, next] <- Enum.chunk_every(statements, 2, 1, :discard),
          head not in @kept,
          {line, _} <- [start(statement)],
          {last, _} <- [start(next)],
          last > line,
          do: {:statement, {line, 1}, {:lines, last - line}, ""}

    {node, drops ++ found}
  end

  defp visit(node, found), do: {node, found}

  defp at(meta), do: {meta[:line], meta[:column]}
  defp written(literal) when is_integer(literal) or is_boolean(literal), do: "#{literal}"
  defp written(literal), do: inspect(literal)

  # Where the first of its words stands.
  defp start(node) do
    {_node, places} =
      Macro.prewalk(node, [], fn
        {_, meta, _} = node, places when is_list(meta) -> {node, if(meta[:line], do: [at(meta) | places], else: places)}
        node, places -> {node, places}
      end)

    Enum.min(places, fn -> {0, 0} end)
  end

  defp replace(lines, line, _column, {:lines, count}, ""), do: lines |> drop(line - 1, count) |> Enum.join("\n")

  defp replace(lines, line, column, {:until, {last, closing}}, "") do
    {before, _step} = lines |> Enum.at(line - 1) |> String.split_at(column - 1)
    {_step, behind} = lines |> Enum.at(last - 1) |> String.split_at(closing)
    (Enum.take(lines, line - 1) ++ [before <> behind] ++ Enum.drop(lines, last)) |> Enum.join("\n")
  end

  defp replace(lines, line, column, from, to) do
    {before, behind} = lines |> Enum.at(line - 1) |> String.split_at(column - 1)

    if String.starts_with?(behind, from) do
      changed = before <> to <> binary_part(behind, byte_size(from), byte_size(behind) - byte_size(from))
      lines |> List.replace_at(line - 1, changed) |> Enum.join("\n")
    end
  end

  defp drop(lines, first, count), do: Enum.take(lines, first) ++ Enum.drop(lines, first + count)
end

defmodule Mutants do
  @moduledoc "The sample, the copy that it is made in, and the tests that are run on it."

  alias Mutants.Edit

  # A test that has failed, or an example of a document.
  @failed ~r/^ +\d+\) (?:doc)?test (.*)$/m

  # The longest beginning of a file's name that is here says which tests are near, beside the one that mirrors it.
  @near %{
    "tidepool" => ~w(tidepool_test tidepool/arguments_test tidepool/execution_test tidepool/deploy_test),
    "tidepool/application" => ~w(tidepool/start_test fault/killed_processes_test),
    "tidepool/catalog/blob_store" =>
      ~w(tidepool/catalog/blob_store_test tidepool/deploy/restart_test cluster/transfer_test),
    "tidepool/catalog" =>
      ~w(tidepool/catalog tidepool/catalog_test tidepool/deploy/restart_test cluster/reconciler_test),
    "tidepool/cluster" => ~w(cluster/cluster_test cluster/discovery_test cluster/forget_test cluster/admission_test),
    "tidepool/cluster/links/backoff" => ~w(cluster/discovery_test),
    "tidepool/cluster/certificates" => ~w(tidepool/cluster/certificates_test),
    "tidepool/cluster/gossip" =>
      ~w(tidepool/cluster/gossip_test tidepool/cluster/simulation_test cluster/admission_test),
    "tidepool/cluster/reconciler" => ~w(cluster/reconciler_test cluster/cluster_test cluster/transfer_test),
    "tidepool/cluster/gossip/membership" =>
      ~w(tidepool/cluster/gossip/membership_test tidepool/cluster/simulation_test),
    "tidepool/cluster/transfer" => ~w(cluster/transfer_test),
    "tidepool/cluster/report" => ~w(tidepool/cluster/gossip_test tidepool/cluster/simulation_test cluster/cluster_test),
    "tidepool/cluster/wire" => ~w(tidepool/cluster/wire_test tidepool/cluster/gossip_test),
    "tidepool/config" => ~w(tidepool/config_test tidepool/start_test),
    "tidepool/config/schema" => ~w(tidepool/config_test tidepool/start_test docs/configuration_test),
    "tidepool/engine/console" => ~w(tidepool/engine/console_test tidepool/execution/last_words_test),
    "tidepool/data" => ~w(tidepool/data_test tidepool/data tidepool/start_test),
    "tidepool/deploy" => ~w(tidepool/deploy_test tidepool/deploy/refusal_test tidepool_web/deploy_test),
    "tidepool/engine" => ~w(tidepool/start_test tidepool/execution/dense_test tidepool/execution_test),
    "tidepool/error" => ~w(tidepool/limits_test tidepool_web/reply_test tidepool/arguments_test),
    "tidepool/execution" =>
      ~w(tidepool/execution/recursion_test tidepool/telemetry_test cluster/reconciler_test fault/host_timeout_test),
    "tidepool/host" =>
      ~w(tidepool/host/call_test tidepool/host/process_test fault/host_handler_test fault/host_timeout_test),
    "tidepool/limits" => ~w(tidepool/options_test tidepool/execution/caps_test),
    "tidepool/function/buckets" =>
      ~w(tidepool/documented_test tidepool/function/bounds_test tidepool/keyvalue/grants_test tidepool/function/spec_test),
    "tidepool/function/configured" =>
      ~w(tidepool/documented_test tidepool/function/bounds_test tidepool/function/spec_test tidepool/guests/extism_test),
    "tidepool/function/routes" =>
      ~w(tidepool/documented_test tidepool/function/bounds_test tidepool_web/sites_test tidepool/function/spec_test) ++
        ~w(tidepool_web/tokens_test),
    "tidepool/function/tools" =>
      ~w(tidepool/function/bounds_test tidepool/function/spec_test tidepool_web/mcp tidepool_web/mcp_test),
    "tidepool/host/callee" => ~w(tidepool/documented_test tidepool_web/outgoing_test),
    "tidepool/host/interface" => ~w(tidepool/host/resources_test tidepool/host_test),
    "tidepool/instance" => ~w(tidepool/instance tidepool/guests/resources_test tidepool/host/resources_test),
    "tidepool/keyvalue" => ~w(tidepool/keyvalue),
    "tidepool/outgoing" => ~w(tidepool/trace_test tidepool/keyvalue/grants_test tidepool/oci tidepool/images_test),
    "tidepool/process/host_calls" => ~w(tidepool/keyvalue/grants_test tidepool_web/outgoing_test),
    "tidepool/resource" => ~w(tidepool/host/resources_test tidepool/guests/resources_test),
    "tidepool/function/loader" => ~w(tidepool/deploy_test tidepool/deploy/restart_test cluster/reconciler_test),
    "tidepool/log" => ~w(tidepool/log_test),
    "tidepool/native" => ~w(fault/native_arguments_test),
    "tidepool/options" => ~w(tidepool/arguments_test tidepool/config_test),
    "tidepool/catalog/origin" => ~w(tidepool/log_test),
    "tidepool/release" => ~w(tidepool/start_test tidepool/data/check_test tidepool/data_test),
    "tidepool/telemetry" => ~w(tidepool/telemetry_test tidepool/telemetry/default_logger_test),
    "tidepool/testing" => ~w(tidepool/testing_test),
    "tidepool_web" => ~w(tidepool_web),
    "tidepool_web/resources/mcp" => ~w(tidepool_web/mcp tidepool_web/mcp_test)
  }

  def main(arguments) do
    {options, [], []} =
      OptionParser.parse(arguments,
        strict: [seed: :integer, count: :integer, limit: :integer, only: :string, list: :boolean]
      )

    {seed, count} = {options[:seed] || 1, options[:count] || 40}
    :rand.seed(:exsss, {seed, 0, 0})
    sample = options[:only] |> files() |> Enum.flat_map(&Edit.all/1) |> sample()

    if options[:list] do
      for edit <- Stream.take(sample, count), do: IO.puts(Edit.describe(edit))
    else
      IO.puts("changes by seed #{seed}")
      folder = copy()

      try do
        sample
        |> Stream.map(&judge(&1, folder, options[:limit] || 300))
        |> Stream.reject(&(&1 == nil))
        |> Enum.take(count)
        |> report()
      after
        File.rm_rf!(folder)
      end
    end
  end

  # Mix tasks are commands for people, and the stubs of the native library have nothing to change.
  defp files(only) do
    Enum.filter(Path.wildcard("lib/tidepool*/**/*.ex") ++ ["lib/tidepool.ex"], &String.starts_with?(&1, only || "lib/"))
  end

  # Each kind as often as the others, as long as there are any of it.
  defp sample(edits) do
    kinds = edits |> Enum.group_by(& &1.kind) |> Enum.sort()
    shuffled = for {_kind, edits} <- kinds, do: Enum.shuffle(edits)
    longest = shuffled |> Enum.map(&length/1) |> Enum.max(fn -> 0 end)
    for index <- 0..longest, edits <- shuffled, edit = Enum.at(edits, index), do: edit
  end

  defp copy do
    {"", 0} = System.cmd("mix", ["compile"], env: [{"MIX_ENV", "test"}]) |> quiet()
    {folder, 0} = System.cmd("mktemp", ["-d"])
    folder = String.trim(folder)
    left_out = for path <- ~w(.git _build data native/target bench/results), do: "--exclude=./#{path}"
    {_output, 0} = System.cmd("sh", ["-c", ~s(tar c "$@" . | tar xp -C "#{folder}"), "sh" | left_out])
    File.mkdir_p!(Path.join(folder, "_build"))
    {_output, 0} = System.cmd("cp", ["-a", "_build/test", Path.join(folder, "_build")])
    folder
  end

  defp quiet({_output, status}), do: {"", status}

  # `nil`: it can't be compiled, or its tests fail without it.
  defp judge(edit, folder, limit_s) do
    tests = near(edit.file)
    path = Path.join(folder, edit.file)
    original = File.read!(path)
    began = System.monotonic_time(:second)

    try do
      with changed when changed != nil <- Edit.make(edit, original),
           true <- green?(tests, folder, limit_s),
           :ok = File.write!(path, changed),
           {_output, 0} <- mix(folder, ["compile"], limit_s) do
        {output, status} = mix(folder, ["test", "--max-failures", "1" | tests], limit_s)
        verdict = if status == 0, do: :survived, else: :killed

        by =
          if verdict == :killed,
            do: Regex.run(@failed, output, capture: :all_but_first) || "status #{status}"

        IO.puts("#{verdict} #{Edit.describe(edit)} (#{System.monotonic_time(:second) - began} s)#{by && " by #{by}"}")
        {verdict, edit}
      else
        _no_verdict -> nil
      end
    after
      File.write!(path, original)
    end
  end

  defp near(file) do
    name = file |> String.replace_prefix("lib/", "") |> String.replace_suffix(".ex", "")
    prefix = @near |> Map.keys() |> Enum.filter(&String.starts_with?(name, &1)) |> Enum.max_by(&String.length/1)
    named = for name <- [name <> "_test" | @near[prefix]], path <- ["test/#{name}.exs", "test/#{name}"], do: path
    named |> Enum.filter(&File.exists?/1) |> Enum.uniq()
  end

  # Asked once for the same tests.
  defp green?(tests, folder, limit_s) do
    with nil <- Process.get(tests) do
      {output, status} = mix(folder, ["test" | tests], limit_s)

      if status != 0 do
        IO.puts("without any change these fail, or take longer than #{limit_s} s: #{Enum.join(tests, " ")}")
        for [name] <- Regex.scan(@failed, output, capture: :all_but_first), do: IO.puts("failed: #{name}")
      end

      Process.put(tests, status == 0)
      status == 0
    end
  end

  # The status is 124 when the time is over.
  defp mix(folder, arguments, limit_s) do
    command = ["-k", "5", "#{limit_s}", "mix" | arguments]
    System.cmd("timeout", command, cd: folder, env: [{"MIX_ENV", "test"}], stderr_to_stdout: true)
  end

  defp report(verdicts) do
    survivors = for {:survived, edit} <- verdicts, do: edit
    killed = length(verdicts) - length(survivors)
    IO.puts("\n#{length(verdicts)} changes, #{killed} killed (#{round(100 * killed / max(length(verdicts), 1))} %)")
    for edit <- survivors, do: IO.puts("survived: #{Edit.describe(edit)}")
  end
end

Mutants.main(System.argv())
