defmodule Tidepool.Error.Lines do
  @moduledoc """
  Source lines of a backtrace, where the module that it is of has debug data: `:file` and `:line` of its frames.

  They are looked up when an error is made of what the native library says, by a thread that may take its time for it.
  """

  alias Tidepool.Native

  @doc "An error's details with the lines in its backtrace, and without what finds them."
  @spec told(map) :: map
  def told(%{lines: lines, backtrace: frames} = details) do
    places = places(lines, Enum.map(frames, & &1.offset))
    details |> Map.delete(:lines) |> Map.put(:backtrace, Enum.zip_with(frames, places, &place/2))
  end

  def told(details), do: details

  defp place(frame, {file, line}), do: Map.merge(frame, %{file: file, line: line})
  defp place(frame, nil), do: frame

  defp places(lines, offsets) do
    Native.source_lines(lines, offsets)
  rescue
    # A panic: debug data are a stranger's, and no error is lost for them.
    ErlangError -> Enum.map(offsets, fn _offset -> nil end)
  end
end
