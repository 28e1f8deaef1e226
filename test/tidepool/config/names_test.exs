defmodule Tidepool.Config.NamesTest do
  # Names of nodes that can have links with each other, and those that can't.
  use ExUnit.Case, async: true

  alias Tidepool.{Config, Error}
  alias Tidepool.Config.Names

  doctest Names

  test "nodes of both kinds of names are refused wherever settings name them, and told what to do" do
    long = "a@10.0.0.1"
    short = "b@host2"

    for {settings, other} <- [
          {[actors: "replicated:#{long},#{short},c@host3"], long},
          {[actors: {:replicated, [short]}, seeds: long], long},
          {[seeds: [long, short]], long},
          {[seeds: short, dns: "nodes.test"], "TIDEPOOL_DNS"}
        ] do
      assert {:error, %Error{reason: :invalid_option, message: message}} =
               Config.Schema.check([data: "data", cluster: :auto] ++ settings)

      for word <- [short, other, "TIDEPOOL_ACTORS"], do: assert(message =~ word)
      # One that looks for no others.
      assert {:ok, _config} = Config.Schema.check([data: "data", cluster: false] ++ settings)
    end

    for names <- [["a@host1", "b@host2", "c@host3"], ["a@10.0.0.1", "b@host.example", "c@::1"]] do
      assert {:ok, config} = Config.Schema.check(data: "data", cluster: :auto, actors: {:replicated, names})
      assert config.seeds == names
    end
  end

  test "a node whose name is of another kind than those that its settings name is refused, and told how to start it" do
    settings = %{cluster: true, seeds: ["b@host2"], dns: nil}
    assert Names.check_own(settings, "a@host1", :short) == :ok
    assert Names.check_own(settings, "nonode@nohost", nil) == :ok
    assert Names.check_own(%{settings | cluster: false}, "a@10.0.0.1", :long) == :ok
    assert Names.check_own(%{settings | seeds: []}, "a@10.0.0.1", :long) == :ok

    # It may be named alone, as by `--name tidepool@localhost` with `replicated:tidepool@localhost`.
    assert Names.check_own(%{settings | seeds: ["a@localhost"]}, "a@localhost", :long) == :ok

    # By `--name a@host1` it looks for no `b@host2`, whatever is in DNS.
    for own <- ["a@host1", "a@10.0.0.1"] do
      assert {:error, %Error{reason: :invalid_option, message: message}} = Names.check_own(settings, own, :long)
      for word <- [own, "b@host2", "--sname"], do: assert(message =~ word)
    end

    for settings <- [%{settings | seeds: ["b@10.0.0.2"]}, %{settings | seeds: [], dns: "nodes.test"}] do
      assert {:error, %Error{message: message}} = Names.check_own(settings, "a@host1", :short)
      for word <- ["a@host1", "--name", "RELEASE_NODE"], do: assert(message =~ word)
    end
  end
end
