defmodule Tidepool.Puppets do
  @moduledoc """
  Guest processes that do what a test tells them, and tell the test what they hear; `guests/processes` has their source.
  """

  import ExUnit.Assertions

  @patience 30_000
  @told %{1 => :here, 2 => :done, 3 => :link_died, 4 => :process_died}

  @doc "Starts a program whose first process is a puppet of the caller's; its number is 1."
  @spec start(String.t(), keyword) :: pid
  def start(name, options \\ []) do
    pid = begin(name, options)
    # Other tests count what lives.
    ExUnit.Callbacks.on_exit(fn -> Tidepool.Process.kill(pid) end)
    pid
  end

  @doc "The same for a process that is no test."
  def begin(name, options \\ []) do
    {:ok, pid} = Tidepool.Process.start(name, [name], options)
    {:ok, master} = Tidepool.Process.introduce(pid, self())
    send(pid, {:tidepool, 0, <<master::little-64>>})
    assert_receive {:tidepool, ^pid, 0, <<1, 1::little-64>>}, @patience
    pid
  end

  @doc "Tells a puppet to do something; what comes of it."
  @spec tell(pid, byte, integer, integer) :: integer
  def tell(puppet, command, id \\ 0, tag \\ 0) do
    ask(puppet, command, id, tag)
    assert_receive {:tidepool, ^puppet, 0, <<2, done::little-64>>}, @patience
    done
  end

  @doc "The same without waiting."
  def ask(puppet, command, id \\ 0, tag \\ 0) do
    send(puppet, {:tidepool, 0, <<command, id::little-64, tag::little-signed-64>>})
  end

  @doc "Has a puppet make another, linked if there is a tag: its number and its pid."
  @spec spawn(pid, integer) :: {pos_integer, pid}
  def spawn(puppet, tag \\ 0) do
    id = tell(puppet, ?S, 0, tag)
    assert_receive {:tidepool, child, 0, <<1, ^id::little-64>>}, @patience
    {id, child}
  end

  @doc "Has a puppet make another on the node with this number: its number and its pid."
  def spawn_on(puppet, node) do
    id = tell(puppet, ?G, node)
    assert id < 0x8000_0000_0000_0000, "a failure of code #{rem(id, 0x8000_0000_0000_0000)}"
    assert_receive {:tidepool, child, 0, <<1, ^id::little-64>>}, @patience
    {id, child}
  end

  @doc "What a puppet has told."
  @spec hear :: {pid, {atom, integer}}
  def hear do
    assert_receive {:tidepool, puppet, 0, <<what, number::little-64>>}, @patience
    {puppet, {@told[what], number}}
  end
end
