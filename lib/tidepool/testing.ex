defmodule Tidepool.Testing do
  @moduledoc """
  Functions and handlers of one ExUnit test only, so that tests can run side by side.

      defmodule MyApp.PricesTest do
        use ExUnit.Case, async: true

        import Tidepool.Testing

        test "a price is what the shop says" do
          handle({"shop", "prices", "get"}, fn call -> {:ok, "5 € for \#{call.payload}"} end)
          assert MyApp.price("apple") == {:ok, "5 € for apple"}
        end

        test "a function under test has a name of its own" do
          function = deploy!(guest(:echo))
          assert Tidepool.call(function.name, nil, "apple") == {:ok, "apple"}
        end
      end

  A handler applies to the calls that the test makes: in its own process, and in those which work for it and say so, as a
  `Task` does (`$callers`). `allow/1` adds others, a GenServer of the application's say. In these calls it comes before every
  handler of `Tidepool.Host.register/3`; in all others, those of tests that run at the same time among them, it is not there.

  All of it goes when the test is over. Call these functions in a test or its `setup`, not in `setup_all`.

  Until the first handler of a test a node pays nothing for this. It is for tests alone: from then on each host call looks
  whether a test has made it.
  """

  alias Tidepool.{Host, Options}
  alias Tidepool.Host.{Registry, TestHandlers}

  @guests [:echo, :fail, :host, :loop, :trap]

  @doc """
  Deploys a module under a name that no other test uses, and removes it when the test is over.

  Options are those of `Tidepool.deploy/2`. A `:name` is what the name begins with; a default is there. Raises the
  `Tidepool.Error` of a deploy that fails.
  """
  @spec deploy!(binary, Tidepool.deploy_options()) :: Tidepool.Function.t()
  def deploy!(wasm, options \\ []) do
    Keyword.keyword?(options) || Options.check!(options, [], "Tidepool.Testing.deploy!/2: the option")
    stem = Keyword.get(options, :name, "test")
    is_binary(stem) || Options.wrong!("Tidepool.Testing.deploy!/2: the name", "a string", stem)
    name = "#{stem}-#{Base.encode16(:crypto.strong_rand_bytes(8), case: :lower)}"
    on_exit({__MODULE__, name}, fn -> Tidepool.remove(name) end)
    Tidepool.deploy!(wasm, Keyword.put(options, :name, name))
  end

  @doc """
  Routes host calls to `target` to `handler`, in calls that this test makes, until it is over.

  Target, handler and options are as in `Tidepool.Host.register/3`, which has the rules. Called again for the same target,
  it replaces the handler.
  """
  @spec handle(Host.target(), Host.handler(), [Host.option()]) :: :ok
  def handle(target, handler, options \\ []) do
    entry = Host.entry!(target, handler, options)
    begin()
    TestHandlers.put(self(), target, entry)
  end

  @doc """
  Takes calls that `process` makes for this test's, until it is over.

  A process serves one test at a time: the last one that allowed it.
  """
  @spec allow(pid | atom) :: :ok
  def allow(process) do
    pid = if is_atom(process), do: Process.whereis(process), else: process
    is_pid(pid) || Options.wrong!("Tidepool.Testing.allow/1: the process", "a pid or the name of one", process)
    begin()
    TestHandlers.allow(self(), pid)
  end

  @doc """
  The bytes of a small guest, so that a test needs no compiler. Each takes any operation but `:host`:

  - `:echo` replies with its payload;
  - `:fail` fails, with its payload as the error's text;
  - `:host` makes the host call that its operation names, as in `Tidepool.call(name, "shop/prices/get", "apple")`, with its
    payload, and replies with the answer; the host's error is its own;
  - `:loop` computes until a limit ends it;
  - `:trap` executes `unreachable`.
  """
  @spec guest(:echo | :fail | :host | :loop | :trap) :: binary
  def guest(name) when name in @guests,
    do: :tidepool |> Application.app_dir("priv/testing/#{name}.wasm") |> File.read!()

  def guest(name) do
    Options.wrong!("Tidepool.Testing.guest/1: the guest", "one of #{Enum.map_join(@guests, ", ", &inspect/1)}", name)
  end

  defp begin do
    test = self()
    # Once for each test: what has the same name replaces the one before.
    on_exit(__MODULE__, fn -> TestHandlers.remove(test) end)
    Registry.test()
  end

  # ExUnit is of the application that tests, and in no release: nobody is to miss it here.
  defp on_exit(id, fun), do: apply(ExUnit.Callbacks, :on_exit, [id, fun])
end
