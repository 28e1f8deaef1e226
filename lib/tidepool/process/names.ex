defmodule Tidepool.Process.Names do
  @moduledoc """
  Names that hold on all nodes of a program: what the driver of a guest does with them, and whoever else asks.

  The node where the program began keeps them (`Tidepool.Process.NameServer`, which has the questions). A process of another node that is
  said to have one is asked for on its node, so that nobody gets the dead; where that says so, the name is freed.
  """

  alias Tidepool.{Native, Nodes}
  alias Tidepool.Process.{NameServer, Remote}

  @ask_ms 10_000
  # How often a name is asked for anew whose process was dead: others may be quicker.
  @attempts 4
  @max_number 0xFFFF_FFFF_FFFF_FFFF
  # What guests get: it is done; another has it, or nobody; there is no such process; no answer; none in time.
  @done 0
  @taken 1
  @no_process 2
  @full 3
  @not_asked 4
  @timed_out 9027

  @type operation :: :put | :claim | :get | :remove
  @type result :: {code :: non_neg_integer, id :: non_neg_integer}

  @doc "Does something with a name of the program with this first process, which `reference` is of: the guest's code, and who has it."
  @spec run(pid, Native.process_ref(), operation, String.t(), non_neg_integer) :: result
  def run(first, reference, operation, name, id) when operation in [:put, :claim] do
    case Remote.locate(first, reference, id) do
      {pid, true} -> ask({first, reference}, operation, name, {id, pid}, @attempts)
      _none -> {@no_process, 0}
    end
  end

  def run(first, reference, operation, name, _id), do: ask({first, reference}, operation, name, {0, nil}, @attempts)

  @doc "The process that has a name."
  @spec whereis(pid, Native.process_ref(), String.t()) :: pid | nil
  def whereis(first, reference, name) do
    with {@done, id} <- run(first, reference, :get, name, 0),
         {pid, _guest?} <- Remote.locate(first, reference, id),
         do: pid,
         else: (_none -> nil)
  end

  defp ask({first, _reference} = program, operation, name, owner, attempts) do
    case question(first, operation, name, owner) do
      {@done, id} when operation == :get -> verify(program, operation, name, owner, {@done, id}, attempts)
      {@taken, id} when operation == :claim -> verify(program, operation, name, owner, {@taken, id}, attempts)
      result -> result
    end
  end

  defp question(first, operation, name, {id, pid}) do
    case NameServer.ask(node(first), {:name, first, operation, name, id, pid}, @ask_ms) do
      {:ok, {code, id}} when code in @done..@full and id in 0..@max_number -> {code, id}
      {:ok, _other} -> {@not_asked, 0}
      {:error, :timeout} -> {@timed_out, 0}
      {:error, _gone} -> {@not_asked, 0}
    end
  end

  # Does the process live that is said to have the name?
  defp verify({first, reference} = program, operation, name, owner, {_code, id} = result, attempts) do
    found = if Nodes.of(id) == 0, do: :known, else: Remote.locate(first, reference, id)

    cond do
      found == :dead and attempts > 0 ->
        question(first, :free, name, {id, nil})
        ask(program, operation, name, owner, attempts - 1)

      # Its node may be there for others.
      is_atom(found) and found != :known and operation == :get ->
        {@taken, 0}

      true ->
        result
    end
  end
end
