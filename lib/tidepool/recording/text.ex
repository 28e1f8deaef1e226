defmodule Tidepool.Recording.Text do
  @moduledoc "The report of a replay as lines for people. Guests have said much of it."

  alias Tidepool.Error.Terminal

  @doc "What was recorded, what came of it now, where they parted, and with `log?` what the host was asked."
  @spec lines(report :: map, log? :: boolean) :: [String.t()]
  def lines(report, log?) do
    lines =
      recorded(report) ++
        outcome("replayed", report["replayed"]) ++
        last(report) ++ parted(report["parted"]) ++ doubt(report) ++ log(report, log?)

    Enum.map(lines, &Terminal.line/1)
  end

  # One line for both, where they are the same.
  defp recorded(%{"verdict" => "same"}), do: []
  defp recorded(%{"recorded" => recorded}), do: outcome("recorded", recorded)

  defp outcome(when_, %{"reason" => "ok", "bytes" => bytes, "begins" => begins}),
    do: ["#{when_}: #{bytes} bytes, #{inspect(begins)}"]

  defp outcome(when_, %{"reason" => reason, "message" => message} = failed),
    do: ["#{when_}: #{reason}: #{message}" | Enum.map(failed["backtrace"] || [], &place/1)]

  defp place(%{"function" => function} = place) do
    source = if place["source"], do: " at #{place["source"]}", else: ""
    offset = if place["offset"], do: " (offset #{place["offset"]})", else: ""
    "    in #{function}#{source}#{offset}"
  end

  # The last that it was told before it was cut.
  defp last(%{"verdict" => "cut", "calls" => calls} = report) do
    after_ = if last = report["last"], do: "entry #{last["entry"]}, #{last["asked"]}", else: "its beginning"
    ["cut in call #{calls}, after #{after_}"]
  end

  defp last(_report), do: []

  defp parted(nil), do: []

  defp parted(%{"call" => call, "entry" => entry} = parted) do
    where = if call, do: "entry #{entry} of call #{call + 1}", else: "entry #{entry}, before the first call"
    ["parted at #{where}: recorded #{parted["recorded"] || "nothing more"}, asked #{parted["asked"] || "nothing more"}"]
  end

  # Nobody needs to be told of what did not happen.
  defp doubt(%{"exact" => false, "verdict" => verdict} = report) when verdict != "same" do
    numbers = if report["deterministic"], do: "", else: " and numbers that are none"
    ["the code is not the one that ran: depth of stacks#{numbers} may differ"]
  end

  defp doubt(_exact), do: []

  defp log(_report, false), do: []

  defp log(%{"log" => log}, true) do
    for {entry, number} <- Enum.with_index(log, 1) do
      answer = if entry["answer"], do: " → #{entry["answer"]} #{inspect(entry["begins"])}", else: ""
      time = if entry["ns"], do: " → #{entry["ns"]} ns", else: ""
      "#{number}. #{entry["asked"]}#{answer}#{time}"
    end
  end
end
