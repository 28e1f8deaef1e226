defmodule Tidepool.Fault.HostileGuestsTest do
  # Not async: counts the node's instances, and registers host handlers that are the node's as well.
  use Tidepool.Case

  alias Tidepool.{Error, FaultFootprint, FaultGuests}

  @folder "guests/hostile"

  setup_all do
    neighbour = unique_name("neighbour")
    {:ok, _function} = Tidepool.deploy(guest("zig", "hello_world"), name: neighbour)
    on_exit(fn -> Tidepool.remove(neighbour) end)
    {:ok, neighbour: neighbour}
  end

  setup do
    echoes = FaultGuests.answer_hostile()
    {:ok, before: FaultFootprint.settled(), echoes: echoes}
  end

  for {guest, limits, {:refused, step, reason, details}} <- FaultGuests.refused() do
    @tag guest: guest, limits: limits, step: step, reason: reason, details: details
    test "#{guest} is refused at the step #{step} as #{inspect(reason)}, and harms nobody", context do
      name = unique_name(context.guest)

      assert {:error, %Error{reason: reason, details: details, function: ^name}} =
               Tidepool.deploy(guest("wat", context.guest), name: name, limits: context.limits)

      assert reason == context.reason
      assert details.step == context.step
      for {key, value} <- context.details, do: assert(details[key] == value)

      assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
      assert {:error, %Error{reason: :not_deployed}} = Tidepool.call(name, "any")
      assert_unharmed(context)
    end
  end

  for {guest, limits, expectation} <- FaultGuests.callable() do
    outcome =
      case expectation do
        {:reply, bytes} -> "replies #{inspect(bytes)}"
        {:fails, reason, _details} -> "ends in #{inspect(reason)}"
      end

    @tag guest: guest, limits: limits, expectation: expectation
    test "#{guest} #{outcome}, and harms nobody", context do
      name = deploy!("wat", context.guest, limits: context.limits)
      assert_expected(Tidepool.call(name, "any", "payload"), context.expectation)
      assert_unharmed(context)
    end
  end

  # A program ends with its call, so there is nothing to keep warm.
  for {"wasi_" <> _ = guest, _limits, _expectation} <- FaultGuests.callable() do
    @tag guest: guest
    test "#{guest} can't be kept warm", context do
      assert {:error, %Error{reason: :invalid_config}} =
               Tidepool.deploy(guest("wat", context.guest), name: unique_name(context.guest), instances: {:warm, 1})
    end
  end

  for {guest, limits, {:fails, reason, _details} = expectation} <- FaultGuests.callable(),
      not String.starts_with?(guest, "wasi_"),
      reason != :guest_error do
    @tag guest: guest, limits: limits, expectation: expectation
    test "a warm instance of #{guest} is not lent again after #{inspect(reason)}", context do
      name = deploy!("wat", context.guest, limits: context.limits, instances: {:warm, 2})

      for _turn <- 1..2 do
        assert_expected(Tidepool.call(name, "any", "payload"), context.expectation)
        eventually(fn -> Tidepool.Engine.instances().live <= context.before.live end, 20_000)
      end

      assert_unharmed(context)
    end
  end

  test "a pointer that lies about a host call keeps the host from being called", context do
    for guest <- ["lie_host_call_payload", "lie_host_call_name"] do
      assert {:error, %Error{reason: {:trap, :bad_pointer}}} = Tidepool.call(deploy!("wat", guest), "any")
    end

    assert FaultGuests.echoes(context.echoes) == 0
    assert {:error, %Error{}} = Tidepool.call(deploy!("wat", "lie_host_response"), "any")
    assert FaultGuests.echoes(context.echoes) == 1
  end

  test "a trap tells where in the module it happened", _context do
    for guest <- ["trap_unreachable", "stack_overflow", "memory_bomb", "lie_log", "wasi_trap"] do
      assert {:error, %Error{details: %{backtrace: [%{index: index} | _outer]}}} =
               Tidepool.call(deploy!("wat", guest), "any")

      assert is_integer(index)
    end
  end

  test "every hostile guest has an expectation, a line in the README, and has been built" do
    expected = for {name, _limits, _expectation} <- FaultGuests.hostile(), do: name
    sources = for path <- Path.wildcard("#{@folder}/*.wat"), do: Path.basename(path, ".wat")
    lines = Regex.scan(~r/^\| \[(\w+)\]\(\w+\.wat\) /m, File.read!("#{@folder}/README.md"), capture: :all_but_first)

    assert length(sources) > 80
    assert expected == Enum.sort(sources)
    assert expected == lines |> List.flatten() |> Enum.sort()
    for name <- expected, do: assert(File.exists?(guest_path("wat", name)))
  end

  defp assert_expected({:ok, reply}, {:reply, expected}), do: assert(reply == expected)

  defp assert_expected(answer, {:fails, expected, details}) do
    assert {:error, %Error{reason: ^expected} = error} = answer
    for {key, value} <- details, do: assert(error.details[key] == value)
  end

  defp assert_expected(answer, expectation), do: flunk("#{inspect(answer, limit: 20)} is not #{inspect(expectation)}")

  defp assert_unharmed(context) do
    assert Tidepool.call(context.neighbour, "hello", "Ada") == {:ok, "Hello, Ada!"}
    FaultFootprint.assert_instances_back(context.before)
    assert_no_stray_messages()
  end
end
