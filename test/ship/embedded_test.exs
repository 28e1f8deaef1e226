defmodule Tidepool.Ship.EmbeddedTest do
  # An application that depends on Tidepool and on Phoenix, built and run as its developers do. What stands in for Phoenix
  # has the one module of it that matters here.
  use Tidepool.Case, async: false

  @moduletag :ship

  @files %{
    "phoenix/mix.exs" => """
    defmodule Phoenix.MixProject do
      use Mix.Project
      def project, do: [app: :phoenix, version: "1.7.0"]
    end
    """,
    "phoenix/lib/mix/tasks/phx.server.ex" => """
    defmodule Mix.Tasks.Phx.Server do
      use Mix.Task
      def run(_arguments), do: IO.puts("this is Phoenix's server")
    end
    """,
    "shop/mix.exs" => """
    defmodule Shop.MixProject do
      use Mix.Project

      def project, do: [app: :shop, version: "0.1.0", deps: deps(), lockfile: "none.lock"]
      def application, do: [extra_applications: [:logger]]
      defp deps, do: [{:phoenix, path: "../phoenix"}, {:tidepool, path: #{inspect(File.cwd!())}}]
    end
    """,
    "shop/lib/shop.ex" => """
    defmodule Shop do
    end
    """
  }

  setup_all do
    root = Path.join(System.tmp_dir!(), "tidepool-embedded-#{System.pid()}")
    on_exit(fn -> File.rm_rf!(root) end)

    for {path, content} <- @files do
      path = Path.join(root, path)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, content)
    end

    # What a node of the dependency's own has kept there, now or long ago, is not the application's.
    kept = for folder <- ["priv/data", "data"], do: Path.join(folder, "embedded-test-#{System.pid()}")
    File.mkdir_p!(hd(kept))
    on_exit(fn -> Enum.each(kept, &File.rm_rf!/1) end)
    project = Path.join(root, "shop")
    {output, status} = mix(project, ["release", "--quiet"])
    assert status == 0, output
    %{project: project, release: Path.join(project, "_build/prod/rel/shop")}
  end

  defp mix(project, arguments) do
    env = [{"MIX_ENV", "prod"}, {"MIX_BUILD_PATH", nil}]
    System.cmd("mix", arguments, cd: project, env: env, stderr_to_stdout: true)
  end

  test "an application with Phoenix beside Tidepool can be released, and has the modules of both", context do
    for {app, file} <- [
          phoenix: "ebin/Elixir.Mix.Tasks.Phx.Server.beam",
          tidepool: "ebin/Elixir.Mix.Tasks.Tidepool.Server.beam"
        ] do
      assert [_one] = Path.wildcard(Path.join([context.release, "lib/#{app}-*", file]))
    end

    assert {"42\n", 0} =
             System.cmd(Path.join(context.release, "bin/shop"), ["eval", ~S|IO.puts(to_string(:tidepool) && 42)|])
  end

  test "mix phx.server is Phoenix's there, and Tidepool's task has a name of its own", context do
    assert {output, 0} = mix(context.project, ["phx.server"])
    assert output =~ "this is Phoenix's server"
    refute output =~ "Tidepool"
    assert {output, 0} = mix(context.project, ["help", "tidepool.server"])
    assert output =~ "mix tidepool.server"
  end

  test "a release has no data folder, and starts with one that is gone at the end, and says so", context do
    assert [_library] = Path.wildcard(Path.join(context.release, "lib/tidepool-*/priv/native/tidepool_nif.so"))
    assert Path.wildcard(Path.join(context.release, "**/{data,embedded-test-*}")) == []
    tmp = tmp_folder!()
    code = "{:ok, _started} = Application.ensure_all_started(:tidepool); IO.inspect(Tidepool.list()); System.stop()"
    env = [{"TMPDIR", tmp}, {"RELEASE_TMP", tmp_folder!()}]

    assert {output, 0} =
             System.cmd(Path.join(context.release, "bin/shop"), ["eval", code], env: env, stderr_to_stdout: true)

    assert output =~ "[]\n"
    assert output =~ "no data folder"
    assert File.ls!(tmp) == []
  end
end
