defmodule Tidepool.Command.Bytes do
  @moduledoc """
  Standard input and output of a command as bytes, which the VM takes for text and for lines unless told otherwise.

  Reading is by the request `get_until` of [the Erlang I/O protocol](https://www.erlang.org/doc/apps/stdlib/io_protocol.html):
  reading by lines makes one LF of each CRLF, and reading by a number waits for that many.

  From OTP 26 on the VM has begun to read before a command can say that it wants bytes, and has made text of them. Of what is no
  text after all, bytes are lost: `input/2` refuses it.
  """

  @doc "The next bytes of a device, as many as there are; or all of them. `:eof` where none are left."
  @spec input(pid, :some | :all) :: {:ok, binary} | :eof | {:error, String.t()}
  def input(device, how) do
    cond do
      bytes?() -> binary(device, fn -> take(device, :latin1, how) end)
      how == :all and match?({:ok, %{type: :regular}}, File.stat("/dev/stdin")) -> file()
      encoding(device) == :unicode -> take(device, :unicode, how)
      true -> {:error, "it is no text: use --file, or set ERL_FLAGS='-kernel standard_io_encoding latin1'"}
    end
  end

  defp file do
    with {:error, reason} <- File.read("/dev/stdin"), do: {:error, inspect(reason)}
  end

  # By its version, by a setting, or by a locale without UTF-8.
  defp bytes? do
    otp = :otp_release |> :erlang.system_info() |> List.to_integer()

    otp < 26 or Application.get_env(:kernel, :standard_io_encoding) == :latin1 or
      :file.native_name_encoding() == :latin1
  end

  defp take(device, encoding, :some), do: request(device, encoding)
  defp take(device, encoding, :all), do: rest(device, encoding, [])

  defp rest(device, encoding, taken) do
    case request(device, encoding) do
      {:ok, bytes} -> rest(device, encoding, [taken, bytes])
      :eof when taken == [] -> :eof
      :eof -> {:ok, IO.iodata_to_binary(taken)}
      error -> error
    end
  end

  defp request(device, encoding) do
    request = {:get_until, encoding, ~c"", __MODULE__, :until, [encoding]}
    monitor = Process.monitor(device)
    send(device, {:io_request, self(), monitor, request})

    receive do
      {:io_reply, ^monitor, reply} ->
        Process.demonitor(monitor, [:flush])
        bytes(reply, encoding)

      {:DOWN, ^monitor, :process, _device, reason} ->
        {:error, inspect(reason)}
    end
  end

  defp bytes(:eof, _encoding), do: :eof
  defp bytes(bytes, _encoding) when is_binary(bytes), do: {:ok, bytes}
  defp bytes(characters, encoding) when is_list(characters), do: bytes(to_bytes(characters, encoding), encoding)
  defp bytes({:error, reason}, _encoding), do: {:error, inspect(reason)}

  defp to_bytes(characters, :latin1), do: :erlang.list_to_binary(characters)
  defp to_bytes(characters, :unicode), do: :unicode.characters_to_binary(characters)

  @doc false
  # What the device calls with what it has: whatever that is, is taken.
  @spec until(term, charlist | :eof, :latin1 | :unicode) :: {:done, charlist | :eof, []} | {:more, []}
  def until(_continuation, :eof, _encoding), do: {:done, :eof, []}
  def until(_continuation, [], _encoding), do: {:more, []}
  def until(_continuation, characters, _encoding), do: {:done, characters, []}

  @doc "Has a device take and give bytes from now on, where that can be said: for who reads and writes at the same time."
  @spec set_binary(pid) :: :ok
  def set_binary(device) do
    if bytes?(), do: :io.setopts(device, encoding: :latin1)
    :ok
  end

  @doc "Writes bytes as they are, unless the device is gone."
  @spec write(pid | atom, binary) :: :ok | {:error, :closed}
  def write(device, bytes) do
    # A device that is left as it is has its reader undisturbed.
    written =
      if encoding(device) == :unicode and String.valid?(bytes),
        do: IO.write(device, bytes),
        else: binary(device, fn -> IO.binwrite(device, bytes) end)

    with {:error, _reason} <- written, do: {:error, :closed}
  rescue
    _error in [ErlangError, ArgumentError] -> {:error, :closed}
  end

  @doc "Monitors a device that is there, with the ports that it writes to, for `why_closed/1`."
  @spec monitor(pid) :: [reference]
  def monitor(device) do
    links = with {:links, links} <- Process.info(device, :links), do: links
    [Process.monitor(device) | for(port <- List.wrap(links), is_port(port), do: Port.monitor(port))]
  end

  @doc """
  Why a monitored device is gone: nobody reads any more, or it could not write. A device takes bytes before they are written. It
  ends with the error of the system, or with one of its own, if it comes to write before it hears from its port.
  """
  @spec why_closed([reference]) :: :unread | {:failed, String.t()}
  def why_closed([]), do: :unread

  def why_closed([monitor | others]) do
    receive do
      {:DOWN, ^monitor, _kind, _device, :epipe} -> :unread
      {:DOWN, ^monitor, _kind, _device, reason} -> failed(reason) || why_closed(others)
    after
      1_000 -> why_closed(others)
    end
  end

  defp failed(reason) when is_atom(reason) do
    case :file.format_error(reason) do
      ~c"unknown POSIX error" ++ _more -> nil
      text -> {:failed, to_string(text)}
    end
  end

  defp failed(_reason), do: nil

  # As bytes; then as before, for the encoding is that of standard error as well (from OTP 26 on).
  defp binary(device, fun) do
    encoding = encoding(device)
    :io.setopts(device, encoding: :latin1)
    result = fun.()
    :io.setopts(device, encoding: encoding)
    result
  end

  defp encoding(device) do
    case :io.getopts(device) do
      options when is_list(options) -> Keyword.get(options, :encoding, :unicode)
      {:error, reason} -> raise ErlangError, original: reason
    end
  end
end
