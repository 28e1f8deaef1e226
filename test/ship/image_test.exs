for file <- ["foreground.exs", "built.exs"], do: Code.require_file(file, __DIR__)

defmodule Tidepool.Ship.ImageTest do
  # The image of ops/Dockerfile: its last stage is made by ops/image, of a release, and run as it says. The first stage begins with
  # an image of a registry; what it runs is tested elsewhere, and here.
  use Tidepool.Case, async: false

  alias Tidepool.{Built, Foreground}

  @moduletag :ship

  @container Path.expand("ops/container", __DIR__)
  @most_bytes 100_000_000
  @name "tidepool:#{Mix.Project.config()[:version]}"

  setup_all do
    folder = Path.join(System.tmp_dir!(), "tidepool-image-#{System.pid()}")
    File.mkdir_p!(folder)
    store = for {option, name} <- [{"--root", "store"}, {"--runroot", "run"}], do: [option, Path.join(folder, name)]
    buildah = List.flatten(store) ++ ["--storage-driver", "vfs"]

    on_exit(fn ->
      System.cmd("buildah", buildah ++ ["umount", "--all"], stderr_to_stdout: true)
      File.rm_rf!(folder)
    end)

    Tidepool.Book.build!()
    Tidepool.Tool.path!()
    release = Path.join(folder, "release")
    Built.release!(release)
    file = Path.join(folder, "image.tar.gz")
    Built.run!("ops/image", [release, file])
    Built.run!("gunzip", [file])
    Built.run!("buildah", buildah ++ ["pull", "docker-archive:" <> Path.rootname(file)])
    {:ok, image} = inspect!(buildah)
    container = String.trim(Built.run!("buildah", buildah ++ ["from", "--name", "tidepool", @name]))
    root = String.trim(Built.run!("buildah", buildah ++ ["mount", container]))
    %{image: image, root: root}
  end

  defp inspect!(buildah) do
    text = Built.run!("buildah", buildah ++ ["inspect", "--type", "image", @name])
    {:ok, image} = Tidepool.Native.json_decode(text)
    {:ok, manifest} = Tidepool.Native.json_decode(image["Manifest"])
    {:ok, Map.merge(image["OCIv1"]["config"], %{"layers" => manifest["layers"]})}
  end

  # Runs a command of the container. `with` are variables over those of the image.
  defp run!(context, volume, arguments, with \\ []) do
    image = Map.new(context.image["Env"], &List.to_tuple(String.split(&1, "=", parts: 2)))
    loopback = %{"TIDEPOOL_ADDRESS" => "127.0.0.1", "PORT" => "0", "ERL_EPMD_PORT" => "#{Tidepool.FreePort.take()}"}
    env = image |> Map.merge(loopback) |> Map.merge(Map.new(with))
    lines = Enum.map_join(env, "\n", fn {name, value} -> "#{name}=#{value}" end)
    variables = [{"CONTAINER_ENV", lines}, {"CONTAINER_USER", context.image["User"]}]
    Foreground.start!(@container, [context.root, volume | context.image["Entrypoint"]] ++ arguments, variables)
  end

  # As Docker makes one: a copy of what the image has there.
  defp volume!(context) do
    volume = Path.join(tmp_folder!(), "volume")
    Built.run!("cp", ["-a", Path.join(context.root, "var/lib/tidepool"), volume])
    volume
  end

  # The first process of a container is the one that is signalled.
  defp first_process(pid) do
    case System.cmd("pgrep", ["-P", "#{pid}"]) do
      {children, 0} -> children |> String.split("\n") |> hd() |> inner(pid)
      {_none, 1} -> pid
    end
  end

  defp inner(child, parent) do
    command = &(File.read!("/proc/#{&1}/comm") |> String.trim())
    if command.(parent) in ["sudo", "unshare"], do: first_process(child), else: parent
  end

  test "an image is one layer of at most 100 MB, of the project's version, with the tool and the book, and no cookie",
       context do
    assert [%{"size" => size}] = context.image["layers"]
    assert size <= @most_bytes
    IO.puts("The image has #{Float.round(size / 1.0e6, 1)} MB.")
    assert context.image["Labels"]["org.opencontainers.image.version"] == Mix.Project.config()[:version]
    assert Path.wildcard(Path.join(context.root, "opt/tidepool/releases/COOKIE")) == []

    for file <- ~w(priv/cli/tidepool priv/book/index.html),
        do: assert([_one] = Path.wildcard(Path.join(context.root, "opt/tidepool/lib/tidepool-*/#{file}")))

    # What scanners of images read.
    assert File.read!(Path.join(context.root, "var/lib/dpkg/status.d/libssl3")) =~ ~r/^Version: \S+$/m
  end

  test "a container runs as nobody, with files that can't be written but its volume, has a cookie of its own, and drains as process 1",
       context do
    assert ["65534", "65534"] = String.split(context.image["User"], ":")
    assert context.image["Cmd"] == ["start"]
    volume = volume!(context)
    program = run!(context, volume, context.image["Cmd"])
    [_line, url] = Regex.run(~r/listens on (\S+)/, Foreground.await_output!(program, ~r/listens on \S+\n/))
    assert {201, _headers, _function} = curl_deploy_url("#{url}/deploy", guest("rust", "hello_world"), name: "kept")
    assert {200, _headers, "Hello, Ada!"} = curl_url("#{url}/call/kept/hello", ["-d", "Ada"])
    assert {200, %{"content-type" => "text/html; charset=utf-8"}, _page} = curl_url("#{url}/docs/start.html")
    assert Built.run!("curl", ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "#{url}/cli/tidepool"]) == "200"

    first = first_process(program.os_pid)
    status = File.read!("/proc/#{first}/status")
    assert status =~ ~r/^Uid:\t65534\t65534\t65534\t65534$/m
    assert status =~ ~r/^NSpid:\t\d+\t1$/m
    assert status =~ ~r/^CapEff:\t0+$/m
    within = "/proc/#{first}/root"
    assert Built.as_root("stat", ["-c", "%u %a %s", "#{within}/tmp/cookie"]) == {"65534 600 64\n", 0}

    for file <- ~w(/opt/tidepool/file /bin/file /etc/file) do
      assert {error, 1} = Built.as_root("touch", [within <> file])
      assert error =~ "Read-only file system"
    end

    assert {"", 0} = Built.as_root("kill", ["-TERM", first])
    assert {0, output} = Foreground.await_exit!(program)
    assert output =~ "drained"

    # Another container, on the same volume.
    program = run!(context, volume, context.image["Cmd"])
    [_line, url] = Regex.run(~r/listens on (\S+)/, Foreground.await_output!(program, ~r/listens on \S+\n/))
    assert {200, _headers, "Hello, Ada!"} = curl_url("#{url}/call/kept/hello", ["-d", "Ada"])
    assert {"", 0} = Built.as_root("kill", ["-TERM", first_process(program.os_pid)])
    assert {0, _output} = Foreground.await_exit!(program)
  end

  test "a container that others reach does not start without the cluster's cookie, nor one on all addresses without a token",
       context do
    named = [{"RELEASE_NODE", "a@10.0.0.1"}]
    assert {1, output} = Foreground.await_exit!(run!(context, volume!(context), ["start"], named))
    assert output =~ "RELEASE_COOKIE"
    everywhere = [{"TIDEPOOL_ADDRESS", "0.0.0.0"}]
    assert {1, output} = Foreground.await_exit!(run!(context, volume!(context), ["start"], everywhere))
    assert output =~ "TIDEPOOL_TOKEN"
  end

  test "a container runs a program of its own, and ends with its status", context do
    volume = volume!(context)
    File.cp!(Path.join("guests/build/lunatic", "terminal.wasm"), Path.join(volume, "app.wasm"))
    program = run!(context, volume, ["run", "/var/lib/tidepool/app.wasm", "--", "exit", "3"])
    assert {3, output} = Foreground.await_exit!(program)
    assert output =~ "exit 3"
  end
end
