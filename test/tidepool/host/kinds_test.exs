defmodule Tidepool.Host.KindsTest do
  # What each kind of component may ask for: a request to a server, and a resource of the host's. Others register the same interface for
  # all namespaces.
  use Tidepool.Case

  import Tidepool.ProgramClient

  alias Tidepool.{Actor, Error, Host, Native, Origin}

  @interface "docs:shop/carts"

  defmodule Cart do
    def new(owner), do: {owner, :counters.new(1, [])}

    def add({_owner, things}, _item) do
      :counters.add(things, 1, 1)
      :counters.get(things, 1)
    end

    def drop({owner, _things}), do: send(Tidepool.Host.KindsTest, {:dropped, owner})
  end

  defp options(:actor), do: [actor: true]
  defp options(_kind), do: []

  # Handlers of HTTP are tried by `TidepoolWeb.OutgoingTest`.
  for {kind, guest} <- [
        typed: "fetch_typed",
        actor: "fetch_typed",
        command: "fetch_command",
        process: "fetch_command"
      ] do
    @tag kind: kind, guest: guest
    test "a request is sent where it is granted, and denied elsewhere, for #{guest} as #{kind}", context do
      %{kind: kind, guest: guest} = context
      port = Origin.start!(fn socket, _head -> Origin.say(socket, "reached") end)
      asked = "127.0.0.1:#{port} /tide"

      granted = deploy!("rust", guest, [net: ["http:127.0.0.1:#{port}"]] ++ options(kind))
      # An actor's call would be undone if it left a handle.
      for _turn <- 1..3, do: assert(fetched(kind, granted, asked) == "200\nreached\n")

      denied = deploy!("rust", guest, [net: ["http:127.0.0.2:#{port}"]] ++ options(kind))
      assert fetched(kind, denied, asked) =~ ~r/^error \d+\n\z/m
    end
  end

  defp fetched(:typed, name, asked) do
    assert {:ok, text} = Tidepool.call(name, :run, [asked])
    text
  end

  defp fetched(:actor, name, asked) do
    assert {:ok, json} = Actor.call(name, "one", "run", Native.json_encode([asked]))
    {:ok, text} = Native.json_decode(json)
    text
  end

  defp fetched(:command, name, asked) do
    assert {:ok, text} = Tidepool.call(name, asked)
    text
  end

  defp fetched(:process, name, asked) do
    assert ended!(start!(name, args: [name | String.split(asked)])) == :normal
    output()
  end

  describe "a resource of the host's" do
    setup do
      Process.register(self(), __MODULE__)
      space = unique_name("shop")
      :ok = Host.register_interface(@interface, nil, resources: %{"cart" => Cart}, namespace: space)

      on_exit(fn ->
        for operation <- ["[constructor]cart", "[static]cart.new", "[method]cart.add"],
            do: Host.unregister({"wit", @interface, operation}, namespace: space)
      end)

      %{space: space}
    end

    for {kind, guest, answer} <- [
          {:typed, "carts_typed", {:ok, 2}},
          {:actor, "carts_typed", {:ok, "2"}},
          {:command, "carts_command", {:ok, ""}},
          {:process, "carts_command", :normal},
          {:http, "carts_http", 202}
        ] do
      @tag kind: kind, guest: guest, answer: answer
      test "is had by #{guest} as #{kind}, in the namespace that it was registered for and in no other", context do
        %{kind: kind, guest: guest, answer: answer, space: space} = context
        assert carts(kind, deployed!("#{space}/#{kind}", guest, options(kind))) == answer
        assert_receive {:dropped, "Ada"}

        refute carts(kind, deployed!("#{unique_name("other")}/#{kind}", guest, options(kind))) == answer
        refute_received {:dropped, _owner}
      end
    end

    test "that an actor's call leaves ends, and so does all that the call has changed", %{space: space} do
      class = deployed!("#{space}/kept", "carts_typed", actor: true)
      assert {:error, %Error{reason: :kept_handles, message: message}} = Actor.call(class, "one", "keep", "[]")
      assert message =~ "the host's handlers"
      assert_receive {:dropped, "Ada"}
      assert Actor.call(class, "one", "two", "[]") == {:ok, "2"}
      assert_receive {:dropped, "Ada"}
    end
  end

  defp deployed!(name, guest, options) do
    {:ok, _function} = Tidepool.deploy(guest("rust", guest), [name: name] ++ options)
    on_exit(fn -> remove!(name) end)
    name
  end

  defp carts(:typed, name), do: Tidepool.call(name, :two, [])
  defp carts(:actor, name), do: Actor.call(name, "one", "two", "[]")
  defp carts(:command, name), do: Tidepool.call(name, "run")
  defp carts(:process, name), do: ended!(start!(name))
  defp carts(:http, name), do: "/call/#{URI.encode_www_form(name)}/" |> curl() |> elem(0)
end
