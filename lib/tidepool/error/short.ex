defmodule Tidepool.Error.Short do
  @moduledoc """
  An error as links and monitors tell it: the VM copies the reason of an exit for each process that is told, and those tell their links.
  """

  alias Tidepool.Error

  # Bytes of a text, frames of a backtrace, and lines that were printed.
  @bytes 1_024
  @frames 8
  @lines 4

  @doc """
  The error with what is short of it: texts of 1,024 bytes at most, the 8 innermost frames of its backtrace, the last 4 lines that the guest
  printed, and numbers.

      iex> error = Tidepool.Error.new(:trap, String.duplicate("ü", 600), "f", %{frames: 3, texts: ["a"], console: ~w(1 2 3 4 5)})
      iex> short = Tidepool.Error.Short.of(error)
      iex> {short.reason, short.function, short.details}
      {:trap, "f", %{frames: 3, console: ~w(2 3 4 5)}}
      iex> short.message == String.duplicate("ü", 512) <> "…"
      true
      iex> Tidepool.Error.Short.of(%{error | message: "it was short"}).message
      "it was short"
  """
  @spec of(Error.t()) :: Error.t()
  def of(%Error{} = error) do
    details = for {name, value} <- error.details, {:ok, short} <- [short(name, value)], into: %{}, do: {name, short}
    %{error | message: text(error.message), details: details}
  end

  defp short(:backtrace, frames), do: {:ok, Enum.take(frames, @frames)}
  defp short(:console, lines), do: {:ok, lines |> Enum.take(-@lines) |> Enum.map(&text/1)}
  defp short(_name, number) when is_number(number), do: {:ok, number}
  defp short(_name, text) when is_binary(text), do: {:ok, text(text)}
  defp short(_name, _long), do: :none

  defp text(<<first::binary-size(@bytes), rest::binary>>) when rest != "", do: whole(first, 3) <> "…"
  defp text(text), do: text

  # Without a part of a character at its end; guests print any bytes.
  defp whole(text, more) do
    if more == 0 or String.valid?(text), do: text, else: text |> binary_part(0, byte_size(text) - 1) |> whole(more - 1)
  end
end
