defmodule Tidepool.Nodes.AskTest do
  use Tidepool.Case, async: true

  alias Tidepool.{NodesEcho, Peer, SlowLink, Stage}
  alias Tidepool.Namespaces.Turns
  alias Tidepool.Nodes.{Protocol, Requests}

  @patience 20_000

  # Two nodes that are linked, and a process of the first that asks.
  defp pair!(fields \\ %{}, known \\ nil) do
    cookie = Peer.cookie()
    [a, b] = for stem <- ["a", "b"], do: Peer.boot!([], name: Peer.name(stem), cookie: cookie)
    Peer.link(a, b)
    {:ok, _pid} = Peer.call(b, NodesEcho, :open, [fields, known])
    {a, b, Stage.start(a)}
  end

  defp ask(stage, b, question, timeout \\ @patience, watch \\ nil),
    do: Stage.run(stage, NodesEcho, :ask, [b.node, question, timeout, watch])

  # Begins to ask, and goes on.
  defp asking(a, b, question, timeout \\ @patience) do
    stage = Stage.start(a)
    Task.async(fn -> ask(stage, b, question, timeout) end)
  end

  defp hold(a, b, term) do
    task = asking(a, b, {:hold, term})
    eventually(fn -> term in held(b) end, @patience)
    task
  end

  # What is being done on a node for a namespace, and waits.
  defp asked(b, namespace), do: b |> Peer.call(:sys, :get_state, [NodesEcho]) |> elem(3) |> Requests.of(namespace)

  defp held(b), do: for({term, _pid} <- Peer.call(b, NodesEcho, :held, []), do: term)
  defp queue(stage), do: Peer.call(stage.peer, Process, :info, [stage.pid, :messages])
  defp go(b), do: Peer.call(b, NodesEcho, :go, [])

  test "a node answers what another asks, by its time, with what it was started with" do
    {a, b, stage} = pair!()
    assert ask(stage, b, {:say, %{a: [1, "two"]}}) == {:ok, {"from", a.node, %{a: [1, "two"]}}}
    assert {:ok, left} = ask(stage, b, {:left, nil}, 60_000)
    assert left in 1..60_000
    assert ask(stage, b, {:left, nil}, :infinity) == {:ok, :infinity}
    assert queue(stage) == {:messages, []}
  end

  test "no question waits for another" do
    {a, b, stage} = pair!()
    task = hold(a, b, "first")
    assert {:ok, {"from", _node, "second"}} = ask(stage, b, {:say, "second"})
    go(b)
    assert Task.await(task, 60_000) == {:ok, "first"}
  end

  test "a node of another version says so, and does nothing" do
    {_a, b, stage} = pair!(%{version: 2})
    assert ask(stage, b, {:say, "right"}) == {:error, :unknown_version}
    assert ask(stage, b, {:hold, "right"}) == {:error, :unknown_version}
    assert held(b) == []
  end

  test "an answer that comes late is dropped" do
    {_a, b, stage} = pair!()
    assert ask(stage, b, {:hold, "late"}, 50) == {:error, :timeout}
    eventually(fn -> held(b) == ["late"] end, @patience)
    go(b)
    eventually(fn -> held(b) == [] end, @patience)
    # What comes over the link after it.
    assert {:ok, _answer} = ask(stage, b, {:say, "next"})
    assert queue(stage) == {:messages, []}
  end

  test "who asks a node that is lost, or nobody, is told whether it may be done" do
    {a, b, stage} = pair!()
    task = hold(a, b, "held")
    begun = asking(a, b, {:hold, "begun"})
    eventually(fn -> length(held(b)) == 2 end, @patience)
    Peer.halt(b)
    assert Task.await(task, @patience) == {:error, :lost}
    assert Task.await(begun, @patience) == {:error, :lost}

    {_a, c, stage_of_c} = pair!()
    Peer.call(c, GenServer, :stop, [NodesEcho])
    assert ask(stage_of_c, c, {:say, "any"}) == {:error, :gone}
    assert queue(stage) == {:messages, []}
  end

  test "who is asked says what it has begun, so that what is left when it ends in order can be asked elsewhere" do
    {a, b, stage} = pair!(%{begun?: true})
    begun = hold(a, b, "begun")
    Peer.call(b, Process, :exit, [Peer.call(b, Process, :whereis, [NodesEcho]), :kill])
    assert Task.await(begun, 60_000) == {:error, :lost}

    {:ok, server} = Peer.call(b, NodesEcho, :open, [%{begun?: true}])
    :ok = Peer.call(b, :sys, :suspend, [server])
    unread = asking(a, b, {:say, "unread"})

    eventually(
      fn -> Peer.call(b, Process, :info, [server, :message_queue_len]) == {:message_queue_len, 1} end,
      @patience
    )

    :ok = Peer.call(b, GenServer, :stop, [server, :shutdown])
    assert Task.await(unread, 60_000) == {:error, :gone}
    assert queue(stage) == {:messages, []}
  end

  test "nobody waits for a node that has stood still for too long" do
    {_a, b, stage} = pair!()
    assert ask(stage, b, {:hold, "still"}, :infinity, {20, &NodesEcho.lost?/0}) == {:error, :lost}
    assert queue(stage) == {:messages, []}
  end

  test "questions beyond those that may be under way are refused, and those that wait are done in order" do
    {a, b, stage} = pair!(%{at_once: 1, waiting: 1})
    first = hold(a, b, "first")
    second = asking(a, b, {:say, "second"})
    eventually(fn -> asked(b, nil).waiting == 1 end, @patience)
    assert ask(stage, b, {:say, "third"}) == {:ok, {:refused, :busy}}
    go(b)
    assert Task.await(first, 60_000) == {:ok, "first"}
    assert {:ok, {"from", _node, "second"}} = Task.await(second, 60_000)
    assert {:ok, {"from", _node, "fourth"}} = ask(stage, b, {:say, "fourth"})
  end

  test "questions that bring more bytes than all may are refused, but for one alone" do
    {a, b, stage} = pair!(%{bytes: 1_000})
    large = String.duplicate("x", 2_000)
    alone = hold(a, b, large)
    assert ask(stage, b, {:say, "small"}) == {:ok, {:refused, :busy}}
    go(b)
    assert Task.await(alone, 60_000) == {:ok, large}
    eventually(fn -> asked(b, nil).bytes == 0 end, @patience)
    assert {:ok, {"from", _node, "small"}} = ask(stage, b, {:say, "small"})
  end

  test "questions for a namespace leave as many of those under way, of those that wait, and of bytes, to others" do
    {a, b, stage} = pair!(%{at_once: 4, waiting: 2, bytes: 1_000})
    large = fn namespace, bytes -> String.pad_trailing(namespace <> "/", bytes, "x") end
    first = hold(a, b, large.("shop", 400))
    assert ask(stage, b, {:say, large.("shop", 201)}) == {:ok, {:refused, :busy}}
    assert {:ok, {"from", _node, _term}} = ask(stage, b, {:say, large.("blog", 600)})
    # It is answered before it has ended.
    eventually(fn -> asked(b, "blog").held == 0 end, @patience)
    second = hold(a, b, "shop/second")
    third = asking(a, b, {:hold, "shop/third"})
    eventually(fn -> asked(b, "shop").waiting == 1 end, @patience)
    assert ask(stage, b, {:say, "shop/fourth"}) == {:ok, {:refused, :busy}}
    assert asked(b, "shop").held == 2

    # One of another is done at once, and one that comes when there is no place is next before those of the first.
    other = hold(a, b, "blog/first")
    last = hold(a, b, "room/first")
    waits = asking(a, b, {:hold, "cart/first"})
    eventually(fn -> asked(b, "cart").waiting == 1 end, @patience)
    [{_term, pid}] = for {"room/first", _pid} = held <- Peer.call(b, NodesEcho, :held, []), do: held
    Peer.call(b, Kernel, :send, [pid, :go])
    assert Task.await(last, 60_000) == {:ok, "room/first"}
    eventually(fn -> "cart/first" in held(b) end, @patience)
    assert asked(b, "shop") |> Map.take([:held, :waiting]) == %{held: 2, waiting: 1}

    go(b)
    eventually(fn -> held(b) == ["shop/third"] end, @patience)
    go(b)
    for task <- [first, second, third, other, waits], do: assert({:ok, _term} = Task.await(task, 60_000))
  end

  @answer 200_000

  test "large answers that have yet to go leave others as many bytes, and where there is no room for one its asker is told" do
    {a, b, stage} = pair!(%{bytes: 1_100_000, at_once: 100})
    Peer.call(b, NodesEcho, :keep, ["shop/any", a.node])
    tasks = for name <- ~w(a b c), do: asking(a, b, {:many, {"shop/#{name}", @answer}})
    eventually(fn -> asked(b, "shop").bytes in (3 * @answer)..(3 * @answer + 100) end, @patience)
    assert ask(stage, b, {:many, {"shop/d", @answer}}) == {:ok, {:refused, :no_room}}
    assert {:ok, <<_answer::binary-size(@answer)>>} = ask(stage, b, {:many, {"blog/a", @answer}})
    go(b)
    for task <- tasks, do: assert({:ok, <<_answer::binary-size(@answer)>>} = Task.await(task, 60_000))
    eventually(fn -> asked(b, "shop").bytes == 0 end, @patience)
  end

  test "what was answered at length is not begun again before there is room for as long an answer, until one was short" do
    {a, b, stage} = pair!(%{bytes: 1_700_000, at_once: 100, waiting: 100})
    assert {:ok, _answer} = ask(stage, b, {:many, {"shop/a", @answer}})
    Peer.call(b, NodesEcho, :keep, ["shop/any", a.node])
    tasks = for _question <- 1..6, do: asking(a, b, {:many, {"shop/a", @answer}})
    eventually(fn -> match?(%{held: 4, waiting: 2}, asked(b, "shop")) end, @patience)
    assert {:ok, _answer} = ask(stage, b, {:many, {"blog/a", @answer}})
    go(b)
    for task <- tasks, do: assert({:ok, _answer} = Task.await(task, 60_000))
    assert {:ok, "x"} = ask(stage, b, {:many, {"shop/a", 1}})
    eventually(fn -> asked(b, "shop") == %{held: 0, waiting: 0, bytes: 0} end, @patience)
    Peer.call(b, NodesEcho, :keep, ["shop/any", a.node])
    tasks = for _question <- 1..6, do: asking(a, b, {:many, {"shop/a", 1}})
    for task <- tasks, do: assert(Task.await(task, 60_000) == {:ok, "x"})
    go(b)
  end

  test "an answer that is larger than was expected waits for room, and is refused to nobody" do
    {a, b, stage} = pair!(%{bytes: 800_000, at_once: 100, waiting: 100})
    assert {:ok, _answer} = ask(stage, b, {:many, {"shop/a", 100_000}})
    eventually(fn -> asked(b, "shop") == %{held: 0, waiting: 0, bytes: 0} end, @patience)
    Peer.call(b, NodesEcho, :keep, ["shop/any", a.node])
    tasks = for _question <- 1..2, do: asking(a, b, {:many, {"shop/a", 300_000}})
    eventually(fn -> match?(%{held: 2, bytes: bytes} when bytes in 300_000..300_100, asked(b, "shop")) end, @patience)
    go(b)
    for task <- tasks, do: assert({:ok, <<_answer::binary-size(300_000)>>} = Task.await(task, 60_000))
    eventually(fn -> asked(b, "shop") == %{held: 0, waiting: 0, bytes: 0} end, @patience)
  end

  test "an answer that waits for room waits no longer than its asker" do
    {a, b, stage} = pair!(%{bytes: 800_000, at_once: 100, waiting: 100})
    assert {:ok, _answer} = ask(stage, b, {:many, {"shop/a", 100_000}})
    eventually(fn -> asked(b, "shop") == %{held: 0, waiting: 0, bytes: 0} end, @patience)
    Peer.call(b, NodesEcho, :keep, ["shop/any", a.node])
    first = asking(a, b, {:many, {"shop/a", 300_000}})
    eventually(fn -> match?(%{held: 1, bytes: bytes} when bytes >= 300_000, asked(b, "shop")) end, @patience)
    second = asking(a, b, {:many, {"shop/a", 300_000}}, 2_000)
    # Who of both is first when that time is over is nobody's promise.
    assert Task.await(second, 60_000) in [{:error, :timeout}, {:ok, {:refused, :no_room}}]
    eventually(fn -> match?(%{held: 1}, asked(b, "shop")) end, @patience)
    go(b)
    assert {:ok, <<_answer::binary-size(300_000)>>} = Task.await(first, 60_000)
  end

  test "questions that take long, whose answers may be large, leave others room for theirs" do
    {a, b, stage} = pair!(%{bytes: 800_000, at_once: 100, waiting: 100})
    for {function, bytes} <- [{"slow", 400_000}, {"shop/a", 80_000}], do: ask(stage, b, {:many, {function, bytes}})
    eventually(fn -> for(namespace <- [nil, "shop"], do: asked(b, namespace).held) == [0, 0] end, @patience)
    tasks = for _question <- 1..2, do: asking(a, b, {:late, {"slow", 400_000}})
    eventually(fn -> held(b) == ["slow", "slow"] end, @patience)
    assert {:ok, <<_answer::binary-size(80_000)>>} = ask(stage, b, {:many, {"shop/a", 80_000}})
    go(b)
    for task <- tasks, do: assert({:ok, <<_answer::binary-size(400_000)>>} = Task.await(task, 60_000))
  end

  test "long answers to one node wait for none to another" do
    {a, b, _stage} = pair!()
    Peer.call(b, NodesEcho, :keep, ["shop/any", :"other@127.0.0.1"])
    assert {:ok, <<_answer::binary-size(@answer)>>} = a |> asking(b, {:many, {"shop/a", @answer}}) |> Task.await(60_000)
  end

  test "long answers that count nowhere else go in turns of their namespace as well" do
    {a, b, stage} = pair!()
    Peer.call(b, NodesEcho, :keep, ["shop/any", a.node])
    task = asking(a, b, {:list, {"shop/a", @answer}})
    counted = fn -> Peer.call(b, Turns, :count, [{:links, a.node}, "shop/any"]) end
    eventually(fn -> match?({_running, 1}, counted.()) end, @patience)
    assert {:ok, <<_answer::binary-size(@answer)>>} = ask(stage, b, {:list, {"blog/a", @answer}})
    go(b)
    assert {:ok, <<_answer::binary-size(@answer)>>} = Task.await(task, 60_000)
  end

  test "all that is being done when a node ends in order is answered, with large answers, too" do
    {a, b, _stage} = pair!(%{bytes: 100_000_000})
    tasks = for number <- 1..40, do: asking(a, b, {:late, {"shop/#{number}", @answer}})
    eventually(fn -> length(held(b)) == 40 end, @patience)
    Peer.call(b, NodesEcho, :stop, [])
    for task <- tasks, do: assert({:ok, <<_answer::binary-size(@answer)>>} = Task.await(task, 60_000))
  end

  test "a link that is busy all the time keeps no question from being begun" do
    cookie = Peer.cookie()
    names = for stem <- ["a", "b"], do: Peer.name(stem)
    cable = start_supervised!({SlowLink, nodes: names, delay_ms: 0, bytes_per_s: 50_000_000})

    [a, b] = for name <- names, do: Peer.boot!([], name: name, cookie: cookie, args: SlowLink.arguments(cable))

    Peer.link(a, b)
    {:ok, _pid} = Peer.call(b, NodesEcho, :open, [%{begun?: true, bytes: 268_435_456}, nil])
    tasks = for number <- 1..16, do: asking(a, b, {:many, {"shop/#{number}", 4_000_000}}, 60_000)
    stage = Stage.start(a)
    for number <- 1..20, do: assert({:ok, {"from", _node, _term}} = ask(stage, b, {:say, "blog/#{number}"}))
    for task <- tasks, do: assert({:ok, _answer} = Task.await(task, 60_000))
  end

  test "who fails at a question does so for that one alone, and its asker is told" do
    {_a, b, stage} = pair!()
    assert ask(stage, b, {:fail, :kill}) == {:ok, {:refused, :failed}}
    assert {:ok, _answer} = ask(stage, b, {:say, "any"})
  end

  test "a node that is not known, and what can't be read, have no answer" do
    {_a, b, stage} = pair!(%{}, [])
    assert ask(stage, b, {:say, "any"}, 300) == {:error, :timeout}

    {_a, b, stage} = pair!()
    assert ask(stage, b, {:unknown, "any"}, 300) == {:error, :timeout}

    send_to = &Stage.run(stage, :erlang, :send, [{NodesEcho, b.node}, &1])

    for message <- [
          :any,
          {:tidepool_echo},
          {:tidepool_echo, 1, :no_ref, 1, {:say, 1}},
          {:tidepool_echo, 1, make_ref(), -1, {:say, 1}},
          {:tidepool_echo, "1", make_ref(), 1, {:say, 1}}
        ],
        do: send_to.(message)

    assert {:ok, _answer} = ask(stage, b, {:say, "any"})
    assert queue(stage) == {:messages, []}
  end

  # What nodes of before say and hear, to the letter.
  test "the forms are those of nodes of before" do
    ref = make_ref()
    base = %Protocol{server: :any, tag: :t, version: 1, what: "any"}

    for {form, to, question, receiver, answer} <- [
          {:timed, ref, {:t, 1, ref, 7, :q}, ref, {:t, ref, :a}},
          {:from, {self(), ref}, {:t, 1, self(), ref, :q}, self(), {:t, ref, :a}}
        ] do
      protocol = %{base | form: form}
      assert Protocol.question(protocol, to, 7, :q) == question
      assert Protocol.read(protocol, question) == {to, 1, if(form == :timed, do: 7, else: :infinity), :q}
      assert Protocol.answer(protocol, to, :a) == {receiver, answer}
      assert Protocol.asker(to) == node()
      assert Protocol.read(%{protocol | tag: :other}, question) == :none
    end
  end
end
