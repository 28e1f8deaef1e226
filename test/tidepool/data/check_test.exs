defmodule Tidepool.Data.CheckTest do
  use Tidepool.Case, async: true

  import ExUnit.CaptureIO

  alias Tidepool.{Error, Peer}
  alias Tidepool.Data.Check

  setup do
    peer = Peer.start!()
    functions = for guest <- ["hello_world", "counter", "upper"], do: Peer.deploy!(peer, "rust", guest)
    folder = Peer.folder(peer)
    :ok = Peer.stop_application(peer)
    %{peer: peer, folder: folder, functions: functions}
  end

  defp blob(folder, function), do: Path.join([folder, "blobs", function.sha256])
  defp states(folder, state), do: for(%{state: ^state} = one <- elem(Check.run(folder), 1), do: one)

  test "a whole folder is told to be so, and is not changed", %{folder: folder, functions: functions} do
    # Code may still be on its way to the cache.
    list = fn ->
      for part <- ["", "blobs"],
          name <- File.ls!(Path.join(folder, part)),
          do: {name, File.read(Path.join([folder, part, name]))}
    end

    before = list.()
    assert {:ok, findings} = Check.run(folder)
    assert list.() == before
    assert Enum.all?(findings, &(&1.state in [:whole, :note]))
    text = Check.render(folder, findings)
    for function <- functions, do: assert(text =~ ~r/ok .*#{function.sha256}: #{function.name} \(version 1\)/)
    assert text =~ ~r/nothing is damaged\z/
  end

  test "what is damaged, missing, set aside or strange is told by name, and mended from a backup", context do
    %{folder: folder, functions: [flipped, missing, _whole]} = context
    backup = Path.join(tmp_folder!(), "backup")
    File.cp_r!(folder, backup)
    File.write!(blob(folder, flipped), "something else")
    File.rm!(blob(folder, missing))
    File.write!(Path.join(folder, "notes"), "an operator's")
    File.write!(Path.join([folder, "blobs", String.duplicate("0", 64)]), "nobody's")
    File.write!(Path.join(folder, "compiled/key"), "short")
    log = Path.join(folder, "catalog.log")
    File.write!(log, "?", [:append])
    File.write!(log, binary_part(File.read!(log), 0, byte_size(File.read!(log)) - 20))

    damaged = for one <- states(folder, :damaged), do: one.path

    assert Enum.sort(damaged) ==
             ["blobs/#{flipped.sha256}", "blobs/#{missing.sha256}", "catalog.log", "catalog.log"] |> Enum.sort()

    noted = for one <- states(folder, :note), do: one.path
    for path <- ["notes", "blobs/#{String.duplicate("0", 64)}", "compiled/key"], do: assert(path in noted)

    assert :ok = Check.mend(folder, nil)

    assert Enum.sort(for(one <- states(folder, :damaged), do: one.path)) ==
             Enum.sort(["blobs/#{flipped.sha256}", "blobs/#{missing.sha256}"])

    assert Enum.any?(states(folder, :note), &(&1.path == "catalog.log.torn"))
    assert File.exists?(blob(folder, flipped) <> ".damaged")

    assert :ok = Check.mend(folder, backup)
    assert states(folder, :damaged) == []
    {:ok, _started} = Peer.start_application(context.peer)
    assert {:ok, "Hello, world!"} = Peer.call(context.peer, Tidepool, :call, ["hello_world", "hello"])
    assert {:ok, "1"} = Peer.call(context.peer, Tidepool, :call, ["counter", "next"])
  end

  test "a key that is no key of this user's alone is noted, and no other is", %{folder: folder} do
    key = Path.join(folder, "compiled/key")
    noted? = fn -> Enum.any?(states(folder, :note), &(&1.path == "compiled/key")) end
    refute noted?.()

    for mode <- [0o640, 0o604, 0o610, 0o601] do
      File.chmod!(key, mode)
      assert noted?.()
    end

    File.chmod!(key, 0o600)
    refute noted?.()
    File.rename!(key, key <> ".elsewhere")
    assert noted?.()
    File.ln_s!(key <> ".elsewhere", key)
    assert noted?.()
    File.rm!(key)
    File.write!(key, "short")
    File.chmod!(key, 0o600)
    assert noted?.()
  end

  test "a folder that a node uses, or that is not there, is left alone", %{peer: peer, folder: folder} do
    {:ok, _started} = Peer.start_application(peer)
    assert {:error, %Error{reason: :data_in_use}} = Check.run(folder)
    assert {:error, %Error{reason: :data_in_use}} = Check.mend(folder, nil)
    assert {:error, %Error{reason: :invalid_option}} = Check.run(folder <> "2")
    refute File.exists?(folder <> "2")
  end

  test "the task's status is 0 when nothing is damaged, and 1 when something is", %{
    folder: folder,
    functions: [function | _]
  } do
    arguments = [Path.basename(folder), "--data", Path.dirname(folder)]
    assert capture_io(fn -> Mix.Tasks.Tidepool.Check.run(arguments) end) =~ "nothing is damaged"
    File.rm!(blob(folder, function))

    for options <- [[], ["--mend"]] do
      output =
        capture_io(fn -> assert {:shutdown, 1} = catch_exit(Mix.Tasks.Tidepool.Check.run(arguments ++ options)) end)

      assert output =~ ~r/DAMAGED .*missing, the module of hello_world \(version 1\)/
    end

    output =
      capture_io(:stderr, fn ->
        assert {:shutdown, 1} = catch_exit(Mix.Tasks.Tidepool.Check.run(["no@node" | tl(arguments)]))
      end)

    assert output =~ "no@node has no data"
  end
end
