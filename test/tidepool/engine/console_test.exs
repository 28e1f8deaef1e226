defmodule Tidepool.Engine.ConsoleTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Config, Error, LogWatch, Peer}

  defp logged(name) do
    assert_receive {:logged, ^name, level, text, metadata}
    {level, text, metadata}
  end

  test "a printed line is logged at level info with function, version and stream as metadata" do
    name = deploy!("rust", "hello_world")
    LogWatch.watch(name)
    assert Tidepool.call(name, "log", "a line") == {:ok, ""}

    assert {:info, text, %{tidepool_function: ^name, tidepool_version: 1, tidepool_stream: :console} = metadata} =
             logged(name)

    assert text =~ "a line"
    refute Map.has_key?(metadata, :tidepool_dropped)
  end

  test "the version is that of the function which printed" do
    name = deploy!("rust", "hello_world")
    {:ok, _function} = Tidepool.deploy(guest("zig", "hello_world"), name: name)
    LogWatch.watch(name)
    assert Tidepool.call(name, "log", "a line") == {:ok, ""}
    assert {:info, _text, %{tidepool_version: 2}} = logged(name)
  end

  test "lines of different functions don't mix" do
    names = for _ <- 1..3, do: deploy!("rust", "hello_world")
    [watched | _others] = names
    LogWatch.watch(watched)
    for name <- Enum.reverse(names), do: assert(Tidepool.call(name, "log", "by #{name}") == {:ok, ""})
    {:info, text, _metadata} = logged(watched)
    assert text =~ "by #{watched}"
    refute_received {:logged, _name, _level, _text, _metadata}
  end

  test "bytes that are no UTF-8 are logged readable" do
    name = deploy!("wat", "not_utf8_log")
    LogWatch.watch(name)
    assert Tidepool.call(name, "anything") == {:ok, ""}
    assert {:info, text, _metadata} = logged(name)
    assert String.valid?(text)
    assert text =~ "!"
  end

  test "an overlong line is cut short" do
    name = deploy!("wat", "huge_log")
    LogWatch.watch(name)
    assert Tidepool.call(name, "anything") == {:ok, ""}
    assert {:info, text, _metadata} = logged(name)
    assert byte_size(text) < 10_000
  end

  test "what start functions print is in the log once for each deploy, from compiled code of before, too" do
    for _deploy <- 1..2 do
      name = unique_name("starts")
      on_exit(fn -> Tidepool.remove(name) end)
      LogWatch.watch(name)
      assert {:ok, %{start: :snapshot}} = Tidepool.deploy(guest("wat", "start_section_log"), name: name)
      assert_receive {:logged, ^name, :info, _text, %{tidepool_version: 1, tidepool_stream: :console}}
      for _call <- 1..3, do: assert(Tidepool.call(name, "anything") == {:ok, "ready"})
      # What is printed is logged in its order.
      assert {:ok, %{version: 2}} = Tidepool.deploy(guest("wat", "start_section_log"), name: name, limits: [time: 999])
      assert_receive {:logged, ^name, :info, _text, %{tidepool_version: 2, tidepool_stream: :console}}
      refute_received {:logged, ^name, :info, _text, %{tidepool_stream: :console}}
    end
  end

  test "what a function prints beyond its rate is dropped, and every dropped line is counted" do
    name = deploy!("rust", "hello_world", instances: {:warm, 1})
    LogWatch.watch(name)
    printed = 50 * Config.get(:console_lines)
    for i <- 1..printed, do: assert(Tidepool.call(name, "log", "line #{i}") == {:ok, ""})

    # As soon as a line gets through again it tells how many before it didn't.
    {more, events} = print_until_heard(name, 0, [])
    told = Enum.sum(for {_text, metadata} <- events, do: Map.get(metadata, :tidepool_dropped, 0))

    assert told > 0
    assert length(events) + told == printed + more
    assert dropped_in_metrics(name) == told
  end

  # Prints a line a round until that line comes through; all events so far, and how many lines it took.
  defp print_until_heard(name, printed, events) do
    line = "afterwards #{printed + 1}"
    assert Tidepool.call(name, "log", line) == {:ok, ""}
    {heard?, events} = listen(name, line, events)
    if heard?, do: {printed + 1, events}, else: print_until_heard(name, printed + 1, events)
  end

  # On a busy machine a line may come after the next one was printed: just its own one ends it.
  defp listen(name, line, events) do
    receive do
      {:logged, ^name, :info, text, metadata} ->
        events = [{text, metadata} | events]
        if text =~ ~r/#{line}\b/, do: {true, events}, else: listen(name, line, events)
    after
      50 -> {false, events}
    end
  end

  test "a line says how many before it were dropped, if any were" do
    name = unique_name("dropping")
    LogWatch.watch(name)

    for {dropped, note} <- [
          {0, ""},
          {1, " (1 lines before this one were dropped)"},
          {7, " (7 lines before this one were dropped)"}
        ] do
      send(Tidepool.Engine.Console, {:tidepool_console, name, 1, :console, "line", dropped})
      assert_receive {:logged, ^name, :info, text, metadata}
      assert text == "#{name}: line#{note}"
      assert Map.get(metadata, :tidepool_dropped, 0) == dropped
    end
  end

  test "a function that logs without end is stopped by its limits, and the log has little of it" do
    name = deploy!("wat", "log_flood", limits: [cpu_time: 100, time: 50_000])
    LogWatch.watch(name)
    assert {:error, %Error{reason: {:limit, :cpu_time}}} = Tidepool.call(name, "flood")
    eventually(fn -> dropped_in_metrics(name) > 0 end)
  end

  test "a log that takes no lines keeps a bounded number of them waiting, and what comes after is dropped and counted" do
    peer = Peer.start!(console_lines: 100_000, server: true)
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [guest("wat", "log_flood"), [name: "flood"]])
    console = Peer.call(peer, Process, :whereis, [Tidepool.Engine.Console])
    :ok = Peer.call(peer, :sys, :suspend, [console])
    length = fn -> peer |> Peer.call(Process, :info, [console, :message_queue_len]) |> elem(1) end

    eventually(fn ->
      {:error, %Error{reason: {:limit, :cpu_time}}} = Peer.call(peer, Tidepool, :call, ["flood", "flood"])
      {200, _headers, metrics} = curl_url(Peer.url(peer, "/metrics"))
      length.() > 1_000 and metrics =~ ~r/^tidepool_console_lines_dropped_total\S* [1-9]/m
    end)

    assert length.() < 1_100
    :ok = Peer.call(peer, :sys, :resume, [console])
    eventually(fn -> length.() < 100 end)
  end

  test "lines of a namespace that wait for a log which takes none leave others places" do
    peer = Peer.start!(console_lines: 100_000, server: true)
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [guest("wat", "log_flood"), [name: "shop/flood"]])
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [guest("rust", "hello_world"), [name: "blog/hello"]])
    console = Peer.call(peer, Process, :whereis, [Tidepool.Engine.Console])
    :ok = Peer.call(peer, :sys, :suspend, [console])

    drops? = fn function ->
      {200, _headers, metrics} = curl_url(Peer.url(peer, "/metrics"))
      metrics =~ ~r/^tidepool_console_lines_dropped_total\{function="#{function}"\} [1-9]/m
    end

    eventually(fn ->
      {:error, %Error{reason: {:limit, :cpu_time}}} = Peer.call(peer, Tidepool, :call, ["shop/flood", "flood"])
      {:message_queue_len, sent} = Peer.call(peer, Process, :info, [console, :message_queue_len])
      sent > 1_000 and drops?.("shop/flood")
    end)

    assert Peer.call(peer, Tidepool, :call, ["blog/hello", "log", "a line"]) == {:ok, ""}
    refute drops?.("blog/hello")
  end

  test "one function's rate is not another's" do
    flooding = deploy!("wat", "log_flood", limits: [cpu_time: 100, time: 50_000])
    quiet = deploy!("rust", "hello_world")
    LogWatch.watch(quiet)
    assert {:error, %Error{}} = Tidepool.call(flooding, "flood")
    assert Tidepool.call(quiet, "log", "still heard") == {:ok, ""}
    assert {:info, _text, _metadata} = logged(quiet)
  end

  test "a Go or Rust guest's stdout and stderr are logged as well" do
    name = deploy!("wat", "wasi_stderr_flood", limits: [cpu_time: 50, time: 50_000])
    LogWatch.watch(name)
    assert {:error, %Error{reason: {:limit, :cpu_time}}} = Tidepool.call(name, "run")
    assert_receive {:logged, ^name, :warning, _text, %{tidepool_stream: :stderr}}
  end

  defp dropped_in_metrics(name) do
    {200, _headers, text} = curl("/metrics")
    [_all, count] = Regex.run(~r/^tidepool_console_lines_dropped_total\{function="#{name}"\} (\d+)$/m, text)
    String.to_integer(count)
  end
end
