defmodule Tidepool.Cluster.AdmissionTest do
  # What the edge of a node would refuse, no other node brings to it.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Cluster, Error, Function, LogWatch, Peer}

  @token "s3cret"
  @settings [cluster: true, epmd: false, discovery_interval: 50]
  @open [server: true]
  @guarded [server: true, token: @token]

  defp start!(stem, cookie, seeds, settings), do: start_named!(Peer.name(stem), cookie, seeds, settings)

  defp start_named!(name, cookie, seeds, settings) do
    peer = Peer.boot!(@settings ++ [seeds: seeds] ++ settings, name: name, cookie: cookie)
    Peer.call(peer, LogWatch, :collect, [])
    {:ok, _started} = Peer.start_application(peer)
    peer
  end

  defp status(peer), do: Peer.call(peer, Cluster, :status, [])
  defp links(peer), do: Peer.call(peer, Cluster.Links, :linked, [])
  defp call(peer, name), do: Peer.call(peer, Tidepool, :call, [name, "hello", "Ada"])
  defp warnings(peer), do: for({:warning, text} <- Peer.call(peer, LogWatch, :collected, []), do: text)

  # As a client of the edge, with the token if the node has one.
  defp upload!(peer, name, guest \\ "hello_world") do
    {201, _headers, function} = curl_deploy_url(Peer.url(peer, "/deploy"), guest("rust", guest), [name: name], bearer())
    function
  end

  defp remove!(peer, name) do
    {200, _headers, _removed} = curl_url(Peer.url(peer, "/functions/#{name}"), ["-X", "DELETE"] ++ bearer())
  end

  defp bearer, do: ["-H", "authorization: Bearer #{@token}"]

  defp await_apart(peer, other) do
    eventually(fn -> to_string(other.node) in status(peer).apart end, 30_000)
  end

  for seeking <- [:trial, :production, :both] do
    test "a node without a token changes nothing on one that has one, when #{seeking} looks for the other" do
      cookie = Peer.cookie()
      names = %{production: Peer.name("production"), trial: Peer.name("trial")}
      seeds = fn who, other -> if unquote(seeking) in [who, :both], do: [names[other]], else: [] end
      production = start_named!(names.production, cookie, seeds.(:production, :trial), @guarded)
      upload!(production, "hi")

      # Restored from a copy of its data.
      data = tmp_folder!()
      File.cp_r!(Peer.folder(production), Path.join(data, to_string(names.trial)))
      trial = start_named!(names.trial, cookie, seeds.(:trial, :production), [data: data] ++ @open)
      assert {:ok, "Hello, Ada!"} = call(trial, "hi")

      await_apart(production, trial)
      await_apart(trial, production)
      remove!(trial, "hi")
      upload!(trial, "mine")
      assert {:error, %Error{reason: :not_deployed}} = call(trial, "hi")

      # A node of production's that joins later knows of none of it either.
      late = start!("late", cookie, [names.production, names.trial], @guarded)
      eventually(fn -> links(production) == [late.node] end, 30_000)
      await_apart(late, trial)

      for peer <- [production, late] do
        eventually(fn -> call(peer, "hi") == {:ok, "Hello, Ada!"} end, 30_000)
        assert [%{name: "hi"}] = status(peer).functions
        assert [text] = for(text <- warnings(peer), text =~ "not linked with", do: text)
        assert text =~ to_string(trial.node)
        assert text =~ "TIDEPOOL_TOKEN"
      end

      assert links(trial) == []
      assert Enum.any?(warnings(trial), &(&1 =~ "#{production.node} is not linked with"))
    end
  end

  test "nor over a third node, whether that has a token, no edge, or neither" do
    cookie = Peer.cookie()
    production = start!("production", cookie, [], @guarded)
    trial = start!("trial", cookie, [], @open)
    seeds = [production.node, trial.node]
    [guarded, embedded, open] = for settings <- [@guarded, [], @open], do: start!("third", cookie, seeds, settings)

    for peer <- [guarded, embedded], do: await_apart(peer, trial)
    await_apart(open, production)
    upload!(trial, "theirs")
    upload!(production, "ours")
    eventually(fn -> match?({:ok, _reply}, call(open, "theirs")) end, 30_000)
    for peer <- [guarded, embedded], do: eventually(fn -> match?({:ok, _reply}, call(peer, "ours")) end, 30_000)

    for peer <- [production, guarded, embedded], do: assert([%{name: "ours"}] = status(peer).functions)
    for peer <- [trial, open], do: assert([%{name: "theirs"}] = status(peer).functions)
  end

  test "what anybody could change before a node had a token stays there, gives way, and is told when it is vouched for" do
    cookie = Peer.cookie()
    production = start!("production", cookie, [], @guarded)
    for name <- ["hi", "both"], do: upload!(production, name)

    trial = start!("trial", cookie, [], @open)
    for name <- ["hi", "both", "mine"], do: upload!(trial, name, "upper")
    remove!(trial, "hi")
    :ok = Peer.stop_application(trial)

    for {key, value} <- [token: @token, seeds: [production.node]],
        do: Peer.call(trial, Application, :put_env, [:tidepool, key, value])

    {:ok, _started} = Peer.start_application(trial)

    # Removed and replaced by anybody: here as there what production has.
    for name <- ["hi", "both"], peer <- [production, trial] do
      eventually(fn -> call(peer, name) == {:ok, "Hello, Ada!"} end, 30_000)
    end

    assert {:error, %Error{reason: :not_deployed}} = call(production, "mine")
    assert {:ok, %Function{admitted: :no_token}} = Peer.call(trial, Tidepool, :fetch, ["mine"])
    assert status(trial).withheld == ["mine"]
    assert Enum.any?(warnings(trial), &(&1 =~ ~r/both.*hi.*mine/))

    # Nothing is left to be told.
    for peer <- [production, trial] do
      eventually(fn -> match?([%{catalog: :same}, %{catalog: :same}], status(peer).nodes) end, 30_000)
    end

    # The same bytes, with the token.
    assert %{"version" => 2} = upload!(trial, "mine", "upper")

    eventually(
      fn -> match?({:ok, %Function{version: 2}}, Peer.call(production, Tidepool, :fetch, ["mine"])) end,
      30_000
    )

    assert status(trial).withheld == []
  end

  test "a node of the version before, which does not say what its edge takes, is not linked with, and named once" do
    a = start!("a", Peer.cookie(), [], @guarded)
    old = Peer.boot!([], name: Peer.name("old"), cookie: a.cookie)
    true = Peer.link(old, a)
    greeter = Peer.call(old, Process, :whereis, [:logger])
    ref = Peer.call(old, :erlang, :make_ref, [])

    for _hello <- 1..2,
        do: Peer.call(old, :erlang, :send, [{Cluster.Server, a.node}, {:tidepool_hello, greeter, ref}])

    eventually(
      fn -> assert [_text] = for(text <- warnings(a), text =~ "version 1 of the cluster's protocol", do: text) end,
      30_000
    )

    assert links(a) == []
  end
end
