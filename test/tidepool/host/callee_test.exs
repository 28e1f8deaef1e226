defmodule Tidepool.Host.CalleeTest do
  # A function that another one asks by HTTP: what the one that asks is told when that goes wrong.
  use Tidepool.Case

  alias Tidepool.Error
  alias Tidepool.Error.Reason
  alias Tidepool.Host.{Builtin, Callee}

  defp refusal(reason), do: Callee.refusal(%Error{reason: reason, message: "at 10.0.0.1", function: "tide"})

  test "a refusal is what WASI has for it, where it has that, and else the error's text unless that is the host's own" do
    for {reason, told} <- [
          not_deployed: :missing,
          unavailable: :unavailable,
          not_ready: :unavailable,
          timeout: :late,
          overloaded: :full,
          quota: :full,
          internal: "tide: it failed",
          trap: "tide: at 10.0.0.1",
          no_response: "tide: at 10.0.0.1"
        ] do
      assert {reason, refusal(reason)} == {reason, told}
    end

    assert refusal({:limit, :depth}) == :too_deep
    assert refusal({:limit, :memory}) == "tide: at 10.0.0.1"
    assert refusal({:trap, :unreachable}) == "tide: at 10.0.0.1"

    for reason <- Reason.all(:call), Reason.is?(reason, :private), text = refusal(reason), is_binary(text) do
      refute text =~ "10.0.0.1"
    end
  end

  test "who asks a function whose process is killed is told so at once" do
    test = self()

    handle!(
      {"tidepool", "function", :_},
      fn call ->
        send(test, {:asks, self()})
        Builtin.function(call)
      end,
      run: :inline
    )

    callee = deploy!("rust", "http", limits: [time: 600_000, cpu_time: 600_000])
    name = deploy!("rust", "fetch", limits: [time: 600_000])
    asked = Task.async(fn -> curl("/call/#{name}/get?http://#{callee}.internal/loop") end)
    assert_receive {:asks, caller}
    eventually(fn -> busy_instances() == 2 end)
    assert [pid] = for(pid <- Process.list(), called_by?(pid, caller), do: pid)
    Process.exit(pid, :kill)
    assert {502, _headers, "ErrorCode::InternalError(Some(" <> told} = Task.await(asked, 60_000)
    assert told =~ "#{callee}: it was ended"
    eventually(fn -> busy_instances() == 0 end)
  end

  defp called_by?(pid, caller) do
    case Process.info(pid, :dictionary) do
      {:dictionary, dictionary} -> match?([^caller | _more], dictionary[:"$callers"])
      nil -> false
    end
  end
end
