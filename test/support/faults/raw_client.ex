defmodule Tidepool.RawClient do
  @moduledoc """
  A client that sends and hears bytes: the socket is in the test's hands, which says each byte and sees each that comes.
  """

  @patience_ms 120_000

  @doc "Connects to the running edge, or to another port."
  @spec connect(:inet.port_number()) :: :inet.socket()
  def connect(port \\ TidepoolWeb.Listener.port()) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, nodelay: true])
    socket
  end

  @doc "All that comes until it ends with a text, or has what a pattern describes."
  @spec heard(:inet.socket(), String.t() | Regex.t()) :: binary
  def heard(socket, last, so_far \\ "") do
    if if(is_binary(last), do: String.ends_with?(so_far, last), else: so_far =~ last) do
      so_far
    else
      {:ok, more} = :gen_tcp.recv(socket, 0, @patience_ms)
      heard(socket, last, so_far <> more)
    end
  end

  @doc "All that comes until the connection is over: closed, where it may not be reset."
  @spec rest(:inet.socket(), [atom]) :: binary
  def rest(socket, ends \\ [:closed, :econnreset]), do: rest(socket, ends, "")

  defp rest(socket, ends, so_far) do
    case :gen_tcp.recv(socket, 0, @patience_ms) do
      {:ok, more} ->
        rest(socket, ends, so_far <> more)

      {:error, reason} ->
        true = reason in ends
        so_far
    end
  end
end
