defmodule Tidepool.FalseClock do
  @moduledoc """
  A clock of the day that a test sets, for other processes of the system: what they are told is moved by what a file says
  (libfaketime). Time that only goes on, as timers have it, is as it is.
  """

  @doc "A file for a clock that is right, to be given to `environment/1` and `set/2`."
  def new!, do: Path.join(Tidepool.Case.tmp_folder!(), "clock") |> set(0)

  @doc "Environment variables of a process that goes by it, as `{charlist, charlist}`."
  def environment(file) do
    for {name, value} <- [
          {"LD_PRELOAD", library()},
          {"FAKETIME_TIMESTAMP_FILE", file},
          {"FAKETIME_CACHE_DURATION", "1"},
          {"FAKETIME_DONT_FAKE_MONOTONIC", "1"}
        ],
        do: {to_charlist(name), to_charlist(value)}
  end

  @doc "Sets it to so many seconds ahead of the right one, or behind it. Within a second that is what processes are told."
  def set(file, seconds) do
    File.write!(file <> ".new", "#{if seconds < 0, do: "-", else: "+"}#{abs(seconds)}\n")
    File.rename!(file <> ".new", file)
    file
  end

  # Debian's; the folder is called like the machine.
  defp library do
    case Path.wildcard("/usr/lib/*/faketime/libfaketime.so.1") do
      [path | _others] -> path
      [] -> raise "libfaketime is missing: run bin/setup --test"
    end
  end
end
