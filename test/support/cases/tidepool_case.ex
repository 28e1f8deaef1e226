defmodule Tidepool.Case do
  @moduledoc """
  What tests share: guests from guests/build, functions with names of their own, waiting for conditions, and the HTTP
  edge by way of curl.
  """

  use ExUnit.CaseTemplate

  using do
    quote do
      import Tidepool.Case
    end
  end

  @doc "How many a test walks: `some` of them, and `all` when `TIDEPOOL_LONG` is set, as by `bin/test --long`."
  def sample(some, all), do: if(System.get_env("TIDEPOOL_LONG", "") == "", do: some, else: all)

  @doc "The bytes of a built guest."
  def guest(language, name), do: File.read!("guests/build/#{language}/#{name}.wasm")

  @doc "Path of a built guest."
  def guest_path(language, name), do: Path.expand("guests/build/#{language}/#{name}.wasm")

  @doc "Deploys a guest under a name that no other test uses, removes it after the test, and returns the name."
  def deploy!(language, guest, options \\ []) do
    name = unique_name(guest)
    {:ok, _function} = Tidepool.deploy(guest(language, guest), [name: name] ++ options)
    ExUnit.Callbacks.on_exit(fn -> remove!(name) end)
    name
  end

  @doc "Deploys bytes under a name that no other test uses, removes it after the test, and returns the name."
  def deploy_bytes!(wasm, options \\ []) do
    name = unique_name("bytes")
    {:ok, _function} = Tidepool.deploy(wasm, [name: name] ++ options)
    ExUnit.Callbacks.on_exit(fn -> remove!(name) end)
    name
  end

  @doc "Removes a function, and ends what actors of it are awake: their instances are not idle ones."
  def remove!(name) do
    removed = Tidepool.remove(name)
    awake = Registry.select(Tidepool.Actor.Registry, [{{{name, :_}, :"$1", :_}, [], [:"$1"]}])
    for pid <- awake, do: Process.exit(pid, :kill)
    removed
  end

  @doc "Routes host calls to `target` to `handler` until the test is over."
  def handle!(target, handler, options \\ []) do
    :ok = Tidepool.Host.register(target, handler, options)
    ExUnit.Callbacks.on_exit(fn -> Tidepool.Host.unregister(target) end)
  end

  @doc "An empty folder that is removed after the test."
  def tmp_folder! do
    folder = Path.join(System.tmp_dir!(), unique_name("tidepool-test-#{System.pid()}"))
    File.mkdir_p!(folder)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(folder) end)
    folder
  end

  @doc "A function name that no other test uses."
  def unique_name(stem), do: "#{stem}_#{System.unique_integer([:positive])}"

  # How many times as long as it should take a busy machine may take: what never comes true is all that waits for that.
  @busy 4

  @doc """
  Polls until `condition` holds; it should within `timeout` ms. Long after that it fails with the last value that was falsy, or the
  last exception.
  """
  def eventually(condition, timeout \\ 5_000) do
    begun = System.monotonic_time(:millisecond)
    poll(condition, begun, begun + @busy * timeout)
  end

  defp poll(condition, begun, deadline) do
    outcome =
      try do
        {:value, condition.()}
      rescue
        error in [ExUnit.AssertionError, MatchError] -> {:raised, error, __STACKTRACE__}
      end

    case outcome do
      {:value, value} when value not in [nil, false] ->
        value

      _not_yet ->
        now = System.monotonic_time(:millisecond)
        if now > deadline, do: give_up(outcome)

        # The longer it takes the less often: a condition may be a program, which takes from what is waited for.
        receive do
        after
          div(now - begun, 10) |> max(5) |> min(100) -> poll(condition, begun, deadline)
        end
    end
  end

  defp give_up({:value, value}), do: ExUnit.Assertions.flunk("the condition did not come true: #{inspect(value)}")
  defp give_up({:raised, error, stacktrace}), do: reraise(error, stacktrace)

  @doc """
  Does this until it raises no failed assertion, up to so many times: for programs that wait for a fixed time, and expect others to be
  done by then. Each time that was in vain is told, for the closing lines of `bin/test`.
  """
  def at_most_times(1, _what, fun), do: fun.()

  def at_most_times(times, what, fun) do
    fun.()
  rescue
    error in ExUnit.AssertionError ->
      IO.puts("\nAGAIN #{what}: #{error |> Exception.message() |> String.split("\n", trim: true) |> Enum.at(0)}")
      at_most_times(times - 1, what, fun)
  end

  @doc "Fails if anything is in the mailbox."
  def assert_no_stray_messages do
    {:messages, messages} = Process.info(self(), :messages)
    ExUnit.Assertions.assert(messages == [])
  end

  @doc "Starts a process that does this, until the test ends or `kill/1` ends it."
  def begin(fun) do
    pid = spawn(fun)
    ExUnit.Callbacks.on_exit(fn -> Process.exit(pid, :kill) end)
    pid
  end

  @doc "Kills a process, and waits for its end: the reason of that."
  def kill(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)

    receive do
      {:DOWN, ^monitor, :process, ^pid, reason} -> reason
    after
      30_000 -> ExUnit.Assertions.flunk("#{inspect(pid)} was killed, and lives")
    end
  end

  @doc "Instances in use now: live ones that are not idle in a pool."
  def busy_instances do
    %{live: live, idle: idle} = Tidepool.Engine.instances()
    live - idle
  end

  @doc "Address of the running edge."
  def url(path), do: "http://127.0.0.1:#{TidepoolWeb.Listener.port()}#{path}"

  @doc """
  Runs curl against the edge: `{status, headers, body}`, header names in lower case. JSON bodies are decoded.
  """
  def curl(path, arguments \\ []), do: curl_url(url(path), arguments)

  @doc "`curl/2` against any edge."
  def curl_url(url, arguments \\ []) do
    marker = "\ntidepool-status:"
    arguments = ["-sS", "-i", "--max-time", "120", "-w", marker <> "%{http_code}"] ++ arguments ++ [url]
    {output, 0} = System.cmd("curl", arguments)
    [response, status] = String.split(output, marker)
    {headers, body} = split_head(response)
    {String.to_integer(status), headers, decode(headers, body)}
  end

  @doc "Uploads a module's bytes with curl: `fields` are the other fields of the form."
  def curl_deploy(wasm, fields, arguments \\ []), do: curl_deploy_url(url("/deploy"), wasm, fields, arguments)

  @doc "`curl_deploy/3` against any edge."
  def curl_deploy_url(url, wasm, fields, arguments \\ []) do
    path = Path.join(tmp_folder!(), "upload.wasm")
    File.write!(path, wasm)

    form =
      Enum.flat_map([{"wasm", "@#{path}"} | Enum.to_list(fields)], fn {key, value} -> ["-F", "#{key}=#{value}"] end)

    curl_url(url, form ++ arguments)
  end

  # curl shows interim answers (100 Continue) too; the last head is the answer's.
  defp split_head(response) do
    [head, rest] = :binary.split(response, "\r\n\r\n")
    if head =~ ~r/\AHTTP\/[0-9.]+ 1\d\d/, do: split_head(rest), else: {headers(head), rest}
  end

  defp headers(head) do
    [_status | lines] = String.split(head, "\r\n")

    Map.new(lines, fn line ->
      [name, value] = String.split(line, ":", parts: 2)
      {String.downcase(name), String.trim(value)}
    end)
  end

  defp decode(%{"content-type" => "application/json"}, body) do
    {:ok, term} = Tidepool.Native.json_decode(body)
    with %{"error" => %{"reason" => _reason} = error} <- term, do: assert_in_table(error)
    term
  end

  defp decode(_headers, body), do: body

  # Whatever error a test meets is as the one table of errors says.
  defp assert_in_table(%{"reason" => reason} = error) do
    known =
      for subject <- Tidepool.Error.Reason.subjects(),
          reason <- Tidepool.Error.Reason.all(subject),
          do: {to_string(reason), reason}

    assert {^reason, word} = List.keyfind(known, reason, 0)
    assert Map.keys(error) -- (Tidepool.Error.Reason.details(word) ++ ~w(reason message function step)) == []
  end
end
