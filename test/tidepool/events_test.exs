defmodule Tidepool.EventsTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Events, Function}

  test "who subscribes is told of deploys and removals once they are true, in order, until it ends" do
    test = self()

    subscriber =
      spawn(fn ->
        :ok = Events.subscribe()
        send(test, :subscribed)
        forward(test)
      end)

    assert_receive :subscribed
    name = deploy!("rust", "hello_world")
    assert_receive {%{event: :deployed, name: ^name, version: 1, at: at}, {:ok, %Function{version: 1}}}
    assert abs(at - System.os_time(:second)) < 60
    {:ok, _function} = Tidepool.deploy(guest("rust", "upper"), name: name)
    assert_receive {%{event: :deployed, name: ^name, version: 2}, {:ok, %Function{version: 2}}}
    :ok = Tidepool.remove(name)
    assert_receive {%{event: :removed, name: ^name, version: 2}, {:error, %{reason: :not_deployed}}}
    refute_received {%{name: ^name}, _state}

    Process.exit(subscriber, :kill)
    eventually(fn -> subscriber not in for({pid, _value} <- Registry.lookup(Events, :all), do: pid) end)
  end

  # With what there is of the function by then.
  defp forward(test) do
    receive do
      {:tidepool_event, %{name: name} = event} -> send(test, {event, Tidepool.fetch(name)})
      {:tidepool_event, _of_a_node} -> :ok
    end

    forward(test)
  end

  test "a deploy that is refused, or changes nothing, is no event" do
    :ok = Events.subscribe()
    name = deploy!("rust", "hello_world")
    assert_receive {:tidepool_event, %{event: :deployed, name: ^name}}
    {:ok, %{version: 1}} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
    {:error, _refused} = Tidepool.deploy("no module", name: name)
    :ok = Tidepool.remove(name)
    assert_receive {:tidepool_event, %{name: ^name} = event}
    assert event.event == :removed
  end
end
