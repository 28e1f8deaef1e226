defmodule Tidepool.PuppetCompiles do
  @moduledoc "Has a program on this node load a module that it brings along."

  alias Tidepool.Process, as: Guest

  @patience 60_000

  @doc "What `lunatic::process::compile_module` returns to the guest `puppet`, deployed as `name`: 0 when it has the module."
  @spec run(String.t()) :: non_neg_integer
  def run(name) do
    {:ok, main} = Guest.start(name)
    {:ok, id} = Guest.introduce(main, self())
    send(main, {:tidepool, 0, <<id::little-64>>})
    # It is there, and then tells what came of it.
    receive(do: ({:tidepool, ^main, _tag, <<1, _id::little-64>>} -> :ok), after: (@patience -> raise("no puppet")))
    send(main, {:tidepool, 0, <<?B, 0::little-64, 0::little-64>>})

    result =
      receive(
        do: ({:tidepool, ^main, _tag, <<2, result::little-64>>} -> result),
        after: (@patience -> raise("no answer"))
      )

    Guest.kill(main)
    result
  end
end
