defmodule Tidepool.ExtismKitTest do
  # Not async: what answers their imports is registered for the whole node.
  #
  # Plug-ins by Extism's own packages, each about one part of what these offer: calls and what they come to, which Extism's own
  # runtime is held to as well in long runs (extism_beside_test.exs).
  use Tidepool.Case

  alias Tidepool.{Error, Host, Instance, LogWatch, Plugins}

  setup_all do
    for {target, handler} <- Plugins.handlers(), do: Host.register(target, handler)
    on_exit(fn -> for {target, _handler} <- Plugins.handlers(), do: Host.unregister(target) end)
  end

  for {language, name} = plugin <- Plugins.all() do
    @tag plugin: plugin
    test "#{name} in #{language} answers as Extism's own runtime has it", %{plugin: {language, name} = plugin} do
      port = Plugins.origin!()
      deployed = deploy!(language, name, config: Plugins.config(), net: ["tcp:connect:127.0.0.1:#{port}"])

      Enum.reduce(Plugins.rows(plugin, "http://127.0.0.1:#{port}"), begun(deployed), fn {export, input, expected},
                                                                                        instance ->
        answer = Instance.call(instance, export, input)
        assert {export, told(answer)} == {export, expected}
        if match?({:error, %Error{reason: {:trap, _kind}}}, answer), do: begun(deployed), else: instance
      end)
    end
  end

  test "lines are printed from the level on that a plug-in is told, in their order" do
    for {{language, name}, export} <- [{{"rust", "kit_log"}, "each"}, {{"assemblyscript", "kit_vars"}, "each"}] do
      deployed = deploy!(language, name)
      LogWatch.watch(deployed)
      assert Tidepool.call(deployed, export, "ebb") == {:ok, ""}

      for level <- ~w(info warn error) do
        assert_receive {:logged, ^deployed, :info, text, _metadata}
        assert text =~ "#{level}: at #{level}: ebb"
      end

      refute_received {:logged, ^deployed, _level, _text, _metadata}
    end
  end

  defp begun(name) do
    {:ok, instance} = Instance.start(name)
    on_exit(fn -> Process.exit(instance, :kill) end)
    instance
  end

  defp told({:ok, output}), do: {:ok, output}
  defp told({:error, %Error{message: message}}), do: {:error, message}
end
