defmodule Tidepool.Histories do
  @moduledoc """
  Clients of actors on several nodes, and what they saw: each operation with the times of its call and of its answer, as the program
  `histories` of `native/tidepool_model` reads it.

  What was refused is not in a history, for it must not have been done. What has no answer, or an unknown outcome, is open. Some are
  asked again with the id that they had, until there is an answer.
  """

  alias Tidepool.{Actor, ActorScript, Native}

  # How long a client waits for an answer, and for a node that does not say anything.
  @call_ms 5_000
  @node_ms 8_000
  @pause_ms 20
  @tries 6
  @register "register"
  @positive Bitwise.bsl(1, 62)
  # With these nothing was done; with those it may have been.
  @refused [:no_store, :overloaded, :not_deployed, :not_ready]
  @open [:unknown_outcome, :timeout]

  @doc """
  Starts clients, each of which asks one actor after the other, as `choose` has it, of any of the nodes that `nodes` returns, until
  `stop/1`.
  """
  def start(clients, class, choose, nodes) do
    stopped = :atomics.new(1, [])

    tasks =
      for client <- 1..clients do
        Task.async(fn ->
          :rand.seed(:exsss, {client, 7, 1})
          run(%{client: client, class: class, choose: choose, nodes: nodes, stopped: stopped}, 1, [])
        end)
      end

    {stopped, tasks}
  end

  @doc "Stops them: all that they saw, and the reasons that nobody expects."
  def stop({stopped, tasks}) do
    :atomics.put(stopped, 1, 1)
    tasks |> Task.await_many(120_000) |> Enum.concat() |> Enum.split_with(&is_map/1)
  end

  @doc "What becomes of the histories: what the checker says, and whether all are such as of actors that are there once."
  def check(seen) do
    path = Path.join(Tidepool.Case.tmp_folder!(), "histories")
    File.write!(path, Enum.map(seen, &[Native.json_encode(&1), "\n"]))
    {output, status} = System.cmd("sh", ["-c", "exec \"$1\" < \"$2\"", "sh", program!(), path], stderr_to_stdout: true)
    {status == 0, output}
  end

  # `bin/test native` builds it: a test that calls cargo waits for whatever else builds in this folder.
  defp program! do
    native = Path.expand("../../../native", __DIR__)
    program = Path.join([System.get_env("CARGO_TARGET_DIR", "target") |> Path.expand(native), "release", "histories"])
    unless File.exists?(program), do: build!(native)
    program
  end

  defp build!(native) do
    arguments = ~w(build --release --locked -p tidepool_model --bin histories)
    {output, status} = System.cmd("cargo", arguments, cd: native, stderr_to_stdout: true)
    if status != 0, do: raise("the checker of histories can't be built:\n#{output}")
  end

  defp run(context, number, seen) do
    if :atomics.get(context.stopped, 1) == 1 do
      seen
    else
      actor = context.choose.()
      next = ask(context, actor, op(actor, "#{context.client}.#{number}"), number)

      receive do
      after
        :rand.uniform(@pause_ms) -> run(context, number + 1, next ++ seen)
      end
    end
  end

  # What an actor of this name is asked, and in which words of its guest.
  defp op("counter" <> _name, _text), do: Enum.random([{"add", "1", "add", "1"}, {"sum", "", "sum", ""}])
  defp op("list" <> _name, text), do: Enum.random([{"append", text, "write", text}, {"lines", "", "read", ""}])

  defp op("register" <> _name, text) do
    Enum.random([
      {"put", text, "host", ActorScript.put(@register, text)},
      {"get", "", "host", ActorScript.get(@register)}
    ])
  end

  defp ask(context, actor, {op, argument, operation, payload}, number) do
    id = if rem(number, 2) == 0, do: "#{context.client}.#{number}"
    called = now()

    seen = %{
      actor: actor,
      client: context.client,
      op: op,
      argument: argument,
      called: called,
      answered: nil,
      answer: nil
    }

    options = [timeout: @call_ms, request_id: id]

    case asked(context, [context.class, actor, operation, payload, options], if(id, do: @tries, else: 1), false) do
      {:ok, answer} -> [%{seen | answered: now(), answer: answer(op, answer)}]
      :refused -> []
      :open -> [seen]
      unexpected -> [{op, unexpected}]
    end
  end

  # One that was refused after an outcome that is not known is not known either.
  defp asked(_context, _arguments, 0, open?), do: if(open?, do: :open, else: :refused)

  defp asked(context, arguments, tries, open?) do
    case call(Enum.random(context.nodes.()), arguments) do
      {:ok, answer} -> {:ok, answer}
      {:error, %{reason: reason}} when reason in @refused -> asked(context, arguments, tries - 1, open?)
      {:error, %{reason: reason}} when reason in @open -> asked(context, arguments, tries - 1, true)
      {:error, error} -> error
    end
  end

  defp call(peer, arguments) do
    :peer.call(peer.pid, Actor, :call, arguments, @node_ms)
  catch
    :exit, {:noproc, _call} -> {:error, %{reason: :no_store}}
    # The node has ended meanwhile, or stands still.
    _kind, _gone -> {:error, %{reason: :unknown_outcome}}
  end

  defp answer("get", <<1, value::binary>>), do: value
  defp answer(_op, answer), do: answer

  # The checker's times have no sign.
  defp now, do: System.monotonic_time(:microsecond) + @positive
end
