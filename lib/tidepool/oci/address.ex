defmodule Tidepool.Oci.Address do
  @moduledoc """
  Where a registry is: addresses of its name that may be asked. They are looked up once, and the connection is to one of them: a name
  that says something else the next time leads nowhere else.

  The VM looks names up by four threads, which are those of the node's own connections as well, and one whose servers say nothing keeps
  a thread for some seconds, whether or not anybody waits for it. So names are looked up in turns of namespaces (`Tidepool.Namespaces.Turns`).
  """

  import Bitwise

  alias Tidepool.Namespaces.Turns

  @typedoc "Which addresses may be asked: all, those of the machine itself, or those that all the world has."
  @type scope :: :any | :loopback | :public

  # Networks that are of a machine, of a site, or of nobody (IANA's special-purpose registry): their first bits.
  @special [
    {{0, 0, 0, 0}, 8},
    {{10, 0, 0, 0}, 8},
    {{100, 64, 0, 0}, 10},
    {{127, 0, 0, 0}, 8},
    {{169, 254, 0, 0}, 16},
    {{172, 16, 0, 0}, 12},
    {{192, 0, 0, 0}, 24},
    {{192, 0, 2, 0}, 24},
    {{192, 88, 99, 0}, 24},
    {{192, 168, 0, 0}, 16},
    {{198, 18, 0, 0}, 15},
    {{198, 51, 100, 0}, 24},
    {{203, 0, 113, 0}, 24},
    {{224, 0, 0, 0}, 3}
  ]

  # The VM gives up after eight seconds.
  @looked_up_ms 10_000

  @doc "The addresses of a host that are within a scope, looked up for a function within `timeout` ms; none, when there is none."
  @spec find(host :: String.t(), scope, function :: String.t(), timeout :: pos_integer) :: [:inet.ip_address()]
  def find(host, scope, function, timeout),
    do: host |> to_charlist() |> all(function, timeout) |> Enum.filter(&within?(&1, scope)) |> Enum.uniq()

  defp all(name, function, timeout) do
    case :inet.parse_address(name) do
      {:ok, address} -> [address]
      {:error, :einval} -> in_turn(name, function, timeout)
    end
  end

  # A turn lasts as long as its thread is taken, and who waits for it no longer than is left.
  defp in_turn(name, function, timeout) do
    until = System.monotonic_time(:millisecond) + timeout
    look_up = fn -> Enum.flat_map([:inet, :inet6], &look_up(name, &1)) end
    task = Task.async(fn -> Turns.run(:names, function, until, look_up) end)

    case Task.yield(task, timeout) || Task.shutdown(task, :brutal_kill) do
      {:ok, {:ok, addresses}} -> addresses
      _none_in_time -> []
    end
  end

  defp look_up(name, family) do
    case :inet.getaddrs(name, family, @looked_up_ms) do
      {:ok, addresses} -> addresses
      {:error, _none} -> []
    end
  end

  @doc """
  Is an address within a scope?

      iex> alias Tidepool.Oci.Address
      iex> Enum.map([{127, 0, 0, 1}, {169, 254, 169, 254}, {100, 100, 0, 1}, {255, 255, 255, 255}, {0, 0, 0, 0, 0, 65535, 0x0a00, 1}], &Address.within?(&1, :public))
      [false, false, false, false, false]
      iex> Enum.map([{1, 1, 1, 1}, {172, 32, 0, 1}, {0x2606, 0, 0, 0, 0, 0, 0, 1}], &Address.within?(&1, :public))
      [true, true, true]
      iex> Enum.map([{127, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 1}, {1, 1, 1, 1}], &Address.within?(&1, :loopback))
      [true, true, false]
  """
  @spec within?(:inet.ip_address(), scope) :: boolean
  def within?(_address, :any), do: true
  def within?({127, _, _, _}, :loopback), do: true
  def within?({0, 0, 0, 0, 0, 0, 0, 1}, :loopback), do: true
  def within?(_address, :loopback), do: false

  def within?({_, _, _, _} = address, :public),
    do:
      not Enum.any?(@special, fn {network, bits} -> bits(address) >>> (32 - bits) == bits(network) >>> (32 - bits) end)

  # Addresses of IPv4 in those of IPv6: mapped, of NAT64 and of 6to4.
  def within?({0, 0, 0, 0, 0, 0xFFFF, high, low}, :public), do: within?(embedded(high, low), :public)
  def within?({0x64, 0xFF9B, 0, 0, 0, 0, high, low}, :public), do: within?(embedded(high, low), :public)
  def within?({0x2002, high, low, _, _, _, _, _}, :public), do: within?(embedded(high, low), :public)
  # Teredo and what else is special there, and what documents have.
  def within?({0x2001, second, _, _, _, _, _, _}, :public) when second < 0x200 or second == 0xDB8, do: false
  def within?({0x3FFF, second, _, _, _, _, _, _}, :public) when second < 0x1000, do: false
  def within?({first, _, _, _, _, _, _, _}, :public), do: first in 0x2000..0x3FFF

  defp bits({a, b, c, d}), do: a <<< 24 ||| b <<< 16 ||| c <<< 8 ||| d
  defp embedded(high, low), do: {high >>> 8, high &&& 0xFF, low >>> 8, low &&& 0xFF}
end
