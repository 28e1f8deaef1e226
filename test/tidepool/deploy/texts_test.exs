defmodule Tidepool.DeployTextsTest do
  # The texts of a function's options, of which a small module may have more than code.
  use Tidepool.Case, async: true

  @bytes 64 * (256 + 3_800)

  defp texts do
    for number <- 1..64,
        into: %{},
        do: {String.pad_leading("#{number}", 256, "n"), String.duplicate("v", 3_800)}
  end

  # What counts as the code of a function.
  defp code(name) do
    {200, _headers, metrics} = curl("/metrics")

    [[bytes]] =
      Regex.scan(~r/^tidepool_held\{function="#{name}",resource="code"\} (\d+)/m, metrics, capture: :all_but_first)

    String.to_integer(bytes)
  end

  test "texts count with a function's code as often as they are kept: here, in the library, and in what recordings say of it" do
    [plain, kept, recorded] =
      for options <- [[], [config: texts()], [config: texts(), record: :failures]],
          do: "rust" |> deploy!("hello_world", options) |> code()

    assert (kept - plain) in (2 * @bytes)..(2 * @bytes + 4_096)
    assert (recorded - kept) in @bytes..(@bytes + 16_384)
  end
end
