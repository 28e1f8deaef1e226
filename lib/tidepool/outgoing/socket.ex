defmodule Tidepool.Outgoing.Socket do
  @moduledoc "Connections to servers of others, by TCP or by TLS: a transport and its socket, of which the transport's functions are asked."

  alias Tidepool.Outgoing.Tls

  @type t :: {:gen_tcp, :gen_tcp.socket()} | {:ssl, :ssl.sslsocket()}

  @doc """
  Connects to a host by its name or address, with further options of `:gen_tcp`. A name that has no address of IPv4 may have one of IPv6: each
  of the two may take what is left until a time of the VM's monotonic clock, in ms.
  """
  @spec connect(host :: String.t(), :inet.port_number(), tls? :: boolean, [:gen_tcp.connect_option()], until :: integer) ::
          {:ok, t} | {:error, term}
  def connect(host, port, tls?, options, until) do
    host = to_charlist(host)

    case :inet.parse_address(host) do
      {:ok, address} when tuple_size(address) == 8 -> open(tls?, address, port, [:inet6 | options], until)
      {:ok, address} -> open(tls?, address, port, options, until)
      {:error, :einval} -> by_name(tls?, host, port, options, until)
    end
  end

  defp by_name(tls?, host, port, options, until) do
    with {:error, _reason} = failed <- open(tls?, host, port, options, until) do
      with {:error, _no_such_address} <- open(tls?, host, port, [:inet6 | options], until), do: failed
    end
  end

  defp open(false, host, port, options, until) do
    with {:ok, socket} <- :gen_tcp.connect(host, port, options, left(until)), do: {:ok, {:gen_tcp, socket}}
  end

  defp open(true, host, port, options, until) do
    with {:ok, socket} <- :ssl.connect(host, port, options ++ Tls.client(), left(until)), do: {:ok, {:ssl, socket}}
  end

  defp left(until), do: max(until - System.monotonic_time(:millisecond), 1)
end
