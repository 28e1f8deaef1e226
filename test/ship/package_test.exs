for file <- ["foreground.exs", "built.exs"], do: Code.require_file(file, __DIR__)

defmodule Tidepool.Ship.PackageTest do
  # The Debian package of ops/deb, installed by dpkg in a copy of this machine, and its unit.
  use Tidepool.Case, async: false

  alias Tidepool.{Built, Foreground}

  @moduletag :ship

  @unit "ops/tidepool.service"
  @machine Path.expand("ops/machine", __DIR__)

  setup_all do
    folder = Path.join(System.tmp_dir!(), "tidepool-package-#{System.pid()}")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    release = Path.join(folder, "release")
    Built.release!(release)
    File.mkdir_p!(Path.join(release, "data/kept"))
    Built.run!("ops/deb", [release, Path.join(folder, "tidepool.deb")])
    # The same as a later version, with other defaults of its settings.
    later = Path.join(folder, "later")
    Built.run!("dpkg-deb", ["-R", Path.join(folder, "tidepool.deb"), later])
    Built.run!("sed", ["-i", "s/^Version: .*/Version: 9.0.0/", Path.join(later, "DEBIAN/control")])
    File.write!(Path.join(later, "etc/tidepool/environment"), "# Of version 9.\n")
    Built.run!("dpkg-deb", ["--root-owner-group", "-Znone", "-b", later, Path.join(folder, "later.deb")])
    File.rm_rf!(later)
    %{folder: folder, release: release}
  end

  defp machine!(context, script), do: Built.run!(@machine, [context.folder, script])

  # `KEY=VALUE` lines of the unit, in order.
  defp unit(key), do: for([_all, value] <- Regex.scan(~r/^#{key}=(.*)$/m, File.read!(@unit)), do: value)

  test "a package has the project's version, depends on what its programs are linked with, and has neither cookie nor data",
       context do
    package = Path.join(context.folder, "tidepool.deb")
    field = &String.trim(Built.run!("dpkg-deb", ["-f", package, &1]))
    assert field.("Version") == Mix.Project.config()[:version]
    depends = for text <- String.split(field.("Depends"), ", "), do: text |> String.split(" ") |> hd()
    # What Erlang's own packages say that the VM needs; this one has the VM with it.
    needed =
      for package <- ~w(erlang-base erlang-crypto),
          text <- Built.run!("dpkg-query", ["-W", "-f", "${Depends}", package]) |> String.split(", "),
          name = text |> String.split(" ") |> hd(),
          String.starts_with?(name, "lib"),
          uniq: true,
          do: name

    assert "libssl3" in needed
    assert needed -- depends == []

    files = Built.run!("dpkg-deb", ["-c", package])
    assert files =~ ~r{^-rw------- root/root .* ./etc/tidepool/environment$}m
    assert files =~ "./opt/tidepool/releases/COOKIE -> /var/lib/tidepool/cookie\n"
    refute files =~ "/opt/tidepool/data"
  end

  test "a package that is installed runs a node as its unit says, is upgraded, and removed, with what was changed and deployed kept until the purge",
       context do
    File.cp!(guest_path("rust", "hello_world"), Path.join(context.folder, "hello.wasm"))
    env = for text <- unit("Environment"), do: "'#{String.replace(text, "PORT=4000", "PORT=0")}'"
    [command] = unit("ExecStart")
    [user] = unit("User")

    # Each step says what it has found; `serve` is what systemd does by the unit, as far as that needs no systemd.
    script = """
    serve() {
      install -d -m 700 -o #{user} -g #{user} /run/tidepool
      : >/run/out
      set -a; . /etc/tidepool/environment; set +a
      setpriv --reuid #{user} --regid #{user} --init-groups --no-new-privs --inh-caps=-all --bounding-set=-all \\
        env LC_ALL=C.UTF-8 ERL_EPMD_PORT=#{Tidepool.FreePort.take()} TIDEPOOL_TOKEN="$TIDEPOOL_TOKEN" #{Enum.join(env, " ")} #{command} >/run/out 2>&1 &
      node=$!
      until grep -q 'listens on' /run/out; do kill -0 $node; sleep 0.1; done
      url=$(sed -n 's/.*listens on //p' /run/out)
    }
    end_node() { kill -TERM $node; wait $node; }

    dpkg -i /mnt/tidepool.deb
    echo "enabled: $(systemctl is-enabled tidepool.service)"
    stat -c 'folder: %U %a' /var/lib/tidepool
    stat -c 'cookie: %U %a %s' /var/lib/tidepool/cookie
    systemd-analyze verify --man=no tidepool.service && echo "systemd finds: no mistake"
    sum=$(sha256sum </var/lib/tidepool/cookie)
    echo TIDEPOOL_TOKEN=secret-of-this-machine >>/etc/tidepool/environment
    serve
    echo "without the token: $(curl -sS -o /dev/null -w '%{http_code}' -F wasm=@/mnt/hello.wasm -F name=kept -F operation=hello $url/deploy)"
    echo "with it: $(curl -sS -o /dev/null -w '%{http_code}' -H 'authorization: Bearer secret-of-this-machine' -F wasm=@/mnt/hello.wasm -F name=kept -F operation=hello $url/deploy)"
    end_node

    systemctl disable tidepool.service
    dpkg -i --force-confdef --force-confold /mnt/later.deb
    echo "upgraded: $(dpkg-query -W -f '${Version} ${Status}' tidepool), $(systemctl is-enabled tidepool.service || true)"
    serve
    echo "after the upgrade: $(curl -sS $url/call/kept)"
    end_node

    dpkg -r tidepool
    echo "removed: $(ls -d /opt/tidepool /lib/systemd/system/tidepool.service 2>/dev/null || true)"
    dpkg -i /mnt/later.deb
    [[ $(sha256sum </var/lib/tidepool/cookie) == "$sum" ]] && echo "the cookie is that of before"
    grep TIDEPOOL_TOKEN= /etc/tidepool/environment
    serve
    echo "installed again: $(curl -sS $url/call/kept)"
    end_node

    dpkg -P tidepool
    echo "purged: $(ls -d /etc/tidepool /var/lib/tidepool /opt/tidepool /etc/systemd/system/*/tidepool.service /var/lib/systemd/deb-systemd-helper-*/*tidepool* 2>/dev/null || true)"
    """

    output = machine!(context, script)
    said = for line <- String.split(output, "\n"), line =~ ": " or line =~ "TOKEN" or line =~ "cookie", do: line

    expected = [
      "enabled: enabled",
      "folder: tidepool 700",
      "cookie: tidepool 600 64",
      "systemd finds: no mistake",
      "without the token: 401",
      "with it: 201",
      "upgraded: 9.0.0 install ok installed, disabled",
      "after the upgrade: Hello, world!",
      "removed: ",
      "the cookie is that of before",
      "TIDEPOOL_TOKEN=secret-of-this-machine",
      "installed again: Hello, world!",
      "purged: "
    ]

    assert Enum.filter(said, &(&1 in expected)) == expected, output
  end

  test "a package gives what its user has put in root's way nothing of root's, and leaves what install.sh has",
       context do
    script = """
    dpkg -i /mnt/tidepool.deb >/dev/null 2>&1
    rm /var/lib/tidepool/cookie
    echo "of root's" >/etc/of-root
    runuser -u tidepool -- ln -s /etc/of-root /var/lib/tidepool/cookie.new
    dpkg -i /mnt/tidepool.deb >/dev/null 2>&1
    echo "after a link: $(cat /etc/of-root) $(stat -c %U /etc/of-root), $(stat -c '%U %a %s' /var/lib/tidepool/cookie)"
    dpkg -P tidepool >/dev/null 2>&1
    mkdir /opt/tidepool-0.0.1
    ln -s tidepool-0.0.1 /opt/tidepool
    dpkg -i /mnt/tidepool.deb 2>&1 | grep install.sh
    echo "left: $(ls -A /opt/tidepool-0.0.1)"
    """

    output = machine!(context, script)
    assert output =~ "after a link: of root's root, tidepool 600 64\n"
    assert output =~ "with /opt/tidepool/install.sh --uninstall, which keeps the data"
    assert output =~ ~r/^left: $/m
  end

  test "the unit leaves the service no more of the machine than most of systemd's own have" do
    # From 0, nothing, to 10, everything; times ten.
    assert {_table, 0} = System.cmd("systemd-analyze", ["security", "--offline=true", "--threshold=15", @unit])
    assert {_table, 1} = System.cmd("systemd-analyze", ["security", "--offline=true", "--threshold=5", @unit])
  end

  test "the drop-in for a port below 1024 gives the capability for that, over the machine's network, and nothing else" do
    folder = tmp_folder!()
    [_all, lines] = Regex.run(~r/```ini\n(\[Service\]\n.*?)```/s, File.read!("docs/deploying.md"))
    # The release is not where the unit has it.
    text = Regex.replace(~r/^ExecStart=.*$/m, File.read!(@unit), "ExecStart=/bin/true")

    for {name, drop_in} <- [{"before", ""}, {"after", lines}] do
      File.mkdir_p!(Path.join(folder, "#{name}/tidepool.service.d"))
      File.write!(Path.join(folder, "#{name}/tidepool.service"), text)
      File.write!(Path.join(folder, "#{name}/tidepool.service.d/port.conf"), drop_in)
    end

    env = fn name -> [{"SYSTEMD_UNIT_PATH", Path.join(folder, name) <> ":"}] end
    assert Built.run!("systemd-analyze", ["verify", "--man=no", "tidepool.service"], env: env.("after")) == ""

    given = fn name ->
      arguments = ["security", "--offline=true", "--json=short", "tidepool.service"]
      {:ok, rows} = Tidepool.Native.json_decode(Built.run!("systemd-analyze", arguments, env: env.(name)))
      for %{"set" => false, "name" => setting} <- rows, do: setting
    end

    assert Enum.sort(given.("after") -- given.("before")) ==
             ["AmbientCapabilities=", "CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)", "PrivateUsers="]
  end

  test "the unit lets the system calls through that a node makes, and the kinds of sockets that it opens", context do
    folder = tmp_folder!()
    log = Path.join(folder, "calls")
    names_port = "#{Tidepool.FreePort.take()}"
    env = [{"TIDEPOOL_DATA", folder}, {"PORT", "0"}, {"ERL_EPMD_PORT", names_port}]
    on_exit(fn -> Built.end_name_server!(names_port) end)
    tool = Path.join(context.release, "bin/tidepool")
    # Calls that are made all the time, and by every program, are not stopped at.
    hot = ~w(clock_nanosleep epoll_wait futex madvise mmap mprotect munmap read sched_yield write)
    options = ["-f", "--seccomp-bpf", "-qq", "-e", "signal=none", "-e", "trace=!" <> Enum.join(hot, ","), "-o", log]
    program = Foreground.start!("strace", options ++ [tool, "start"], env)
    output = Foreground.await_output!(program, ~r/listens on \S+\n/)
    [_line, url] = Regex.run(~r/listens on (\S+)/, output)

    for {language, name, fields} <- [
          {"rust", "hello_world", name: "fast"},
          {"zig", "hello_world", name: "dense", engine: "dense"},
          {"c", "upper", name: "program"},
          {"rust", "counter", name: "counter", actor: "true"}
        ] do
      assert {201, _headers, _function} = curl_deploy_url("#{url}/deploy", guest(language, name), fields)
    end

    for name <- ["fast", "dense"],
        do: assert({200, _headers, "Hello, a!"} = curl_url("#{url}/call/#{name}/hello", ["-d", "a"]))

    assert {200, _headers, "A"} = curl_url("#{url}/call/program", ["-d", "a"])
    assert {200, _headers, "1"} = curl_url("#{url}/actors/counter/one/next", ["--data-binary", ""])
    Built.run!(tool, ["stop"], env: env)
    # The name server would outlive the node, and is traced as well.
    Built.end_name_server!(names_port)
    assert {0, _output} = Foreground.await_exit!(program)

    calls = File.read!(log)
    made = for [name] <- Regex.scan(~r/^\d+ +([a-z]\w+)\(/m, calls, capture: :all_but_first), uniq: true, do: name
    assert length(made) > 50
    [filter] = unit("SystemCallFilter")
    assert (hot ++ made) -- allowed(filter) == []

    opened = for [family] <- Regex.scan(~r/ socket\((AF_\w+)/, calls, capture: :all_but_first), uniq: true, do: family
    [families] = unit("RestrictAddressFamilies")
    assert "AF_INET" in opened
    assert opened -- String.split(families) == []
  end

  # The calls of one of systemd's sets, and of those in it.
  defp allowed(set) do
    lines = Built.run!("systemd-analyze", ["syscall-filter", set]) |> String.split("\n", trim: true) |> tl()

    Enum.flat_map(lines, fn line ->
      case String.trim(line) do
        "@" <> _name = inner -> allowed(inner)
        "#" <> _comment -> []
        name -> [name]
      end
    end)
  end
end
