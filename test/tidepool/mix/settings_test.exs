defmodule Tidepool.Mix.SettingsTest do
  # The environment is that of all tests.
  use ExUnit.Case, async: false

  alias Mix.Tasks.Tidepool, as: Tasks

  test "a variable that nobody reads ends each task that changes or moves data, or asks a node, before it does anything" do
    on_exit(fn -> System.delete_env("TIDEPOOL_TOKENS") end)
    System.put_env("TIDEPOOL_TOKENS", "s3cret")

    for {task, arguments} <- [
          {Tasks.Actors.Accept, []},
          {Tasks.Actors.Export, ["actors.tidepool"]},
          {Tasks.Actors.Import, ["actors.tidepool"]},
          {Tasks.Adopt, ["a@x", "b@x"]},
          {Tasks.Check, []},
          {Tasks.Cluster, ["forget", "a@x"]},
          {Tasks.Members, ["remove", "a@x"]}
        ] do
      assert %Mix.Error{message: message} = catch_error(task.run(arguments))
      assert message == "the variable TIDEPOOL_TOKENS is unknown: did you mean TIDEPOOL_TOKEN?"
    end
  end
end
