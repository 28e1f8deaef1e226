defmodule Tidepool.Process.Links do
  @moduledoc """
  The tags of a guest's links, by the pids at their other ends, for the driver that calls this.

  A link that ends well with its other end is nothing that the VM tells of, unless exits are trapped. So from time to time those are
  dropped that are none any more: when there are twice as many as were left the time before. Those are left that are new since
  then and live, for the word of another guest's link comes before the link.
  """

  # So many are within what a process holds for free.
  @least 16
  @limit {__MODULE__, :limit}

  @type t :: %{pid => tag :: integer}

  @doc "Adds a link, or gives it another tag."
  @spec put(t, pid, integer) :: t
  def put(links, pid, tag) do
    links = Map.put(links, pid, tag)
    {limit, ended} = Process.get(@limit, {@least, %{}})
    if map_size(links) < limit, do: links, else: drop_ended(links, ended)
  end

  @doc "Drops those at once that are none any more: there is no room for more."
  @spec drop_ended(t) :: t
  def drop_ended(links) do
    {_limit, ended} = Process.get(@limit, {@least, %{}})
    drop_ended(links, ended)
  end

  defp drop_ended(links, before) do
    ended =
      case Process.info(self(), [:links, :trap_exit]) do
        [links: linked, trap_exit: false] -> Map.drop(links, linked)
        # Each is told of.
        _trapping -> %{}
      end

    links = Map.drop(links, for({pid, _tag} <- ended, is_map_key(before, pid) or dead?(pid), do: pid))
    Process.put(@limit, {max(@least, 2 * map_size(links)), ended})
    links
  end

  # Its link was before its end.
  defp dead?(pid), do: node(pid) == node() and not Process.alive?(pid)
end
