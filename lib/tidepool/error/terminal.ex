defmodule Tidepool.Error.Terminal do
  @moduledoc """
  Texts of guests, servers and files, as a terminal may have them: what it would obey is written out. That is control characters,
  and those that turn the direction of what follows.
  """

  # What turns the direction, and ends of lines.
  @turning [0x061C, 0x200E, 0x200F] ++ Enum.to_list(0x2028..0x202E) ++ Enum.to_list(0x2066..0x2069)

  defguardp is_obeyed(char) when char < 0x20 or char in 0x7F..0x9F or char in @turning

  @doc ~S"""
  A text on one line, as `tidepool` writes it.

      iex> Tidepool.Error.Terminal.line("a\e]52;c;\r\n\u202Eb")
      "a\\u{1b}]52;c;\\r\\n\\u{202e}b"

      iex> Tidepool.Error.Terminal.line(<<"Grüße", 0xFF>>)
      "Grüße\\xff"
  """
  @spec line(binary) :: String.t()
  def line(text), do: written(text, &out/1, "")

  @doc ~S"""
  The same, with lines and tabs left as they are.

      iex> Tidepool.Error.Terminal.lines("one\n\ttwo\e[2J")
      "one\n\ttwo\\u{1b}[2J"
  """
  @spec lines(binary) :: String.t()
  def lines(text), do: written(text, &if(&1 in [?\n, ?\t], do: <<&1>>, else: out(&1)), "")

  @doc ~S"""
  JSON that means the same. Outside of strings there is nothing of the kind.

      iex> Tidepool.Error.Terminal.json(~s(["\u202E\x7F"]))
      ~S(["\u202e\u007f"])
  """
  @spec json(binary) :: String.t()
  def json(text), do: written(text, &("\\u" <> String.pad_leading(hex(&1), 4, "0")), "")

  defp written(<<>>, _out, done), do: done

  defp written(<<char::utf8, rest::binary>>, out, done) when is_obeyed(char),
    do: written(rest, out, done <> out.(char))

  defp written(<<char::utf8, rest::binary>>, out, done), do: written(rest, out, <<done::binary, char::utf8>>)
  defp written(<<byte, rest::binary>>, out, done), do: written(rest, out, done <> "\\x" <> hex(byte))

  defp out(?\t), do: "\\t"
  defp out(?\n), do: "\\n"
  defp out(?\r), do: "\\r"
  defp out(char), do: "\\u{" <> hex(char) <> "}"

  defp hex(number), do: number |> Integer.to_string(16) |> String.downcase()
end
