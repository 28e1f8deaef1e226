defmodule Tidepool.Cluster.FirstVersionTest do
  # A node of today beside one of the protocol's first version. `bench/upgrade` shows the same of real ones.
  use Tidepool.Case, async: true

  alias Tidepool.Catalog.Entry
  alias Tidepool.{Cluster, Error, FirstVersion, Function, LogWatch, Peer}
  alias Tidepool.Cluster.{Report, Wire}

  @guarded [server: true, token: "s3cret"]

  defp start!(settings) do
    peer =
      Peer.boot!([cluster: true, epmd: false, discovery_interval: 50] ++ settings,
        name: Peer.name("a"),
        cookie: Peer.cookie()
      )

    Peer.call(peer, LogWatch, :collect, [])
    {:ok, _started} = Peer.start_application(peer)
    peer
  end

  defp old!(a, token) do
    old = Peer.boot!([], name: Peer.name("old"), cookie: a.cookie)
    {:ok, _pid} = Peer.call(old, FirstVersion, :start, [token])
    true = Peer.link(old, a)
    :ok = Peer.call(old, FirstVersion, :greet, [a.node])
    old
  end

  defp become_peers(a, old) do
    eventually(fn -> linked(a) == [old.node] end, 30_000)
    tell_as_first(old, {:neighbor, :high})
  end

  defp linked(peer), do: Peer.call(peer, Cluster.Links, :linked, [])
  defp fetch(peer, name), do: Peer.call(peer, Tidepool, :fetch, [name])
  defp call(peer, name), do: Peer.call(peer, Tidepool, :call, [name, "hello", "Ada"])
  defp tell(old, message), do: :ok = Peer.call(old, FirstVersion, :tell, [Wire.encode(message)])

  defp tell_as_first(old, message) do
    for bytes <- Wire.encode(message, 1), do: :ok = Peer.call(old, FirstVersion, :tell, [bytes])
  end

  # What the old node was sent, all of which it can read.
  defp pushed(old) do
    for <<1, _rest::binary>> = bytes <- Peer.call(old, FirstVersion, :heard, []),
        {:ok, {:push, changes}} <- [Wire.decode(bytes)],
        {entry, _before} <- changes,
        do: entry
  end

  defp later(entry, old, fields) do
    struct!(%{entry | stamp: {System.os_time(:millisecond), 0, "#{old.node}#1"}}, fields)
  end

  test "a node of the first version is linked with, and either is told what the other deploys and removes" do
    a = start!(@guarded)
    old = old!(a, "another")
    become_peers(a, old)

    described = [description: "Says hello.", labels: %{"team" => "shop"}]
    Peer.deploy!(a, "rust", "hello_world", described)
    eventually(fn -> assert [_entry] = pushed(old) end, 30_000)
    [bare] = pushed(old)
    assert %Entry{name: "hello_world", version: 1, description: "", labels: labels, admitted: :unknown} = bare
    assert labels == %{}

    # It has the module already, so that the old node need not hand it out.
    theirs = later(bare, old, name: "theirs")
    tell_as_first(old, {:push, [{theirs, nil}]})
    eventually(fn -> call(a, "theirs") == {:ok, "Hello, Ada!"} end, 30_000)
    assert {:ok, %Function{admitted: :unknown}} = fetch(a, "theirs")

    # What comes back without its details is the same change, and takes none of them away.
    tell_as_first(old, {:push, [{bare, nil}, {later(bare, old, name: "mark"), nil}]})
    eventually(fn -> match?({:ok, _function}, fetch(a, "mark")) end, 30_000)

    assert {:ok, %Function{description: "Says hello.", labels: %{"team" => "shop"}, admitted: :elixir}} =
             fetch(a, "hello_world")

    tell_as_first(old, {:push, [{later(bare, old, version: 1, removed: true), nil}]})
    eventually(fn -> match?({:error, %Error{reason: :not_deployed}}, call(a, "hello_world")) end, 30_000)

    :ok = Peer.call(a, Tidepool, :remove, ["theirs"])
    eventually(fn -> Enum.any?(pushed(old), &(&1.name == "theirs" and &1.removed)) end, 30_000)

    report = %Report{node: to_string(old.node), at: System.os_time(:millisecond), links: [to_string(a.node)]}
    tell_as_first(old, {:reports, [report]})
    eventually(fn -> length(Peer.call(a, Cluster, :status, []).nodes) == 2 end, 30_000)

    # Nothing that it was ever sent is of a later version.
    assert Enum.all?(Peer.call(old, FirstVersion, :heard, []), &match?(<<1, _rest::binary>>, &1))
  end

  test "details that an old node has left out are known when another node tells them, without a deploy, and kept" do
    a = start!(@guarded)
    old = old!(a, "another")
    become_peers(a, old)
    Peer.deploy!(a, "rust", "hello_world")
    eventually(fn -> pushed(old) != [] end, 30_000)
    theirs = later(hd(pushed(old)), old, name: "theirs")
    tell_as_first(old, {:push, [{theirs, nil}]})
    eventually(fn -> match?({:ok, %Function{description: ""}}, fetch(a, "theirs")) end, 30_000)
    :ok = Peer.call(a, :logger, :set_primary_config, [:level, :info])

    # As a node of today passes it on.
    tell(old, {:push, [{%{theirs | description: "Theirs.", labels: %{"team" => "shop"}, admitted: :token}, nil}]})
    known? = &match?({:ok, %Function{description: "Theirs.", labels: %{"team" => "shop"}, admitted: :token}}, &1)
    eventually(fn -> known?.(fetch(a, "theirs")) end, 30_000)
    assert call(a, "theirs") == {:ok, "Hello, Ada!"}
    # What follows in the log is of later changes.
    tell(old, {:push, [{later(theirs, old, name: "mark"), nil}]})
    logged = fn -> for {_level, text} <- Peer.call(a, LogWatch, :collected, []), text =~ "deployed", do: text end
    eventually(fn -> assert ["mark: " <> _more] = logged.() end, 30_000)

    :ok = Peer.stop_application(a)
    {:ok, _started} = Peer.start_application(a)
    assert known?.(fetch(a, "theirs"))
    assert call(a, "theirs") == {:ok, "Hello, Ada!"}
  end

  test "a node of the first version is asked whether its edge is open, and kept apart from nodes whose edge is not" do
    for {settings, token, linked?} <- [
          {@guarded, nil, false},
          {[server: true], "t", false},
          {[server: true], nil, true}
        ] do
      a = start!(settings)
      :ok = Peer.call(a, :logger, :set_primary_config, [:level, :info])
      old = old!(a, token)
      linked = fn -> for {_level, "linked with" <> _node = text} <- Peer.call(a, LogWatch, :collected, []), do: text end

      eventually(
        fn ->
          if linked?, do: linked.() != [], else: to_string(old.node) in Peer.call(a, Cluster, :status, []).apart
        end,
        30_000
      )

      assert linked.() != [] == linked?
    end
  end
end
