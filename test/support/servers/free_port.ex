defmodule Tidepool.FreePort do
  @moduledoc """
  Ports for servers that have to be told theirs, and for those that begin again at the one they had.

  They are below the system's own range, from which sockets come that are given any port. So nobody has such a port in the moment in
  which its server has not begun yet, or has ended.
  """

  @range "/proc/sys/net/ipv4/ip_local_port_range"
  @least 10_000

  @doc "A port of the loopback that nobody listens on, and that no other caller of this VM is given."
  @spec take :: :inet.port_number()
  def take do
    port = @least + rem(:erlang.phash2(System.pid()) + System.unique_integer([:positive]), own() - @least)

    case :gen_tcp.listen(port, ip: {127, 0, 0, 1}) do
      {:ok, socket} ->
        :ok = :gen_tcp.close(socket)
        port

      {:error, :eaddrinuse} ->
        take()
    end
  end

  # Where the system's own range begins.
  defp own, do: @range |> File.read!() |> String.split() |> hd() |> String.to_integer()
end
