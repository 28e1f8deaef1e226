defmodule Tidepool.HeldLink do
  @moduledoc """
  A way to a PostgreSQL of a test's own that can be held, each direction by itself: nothing gets through, nobody is told, and what was
  sent arrives when it is let go, as over a network that loses packets for a while.
  """

  use GenServer

  @socket ".s.PGSQL.5432"
  # How often a direction that is held looks whether it still is.
  @look_ms 10
  @directions %{to: 1, from: 2}

  @doc "Starts one to the socket in `folder`, for the test that calls this. Returns its process, and the folder of its own socket."
  def start!(folder) do
    own = Tidepool.Case.tmp_folder!()
    child = %{id: own, start: {GenServer, :start_link, [__MODULE__, {folder, own}]}}
    {ExUnit.Callbacks.start_supervised!(child), own}
  end

  @doc "Holds what goes `:to` the database, or comes `:from` it."
  def hold(link, direction), do: GenServer.call(link, {:put, direction, 1})

  @doc "Lets all go on."
  def release(link), do: for(direction <- Map.keys(@directions), do: GenServer.call(link, {:put, direction, 0}))

  @impl true
  def init({folder, own}) do
    held = :atomics.new(2, [])
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ifaddr: {:local, Path.join(own, @socket)}])
    spawn_link(fn -> accept(listener, Path.join(folder, @socket), held) end)
    {:ok, held}
  end

  @impl true
  def handle_call({:put, direction, value}, _from, held),
    do: {:reply, :atomics.put(held, @directions[direction], value), held}

  defp accept(listener, target, held) do
    {:ok, client} = :gen_tcp.accept(listener)
    pid = spawn(fn -> receive(do: (:yours -> connect(client, target, held))) end)
    :ok = :gen_tcp.controlling_process(client, pid)
    send(pid, :yours)
    accept(listener, target, held)
  end

  defp connect(client, target, held) do
    case :gen_tcp.connect({:local, target}, 0, [:binary, active: false]) do
      {:ok, database} ->
        spawn_link(fn -> forward(database, client, held, @directions.from) end)
        forward(client, database, held, @directions.to)

      {:error, _away} ->
        :gen_tcp.close(client)
    end
  end

  # With the one direction ends the other, and both sockets with the process that has them.
  defp forward(from, to, held, direction) do
    with {:ok, bytes} <- :gen_tcp.recv(from, 0), :ok = released(held, direction), :ok <- :gen_tcp.send(to, bytes) do
      forward(from, to, held, direction)
    else
      {:error, _closed} ->
        :ok = released(held, direction)
        exit(:closed)
    end
  end

  defp released(held, direction) do
    if :atomics.get(held, direction) == 1 do
      receive do
      after
        @look_ms -> released(held, direction)
      end
    else
      :ok
    end
  end
end
