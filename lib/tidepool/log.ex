defmodule Tidepool.Log do
  @moduledoc """
  What this node logs of changes and of calls that failed, a line each, by Logger. Nothing is logged of calls that succeed.

  `:tidepool_event` in the metadata says which of `events/0` it is; further keys say of what. Text of clients and guests is
  cut short and escaped, and payloads are in no line.

  Of failed calls each function has a few lines in some seconds, and so have all refusals together (see
  `Tidepool.Log.Budget`): the next line tells how many were left out.
  """

  require Logger

  alias Tidepool.{Audit, Error, Function, Options}
  alias Tidepool.Catalog.Origin
  alias Tidepool.Error.Reason
  alias Tidepool.Log.Budget

  @events [
    deployed:
      {:info,
       [
         :tidepool_function,
         :tidepool_version,
         :tidepool_abi,
         :tidepool_size,
         :tidepool_tier,
         :tidepool_ref,
         :tidepool_ms,
         :tidepool_by,
         :tidepool_token,
         :tidepool_peer,
         :tidepool_admitted
       ]},
    removed:
      {:info,
       [:tidepool_function, :tidepool_version, :tidepool_by, :tidepool_token, :tidepool_peer, :tidepool_admitted]},
    changed:
      {:info, [:tidepool_action, :tidepool_name, :tidepool_by, :tidepool_token, :tidepool_peer, :tidepool_left_out]},
    refused:
      {:warning,
       [
         :tidepool_function,
         :tidepool_step,
         :tidepool_reason,
         :tidepool_by,
         :tidepool_token,
         :tidepool_peer,
         :tidepool_request,
         :tidepool_left_out
       ]},
    failed:
      {:warning,
       [
         :tidepool_function,
         :tidepool_version,
         :tidepool_operation,
         :tidepool_reason,
         :tidepool_kind,
         :tidepool_left_out
       ]}
  ]

  # Longest text of somebody else's that is logged, in bytes.
  @max_text 300
  # Entries of one message from another node that have lines of their own.
  @max_changes 20

  @doc "The events, their levels, and the keys that their metadata may have beside `:tidepool_event`."
  @spec events :: [{event :: atom, {Logger.level(), keys :: [atom]}}]
  def events, do: @events

  @doc "A version was deployed here, in so many ms, as a deploy or as a rollback."
  @spec deployed(Function.t(), ms :: non_neg_integer, Origin.t(), :deploy | :rollback) :: :ok
  def deployed(function, ms, origin, how \\ :deploy) do
    %{name: name, version: version, abi: abi, size: size, tier: tier, ref: ref} = function
    note(how, name, version, origin, 0, ref)
    from = if ref, do: " from #{ref}", else: ""
    text = "#{name}: version #{version} deployed#{from} #{by(origin)} (#{abi}, #{size} bytes, #{tier}, #{ms} ms)"
    what = [tidepool_function: name, tidepool_version: version, tidepool_abi: abi, tidepool_size: size]
    emit(:deployed, text, what ++ [tidepool_tier: tier, tidepool_ref: ref, tidepool_ms: ms] ++ who(origin))
  end

  @doc "A function was removed here."
  @spec removed(String.t(), version :: pos_integer, Origin.t()) :: :ok
  def removed(name, version, origin) do
    forget(name)
    note(:remove, name, version, origin)
    text = "#{name}: version #{version} removed #{by(origin)}"
    emit(:removed, text, [tidepool_function: name, tidepool_version: version] ++ who(origin))
  end

  # What takes no right to change what is deployed: a token has some entries of each in an hour, of a hundred bytes, so that it would take
  # months to write over all that is kept.
  @bounded [
    :process_started,
    :process_killed,
    :process_upgraded,
    :actor_deleted,
    :recording_deleted,
    :signed_in,
    :signed_out
  ]
  @entries_an_hour 60

  @doc "Something else than a function was changed here: a token was made, say. Of what `name` is, if it has one."
  @spec changed(action :: atom, name :: String.t() | nil, Origin.t()) :: :ok
  def changed(action, name, origin) do
    if action in @bounded do
      key = {action, Audit.token(origin)}
      with {:ok, left_out} <- hourly({:audit, key}), do: note(action, name, nil, origin, left_out)
      limited(:changed, key, fn -> change(action, name, origin) end)
    else
      note(action, name, nil, origin)
      {text, metadata} = change(action, name, origin)
      emit(:changed, text, metadata)
    end
  end

  defp change(action, name, origin) do
    name = if name, do: printable(name)
    text = Enum.join([action | List.wrap(name)] ++ [by(origin)], " ")
    {text, [tidepool_action: action, tidepool_name: name] ++ who(origin)}
  end

  defp hourly(key, others \\ 0) do
    {_lines, window_ms} = Budget.limits()
    Budget.take(key, System.monotonic_time(:millisecond), @entries_an_hour, div(3_600_000, window_ms), others)
  end

  defp note(action, name, version, origin, left_out \\ 0, ref \\ nil),
    do: Audit.note(action, name, version, {Audit.token(origin), who(origin)[:tidepool_peer]}, left_out, ref)

  @doc "These nodes have deployed or removed these, and `from` has passed that on."
  @spec received([{node :: String.t(), Tidepool.Catalog.Entry.t()}], from :: String.t()) :: :ok
  def received(entries, from) do
    {told, more} = Enum.split(entries, @max_changes)
    Enum.each(told, &received_one(&1, from))
    if more != [], do: Logger.info("#{length(more)} more changes of other nodes, passed on by #{from}")
    :ok
  end

  defp received_one({node, %{name: name, version: version} = entry}, from) do
    if entry.removed, do: forget(name)
    {event, size} = if entry.removed, do: {:removed, nil}, else: {:deployed, entry.size}
    via = if node == from, do: "", else: ", passed on by #{from}"
    what = [tidepool_function: name, tidepool_version: version, tidepool_size: size]
    text = "#{name}: version #{version} #{event} on #{node} (admitted: #{entry.admitted})#{via}"
    emit(event, text, what ++ [tidepool_by: :cluster, tidepool_peer: node, tidepool_admitted: entry.admitted])
  end

  defp forget(name), do: Enum.each([:failed, :handler, :actor, :logged], &Budget.drop({&1, name}))

  @doc "A deploy or a removal was refused; nothing has changed."
  @spec refused(Error.t(), Origin.t()) :: :ok
  def refused(%Error{} = error, origin) do
    limited(:refused, :refused, fn ->
      function = error.function && printable(error.function)
      reason = Error.reason(error)
      step = error.details[:step]
      at = if step, do: " at the step #{step}", else: ""
      text = "#{function || "a deploy"}: refused #{by(origin)}#{at} (#{reason}): #{printable(error.message)}"
      {text, [tidepool_function: function, tidepool_step: step, tidepool_reason: reason] ++ who(origin)}
    end)
  end

  @doc "A function that was deployed with warm instances has fresh ones, for what this says."
  @spec kept_fresh(Error.t()) :: :ok
  def kept_fresh(%Error{function: name, message: message}),
    do: Logger.warning("#{name}: each request has an instance of its own: #{message}", tidepool_function: name)

  @doc "The edge has refused a request that needs its leave, and so many since it last told of one."
  @spec refused_at_edge(request :: String.t(), reason :: String.t(), peer :: String.t(), non_neg_integer) :: :ok
  def refused_at_edge(request, reason, peer, left_out) do
    if request == "POST /session" and reason == "unauthorized", do: sign_in_failed(peer, left_out)
    request = printable(request)
    what = [tidepool_request: request, tidepool_reason: reason, tidepool_peer: peer]
    emit(:refused, "#{request} from #{peer} was refused (#{reason})", what, left_out)
  end

  defp sign_in_failed(peer, left_out) do
    with {:ok, left_out} <- hourly({:audit, :sign_in_failed}, left_out),
         do: Audit.note(:sign_in_failed, nil, nil, {nil, peer}, left_out)
  end

  @doc """
  A call failed, of a function of which `fetch` tells when there is to be a line: a deploy may have come in between. There is one when
  its guest was stopped or could not run: for reasons that are `:logged` (`Tidepool.Error.Reason`). What a guest itself says is for
  its caller.
  """
  @spec failed(Error.t(), operation :: binary | nil, fetch :: (String.t() -> {:ok, Function.t()} | {:error, Error.t()})) ::
          :ok
  def failed(%Error{} = error, operation, fetch),
    do: if(Reason.is?(error.reason, :logged), do: stopped(error, operation, fetch), else: :ok)

  defp stopped(%Error{function: name} = error, operation, fetch) do
    limited(:failed, {:failed, name}, fn ->
      {version, default} = newest(fetch.(name))
      operation = printable(operation || default)
      kind = with {_reason, kind} <- error.reason, do: to_string(kind), else: (_reason -> nil)
      why = Enum.join([Error.reason(error) | List.wrap(kind)], " ")
      text = "#{name}: version #{version} failed in #{operation} (#{why}): #{printable(error.message)}"
      what = [tidepool_function: name, tidepool_version: version, tidepool_operation: operation]
      {text, what ++ [tidepool_reason: Error.reason(error), tidepool_kind: kind]}
    end)
  end

  defp newest({:ok, function}), do: {function.version, function.operation}
  defp newest({:error, _removed_meanwhile}), do: {nil, ""}

  # `line` makes the text and its metadata, when there is to be a line.
  defp limited(event, key, line) do
    with {:ok, left_out} <- Budget.take(key) do
      {text, metadata} = line.()
      emit(event, text, metadata, left_out)
    end

    :ok
  end

  defp emit(event, text, metadata, left_out) when left_out > 0 do
    emit(event, "#{text} (#{left_out} more before this were not logged)", [{:tidepool_left_out, left_out} | metadata])
  end

  defp emit(event, text, metadata, 0), do: emit(event, text, metadata)

  defp emit(event, text, metadata) do
    {level, _keys} = @events[event]
    Logger.log(level, text, [{:tidepool_event, event} | Enum.reject(metadata, &match?({_key, nil}, &1))])
  end

  defp by(:elixir), do: "by Elixir code"
  defp by({:token, peer}), do: "with the token from #{peer}"
  defp by({{:token, name, _sha256}, peer}), do: "with the token #{name} from #{peer}"
  defp by({:no_token, peer}), do: "without a token from #{peer}"

  defp who(:elixir), do: [tidepool_by: :elixir]
  defp who({{:token, name, _sha256}, peer}), do: [tidepool_by: :token, tidepool_token: name, tidepool_peer: peer]
  defp who({by, peer}), do: [tidepool_by: by, tidepool_peer: peer]

  # On one line and without control characters: what others have chosen can't look like a line of its own.
  defp printable(text) do
    text
    |> Options.cut(@max_text)
    |> inspect(binaries: :as_strings)
    |> String.slice(1..-2//1)
    |> String.replace("\\\"", "\"")
  end
end
