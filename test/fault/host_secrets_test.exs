defmodule Tidepool.Fault.HostSecretsTest do
  # What a handler fails with stays in the host: a table of the ways to fail, each with a secret in it.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Host, LogWatch}
  alias Tidepool.Log.Budget

  @secret "sk_live_51HvSECRET"
  @fixed ~r/the host's handler failed \(id ([0-9a-f]{16})\)/

  defmodule Server do
    @moduledoc "Fails as it is told to, with a secret in its state and in its arguments."
    use GenServer

    @impl true
    def init(state), do: {:ok, state}

    @impl true
    def handle_info({:invoke_callback, _binding, _namespace, _operation, _payload, ref}, {fail, secret}) do
      fail.(secret, ref)
    end
  end

  defmodule Via do
    @moduledoc "A registry that is broken."
    def whereis_name(name), do: raise("no registry for #{name}")
    def register_name(_name, _pid), do: :no
    def unregister_name(_name), do: :ok
    def send(name, _message), do: exit({:badarg, name})
  end

  defmodule Untold do
    @moduledoc "An exception that can't say what it is."
    defexception [:key]

    @impl true
    def message(%{key: key}), do: throw({:untold, key})
  end

  def pay(%Host.Call{payload: @secret <> "never"}), do: {:ok, ""}

  def raises(_call), do: raise("the password is #{@secret}")

  defp functions(name, target) do
    nested = Path.join(Tuple.to_list(target))

    [
      {"raises", fn _call -> raise "the password is #{@secret}" end},
      {"raises an error of Tidepool's", fn _call -> raise Error.new(:storage, "/secrets/#{@secret}: no such file") end},
      {"raises a KeyError with the map", fn call -> Map.fetch!(%{call.payload => @secret}, :nope) end},
      {"raises what can't be told", fn _call -> raise Untold, key: @secret end},
      {"raises a term", fn _call -> :erlang.error({:badmatch, @secret}) end},
      {"has no clause for its arguments", fn _call -> pay(Map.new(api_key: @secret)) end},
      {"throws", fn _call -> throw({:key, @secret}) end},
      {"exits", fn _call -> exit({:shutdown, @secret}) end},
      {"calls a server that is not there", fn _call -> GenServer.call(:nobody_is_here, {:charge, @secret}) end},
      {"returns a term", fn _call -> %{api_key: @secret} end},
      {"returns what is not bytes", fn _call -> {:ok, [@secret, 1]} end},
      {"returns an error that is not bytes", fn _call -> {:error, {:refused, @secret}} end},
      {"is a capture of a function that raises", &__MODULE__.raises/1},
      {"is a module and a function that raises", {__MODULE__, :raises}},
      {"raises what a nested call failed with",
       fn
         %{payload: "inner"} -> raise @secret
         _call -> {:ok, Tidepool.call!(name, "host", nested <> "\ninner")}
       end},
      {"gives the guest what a nested call failed with",
       fn
         %{payload: "inner"} ->
           raise @secret

         call ->
           with {:error, error} <- Tidepool.call(name, "host", nested <> "\ninner") do
             {:error, "#{call.function}: #{error.message}"}
           end
       end}
    ]
  end

  defp servers do
    [
      {"raises", fn secret, _ref -> raise secret end},
      {"exits", fn secret, _ref -> exit({:lost, secret}) end},
      {"throws", fn secret, _ref -> throw({:ball, secret}) end},
      {"stops", fn secret, _ref -> {:stop, {:shutdown, secret}, secret} end},
      {"calls one that is not there", fn secret, _ref -> GenServer.call(:nobody_is_here, {:charge, secret}) end},
      {"answers past the check", fn secret, ref -> send(ref, {ref, {:ok, secret, 1}}) && {:noreply, secret} end}
    ]
  end

  defp names do
    [
      {"has a name that nobody has", :"#{@secret}_nobody"},
      {"has a global name that nobody has", {:global, @secret}},
      {"is in a registry that is broken", {:via, Via, @secret}}
    ]
  end

  setup do
    namespace = unique_name("secrets")
    name = deploy!("rust", "hello_world", instances: {:warm, 4}, limits: [time: 30_000])
    LogWatch.watch(name)
    %{name: name, namespace: namespace, target: {"host", namespace, "op"}}
  end

  # What a caller in Elixir, one that lets it raise, and a client get; the guest passes its own error on.
  defp callers, do: [&elixir/1, &raised/1, &http/1]

  defp assert_kept(way, call, context) do
    # This function has failed a moment ago, for another row of the table.
    Budget.drop({:handler, context.name})
    message = call.(context)
    assert message =~ @fixed, "a handler that #{way} makes the guest say #{inspect(message)}"
    refute message =~ @secret
    [id] = Regex.run(@fixed, message, capture: :all_but_first)
    {text, metadata} = logged(id)
    assert text =~ @secret, "the log does not say with what a handler failed that #{way}: #{text}"
    assert {metadata.tidepool_function, metadata.tidepool_version} == {context.name, 1}
    assert {metadata.tidepool_binding, metadata.tidepool_namespace, metadata.tidepool_operation} == context.target
    assert {_reason, stacktrace} = metadata.crash_reason
    assert is_list(stacktrace)
  end

  # What is logged under an id, and under the ids that it names in turn.
  defp logged(id) do
    assert_receive {:logged, _name, :error, text, %{tidepool_failure: ^id} = metadata}
    inner = for [inner] <- Regex.scan(@fixed, text, capture: :all_but_first), inner != id, do: elem(logged(inner), 0)
    {Enum.join([text | inner], "\n"), metadata}
  end

  test "whatever a function fails with, neither guest nor caller nor HTTP client has it, and the log does", context do
    for {way, handler} <- functions(context.name, context.target), run <- [:inline, :isolated], call <- callers() do
      handle!(context.target, handler, run: run)
      assert_kept("is a function, #{run}, and #{way}", call, context)
    end
  end

  test "whatever a GenServer dies of, neither guest nor caller nor HTTP client has it, and the log does", context do
    name = :"#{context.namespace}_server"
    handle!(context.target, name)

    # A new one for each call: most of them die.
    for {way, fail} <- servers(), call <- callers() do
      {:ok, server} = GenServer.start(Server, {fail, @secret}, name: name)
      assert_kept("is a GenServer and #{way}", call, context)
      monitor = Process.monitor(server)
      Process.exit(server, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^server, _reason}
    end
  end

  test "whoever has a name that nobody is found by, neither guest nor caller nor HTTP client reads it", context do
    for {way, handler} <- names(), call <- callers() do
      handle!(context.target, handler)
      assert_kept(way, call, context)
    end
  end

  test "what kills the process of a request is not told to its client", context do
    for die <- [
          fn -> Process.exit(self(), {:shutdown, @secret}) end,
          fn -> spawn_link(fn -> raise @secret end) && Process.sleep(:infinity) end
        ] do
      handle!(context.target, fn _call -> die.() end)
      assert {500, _headers, %{"error" => %{"reason" => "aborted"}} = body} = request(context)
      refute inspect(body) =~ @secret
    end
  end

  test "a guest that fails its host again and again fills no log, and every id that it got is in there", context do
    handle!(context.target, fn _call -> raise @secret end)
    {lines, window_ms} = Budget.limits()
    calls = 20 * lines
    began = System.monotonic_time(:millisecond)

    messages =
      1..calls
      |> Task.async_stream(fn _n -> elixir(context) end, timeout: 60_000)
      |> Enum.map(fn {:ok, message} -> message end)

    windows = div(System.monotonic_time(:millisecond) - began, window_ms) + 2

    ids =
      for message <- messages,
          [id] = Regex.run(~r/failed \(id ([0-9a-f]{16})/, message, capture: :all_but_first),
          do: id

    kept = for id <- Enum.uniq(ids), do: logged(id)
    assert length(kept) <= windows * lines
    told = Enum.sum(for {_text, %{tidepool_left_out: left_out}} <- kept, do: left_out)
    assert told <= calls - length(kept)

    # What was left out is told as soon as there may be an entry again.
    untold = calls - length(kept) - told
    now = System.monotonic_time(:millisecond)
    assert Budget.take({:handler, context.name}, now + window_ms) == {:ok, untold}
  end

  test "what a handler refuses with is the guest's, word for word", context do
    handle!(context.target, fn _call -> {:error, "price on request"} end)
    assert elixir(context) == "price on request"
  end

  test "a target that nobody has is told from a handler that fails", context do
    assert elixir(context) == "no host function host/#{context.namespace}/op"
  end

  defp payload(context), do: "host/#{context.namespace}/op\n"

  defp elixir(context) do
    {:error, %Error{reason: :guest_error} = error} = Tidepool.call(context.name, "host", payload(context))
    refute inspect(error) =~ @secret
    error.message
  end

  defp raised(context) do
    Exception.message(assert_raise Error, fn -> Tidepool.call!(context.name, "host", payload(context)) end)
  end

  defp http(context) do
    {422, _headers, body} = request(context)
    refute inspect(body) =~ @secret
    body["error"]["message"]
  end

  defp request(context), do: curl("/call/#{context.name}/host", ["--data-binary", payload(context)])
end
