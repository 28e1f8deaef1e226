for {engine, module} <- [dense: Tidepool.LunaticSuite.DenseTest, fast: Tidepool.LunaticSuite.FastTest] do
  defmodule module do
    # The tests of the crate `lunatic`, each as a program of its own. They sleep for some 10 ms and expect others to be done
    # by then, so that no other tests run beside them.
    use Tidepool.Case, async: false

    alias Tidepool.LunaticSuite

    @moduletag :lunatic
    if engine == :fast, do: @moduletag(:slow)
    # Some 10 ms are not enough for the others on a machine that is busy.
    @attempts 5
    @engine engine
    @folder "guests/build/lunatic"
    @net ["tcp:listen:*:*", "tcp:connect:*:*", "udp:*:*"]
    @entries LunaticSuite.entries(@folder)

    # Which don't pass, and why. Each is run all the same, and must fail: one that passes has no place here.
    @fails %{
      "config::config_file_operations" => "opens a folder of the host, and programs are granted none",
      "failing::assert_failed" => "is ignored in the crate, as a test that has to fail",
      "failing::panic_failed" => "is ignored in the crate, as a test that has to fail",
      "result::failure" => "is ignored in the crate, as a test that has to fail",
      "serializers::bincode_resource_serialization" => "dials a host of the internet, and is not granted names",
      "serializers::json_resource_serialization" => "dials a host of the internet, and is not granted names",
      "serializers::msgpack_resource_serialization" => "dials a host of the internet, and is not granted names",
      "show_output::tests::this_test_will_fail" => "is ignored in the crate, as a test that has to fail"
    }

    # A module that can't be deployed fails its own tests.
    setup_all do
      deployed =
        @entries
        |> Enum.map(& &1.module)
        |> Enum.uniq()
        |> Task.async_stream(&{&1, deploy(&1)}, timeout: :infinity, ordered: false)
        |> Map.new(fn {:ok, deployed} -> deployed end)

      on_exit(fn -> for {_module, {:ok, name}} <- deployed, do: Tidepool.remove(name) end)
      %{deployed: deployed}
    end

    defp deploy(module) do
      name = unique_name("#{module}_#{@engine}")

      with {:ok, _function} <- Tidepool.deploy(guest("lunatic", module), name: name, engine: @engine, net: @net),
           do: {:ok, name}
    end

    defp run(deployed, entry) do
      case deployed[entry.module] do
        {:ok, name} -> LunaticSuite.run(entry, name)
        {:error, error} -> flunk(Exception.message(error))
      end
    end

    defp pass!(deployed, entry) do
      at_most_times(@attempts, "lunatic_suite_test.exs: #{@engine} #{entry.path}", fn ->
        with {:failed, what} <- run(deployed, entry), do: flunk(what)
      end)
    end

    test "all of the crate's tests are in the modules, but the three of SQLite", %{deployed: deployed} do
      assert map_size(deployed) == 23
      paths = for entry <- @entries, do: entry.path
      # One is for compilers before Rust 1.67 alone.
      assert length(paths -- ["config::config_file_operations"]) == 136
      assert paths == Enum.uniq(paths)

      assert Enum.sort(for(entry <- @entries, entry.ignored?, do: entry.path)) ==
               Enum.sort(for({path, "is ignored" <> _why} <- @fails, do: path))
    end

    for entry <- @entries do
      @entry entry
      if reason = @fails[entry.path] do
        test "#{entry.path} fails: it #{reason}", %{deployed: deployed} do
          assert {:failed, _what} = run(deployed, @entry)
        end
      else
        test "#{entry.path} passes", %{deployed: deployed} do
          pass!(deployed, @entry)
        end
      end
    end
  end
end
