defmodule Tidepool.Process.InboxTest do
  # What the driver of a guest is sent, and when it takes that.
  use Tidepool.Case, async: true

  alias Tidepool.Puppets

  @moduletag :lunatic
  @patience 30_000

  test "what is sent to a process that asks its host for something all the time is taken, and counts as its messages" do
    first = "lunatic" |> deploy!("puppet") |> Puppets.start()
    {id, busy} = Puppets.spawn(first)
    Puppets.ask(busy, ?~)
    for number <- 1..50, do: Puppets.ask(busy, ?P, number)
    eventually(fn -> match?(%{message_queue: 50}, Tidepool.Process.known(busy)) end, @patience)
    # What it is told of links is taken as well.
    for _time <- 1..300, do: assert(Puppets.tell(first, ?U, id) == 0)
    eventually(fn -> Process.info(busy, :message_queue_len) == {:message_queue_len, 0} end, @patience)
  end
end
