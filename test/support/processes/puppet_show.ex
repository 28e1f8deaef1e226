defmodule Tidepool.PuppetShow do
  @moduledoc "Fifty processes that are told things in turn, until one of them panics."

  alias Tidepool.Process, as: Guest
  alias Tidepool.Puppets

  @puppets 50
  @patience 60_000

  @doc "Starts a program of the guest `puppet`, deployed as `name`, and ends it when one of its processes has panicked."
  @spec run(String.t()) :: :ok
  def run(name) do
    main = Puppets.begin(name)
    puppets = for _turn <- 2..@puppets, do: Puppets.spawn(main)
    {id, hero} = Enum.at(puppets, 30)
    {friend, friend_pid} = Enum.at(puppets, 3)
    # It is told of deaths, by a link and by a monitor, and lives on.
    Puppets.tell(hero, ?D, 0)
    Puppets.tell(hero, ?L, friend, 7)
    Puppets.tell(hero, ?M, friend)
    {_child, _pid} = Puppets.spawn(hero)
    1 = Puppets.tell(hero, ?E, friend)
    for {_id, pid} <- puppets, do: Puppets.tell(pid, ?Y, id, 5)
    Puppets.ask(friend_pid, ?C)
    monitor = Process.monitor(hero)
    Puppets.tell(hero, ?W, 5)
    Puppets.ask(hero, ?C)

    receive do
      {:DOWN, ^monitor, :process, ^hero, {%Tidepool.Error{}, []}} -> :ok
    after
      @patience -> raise "the puppet lives on"
    end

    down = Process.monitor(main)
    Guest.kill(main)
    receive(do: ({:DOWN, ^down, :process, ^main, _reason} -> :ok))
  end
end
