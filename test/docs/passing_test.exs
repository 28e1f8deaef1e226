defmodule Tidepool.Docs.PassingTest do
  # The folder for what is passing in a run of bin/test, as bin/support/running.sh makes it.
  use Tidepool.Case, async: true

  # Does nothing until its input ends.
  @run ". bin/support/common.sh; drop_target() { :; }; . bin/support/running.sh; echo \"$passing\"; read -r _"

  defp run!(env) do
    options = [:binary, :exit_status, line: 1_000, args: ["-c", @run], env: env]
    port = Port.open({:spawn_executable, System.find_executable("bash")}, options)
    assert_receive {^port, {:data, {:eol, folder}}}
    {port, folder}
  end

  test "what a run that was killed has left goes with the next one, and that of a run that goes on stays until its end" do
    place = tmp_folder!()
    env = [{~c"TMPDIR", to_charlist(place)}]
    {killed, left} = run!(env)
    {goes_on, stays} = run!(env)
    File.write!(Path.join(left, "a"), "")
    {:os_pid, pid} = Port.info(killed, :os_pid)
    {_, 0} = System.cmd("kill", ["-KILL", "#{pid}"])
    assert_receive {^killed, {:exit_status, 137}}
    assert Enum.all?([left, stays], &File.exists?/1)

    {next, its} = run!(env)
    assert Enum.sort(File.ls!(place)) == Enum.sort([Path.basename(stays), Path.basename(its)])
    for port <- [goes_on, next], do: Port.close(port)
    eventually(fn -> File.ls!(place) == [] end)
  end
end
