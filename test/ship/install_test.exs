for file <- ["built.exs"], do: Code.require_file(file, __DIR__)

defmodule Tidepool.Ship.InstallTest do
  # The archive of ops/archive, fetched and installed by install.sh on systems that debootstrap has made, with curl and nothing else
  # added: no compiler, no Erlang, and no network but a loopback, on which the downloads are served.
  use Tidepool.Case, async: false

  alias Tidepool.Built

  @moduletag :ship

  @machine Path.expand("ops/machine", __DIR__)
  @suites ["bookworm", "trixie"]
  @downloads "http://127.0.0.1:8000"
  @calls_at_once 2

  # The shell's functions that the scripts share. `left` is what is in the places where an install would be.
  @shared """
  install() { curl -fsSL #{@downloads}/install.sh | sh -s -- "$@"; }
  left() { find /opt /usr/local/bin /var/lib/tidepool ! -type d 2>/dev/null; find /opt -mindepth 1 -type d; }
  beam() { for p in /proc/[0-9]*; do case $(readlink $p/exe || true) in */beam.smp) echo ${p#/proc/} ;; esac; done; }
  """

  setup_all do
    {folder, env} = Built.keyring_of_module!("install", ["maker", "other"], [{"TIDEPOOL_DOWNLOADS", @downloads}])
    downloads = Path.join(folder, "downloads")

    # As the documents say, in the folder where they say it is: with the tool and the book, which the releases below have, too.
    Built.run!("bin/archive", ["--sign", "maker"], env: [{"MIX_BUILD_PATH", nil} | env])

    for file <- ["install.sh", "tidepool-#{Mix.Project.config()[:version]}.SHA256SUMS.asc"],
        do: assert(File.exists?(Path.join("_build/archive", file)))

    release = Path.join(folder, "release")
    Built.release!(release)
    version = Mix.Project.config()[:version]
    # Another version is the same under another name. The script that is served is that of the last one.
    later = Path.join(folder, "later")
    Built.run!("cp", ["-a", release, later])
    Built.run!("sed", ["-i", "s/ .*/ 9.0.0/", Path.join(later, "releases/start_erl.data")])
    File.cp_r!(Path.join(later, "releases/#{version}"), Path.join(later, "releases/9.0.0"))

    for {made, version} <- [{later, "9.0.0"}, {release, version}] do
      Built.run!("ops/archive", [made, downloads, "maker"], env: env)
      Built.run!("ops/sums", [downloads, version, "maker"], env: env)
    end

    File.rm_rf!(later)
    scratch = Path.join(folder, "scratch")
    File.mkdir_p!(scratch)
    %{folder: folder, downloads: downloads, release: release, version: version, env: env, scratch: scratch}
  end

  defp root!(suite), do: Path.expand("ops/root", __DIR__) |> Built.run!([suite]) |> String.trim()

  # Runs a script in a copy of a system: what it has written.
  defp machine!(context, root, script, downloads \\ nil) do
    env = [{"MACHINE_ROOT", root}, {"MACHINE_DOWNLOADS", downloads || context.downloads}]
    Built.run!(@machine, [context.scratch, @shared <> script], env: env)
  end

  # A test asks for what was said in order; lines between are others'.
  defp assert_said(output, expected) do
    lines = String.split(output, "\n")

    Enum.reduce(expected, lines, fn wanted, lines ->
      found = Enum.drop_while(lines, &(not if(is_binary(wanted), do: &1 == wanted, else: &1 =~ wanted)))
      assert found != [], "#{inspect(wanted)} was not said, or not in its place:\n#{output}"
      tl(found)
    end)
  end

  defp archive(context, version \\ nil),
    do: Path.join(context.downloads, "tidepool-#{version || context.version}-linux-x86_64.tar.gz")

  test "an archive has no cookie and no data, its programs find all but the C library in it, and the same release makes the same bytes",
       context do
    folder = Path.join(context.folder, "unpacked")
    File.mkdir_p!(folder)
    Built.run!("tar", ["-xzf", archive(context), "-C", folder])
    [tree] = Path.wildcard(Path.join(folder, "*"))
    assert Path.basename(tree) == "tidepool-#{context.version}"
    for file <- ~w(releases/COOKIE data tmp home), do: refute(File.exists?(Path.join(tree, file)))
    for file <- ~w(LICENSE priv/book/index.html priv/cli/tidepool), do: assert(File.exists?(Path.join(tree, file)))

    # What the README's commands name of the modules, at its path.
    for [module] <- Regex.scan(~r/@((?:guests|priv)\/\S+\.wasm)/, File.read!("README.md"), capture: :all_but_first),
        do: assert(File.read!(Path.join(tree, module)) == File.read!(module), module)

    programs =
      for line <- String.split(Built.run!("find", [tree, "-type", "f", "-exec", "file", "-N", "{}", "+"]), "\n"),
          line =~ "ELF",
          do: line |> String.split(": ") |> hd()

    assert length(programs) > 20

    outside =
      for program <- programs,
          {text, 0} <- [System.cmd("ldd", [program], stderr_to_stdout: true)],
          line <- String.split(text, "\n"),
          line =~ "/" or line =~ "not found",
          not (line =~ tree),
          uniq: true,
          do: line |> String.trim() |> String.split(" ") |> hd() |> Path.basename()

    assert outside -- ~w(libc.so.6 libm.so.6 ld-linux-x86-64.so.2 libdl.so.2 libpthread.so.0 librt.so.1) == []

    # This one is not signed, and has no install.sh for that.
    again = Path.join(context.folder, "again")
    Built.run!("ops/archive", [context.release, again])

    read = fn file, option ->
      Built.run!("sh", ["-c", "tar --exclude='*/install.sh' -#{option} -zf #{file} | sha256sum"])
    end

    for option <- ["tv", "xO"],
        do: assert(read.(Path.join(again, Path.basename(archive(context))), option) == read.(archive(context), option))

    stem = "tidepool-#{context.version}"

    assert Enum.sort(File.ls!(again)) ==
             ["#{stem}-linux-x86_64.cdx.json", "#{stem}-linux-x86_64.tar.gz", "#{stem}.SHA256SUMS"]

    [one, other] = for place <- [again, context.downloads], do: File.read!("#{place}/#{stem}-linux-x86_64.cdx.json")
    assert one == other
  end

  for suite <- @suites do
    test "on a bare #{suite} the first command gives an answer, and a kill, an upgrade, a way back and a removal keep what was deployed",
         context do
      script = """
      ! command -v erl gcc cc wget
      began=$(date +%s)
      install >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }
      cat /tmp/said
      # The lines to try, as they were printed.
      sed -n 's/^  \\(curl .*\\)/\\1/p' /tmp/said >/tmp/try
      while read -r line; do echo "tried: $(eval "${line/curl/curl -sS}" </dev/null)"; done </tmp/try
      echo "seconds: $(($(date +%s) - began))"
      echo "runs as: $(stat -c %U /proc/$(beam))"
      echo "tool: $(tidepool call hello_world hello --data Bea)"
      curl -fsS -o /dev/null -F wasm=@/opt/tidepool/guests/ledger/rust/ledger.wasm -F actor=true localhost:4000/deploy
      add() { curl -sS --data-binary $1 localhost:4000/actors/ledger/alice/add; }
      echo "actor: $(add 1) $(add 2)"

      kill -9 $(beam)
      while [ -n "$(beam)" ]; do sleep 0.05; done
      install --no-start >/dev/null
      echo "nobody runs: $(beam)"
      install | grep 'the node runs'
      echo "after kill -9: $(add 3)"

      first=$(beam)
      /opt/tidepool/install.sh --version 9.0.0 || exit 1
      echo "upgraded: $(cat /opt/tidepool/VERSION), $(tidepool-node rpc 'IO.puts(System.get_env("RELEASE_VSN"))'), $([ $(beam) = $first ] || echo another process)"
      echo "after the upgrade: $(add 4) $(curl -sS localhost:4000/call/hello_world)"
      echo "of the names: $(for p in /proc/[0-9]*; do readlink $p/exe || true; done | sed -n 's|/opt/\\(.*\\)/erts.*/epmd$|\\1|p')"

      # The version before, which does not start any more.
      sed -i '2i case $RELEASE_COMMAND in daemon*) echo a broken start; exit 1 ;; esac' /opt/tidepool-#{context.version}/releases/#{context.version}/env.sh
      /opt/tidepool/install.sh --back 2>&1 && exit 1
      echo "still: $(cat /opt/tidepool/VERSION) $(add 5)"
      sed -i 2d /opt/tidepool-#{context.version}/releases/#{context.version}/env.sh
      /opt/tidepool/install.sh --back
      echo "back: $(cat /opt/tidepool/VERSION) $(add 6)"
      ls /opt

      install --uninstall
      echo "left: $(left | grep -v /var/lib/tidepool/) $(beam) $(for p in /proc/[0-9]*; do readlink $p/exe || true; done | grep /opt/ || true)"
      install >/dev/null
      echo "installed again: $(add 7)"
      # One that does not answer, and can't be stopped.
      node=$(beam)
      kill -STOP $node
      sed 's/^stop_seconds=60/stop_seconds=1/' /opt/tidepool/install.sh | sh -s -- --uninstall --purge 2>&1 || echo "not removed: $(cat /opt/tidepool/VERSION)"
      kill -CONT $node
      while [ -d /proc/$node ]; do sleep 0.05; done
      install >/dev/null
      echo "kept: $(add 8)"
      install --uninstall --purge
      echo "purged: $(left) $(ls -d /var/lib/tidepool 2>/dev/null || true)"
      """

      output = machine!(context, root!(unquote(suite)), script)
      [_all, seconds] = Regex.run(~r/^seconds: (\d+)$/m, output)
      IO.puts("From the install's command to an answer on a bare #{unquote(suite)}: #{seconds} s.")

      assert_said(output, [
        "install: fetching Tidepool #{context.version} from #{@downloads}",
        "Try, in another terminal:",
        ~r/^tried: .*"name":"hello_world"/,
        "tried: Hello, world!",
        "tried: Hello, Ada!",
        "runs as: tidepool",
        "tool: Hello, Bea!",
        "actor: 1 3",
        "nobody runs: ",
        "install: the node runs in the background: tidepool-node stop ends it",
        "after kill -9: 6",
        "install: stopping the node, which drains",
        "upgraded: 9.0.0, 9.0.0, another process",
        "after the upgrade: 10 Hello, world!",
        "of the names: tidepool-9.0.0",
        "a broken start",
        "install: Tidepool #{context.version} did not start: see above; 9.0.0 runs again",
        "still: 9.0.0 15",
        "install: Tidepool #{context.version} is in use again",
        "back: #{context.version} 21",
        "tidepool",
        "tidepool-#{context.version}",
        "tidepool-9.0.0",
        "tidepool.before",
        "install: Tidepool is removed; its data are kept in /var/lib/tidepool, until --uninstall --purge",
        ~r/^left: +$/,
        "installed again: 28",
        ~r/^install: the node, process \d+, has not stopped within 1 s/,
        "not removed: #{context.version}",
        "kept: 36",
        "install: Tidepool is removed, and its data in /var/lib/tidepool",
        ~r/^purged: +$/
      ])
    end
  end

  test "as root the end of the log is read as the node's user, and a terminal obeys nothing of it", context do
    script = """
    install --no-start >/dev/null
    log=/var/lib/tidepool/tmp/log
    mkdir -p $log
    printf 'said \\033[2J\n' >$log/erlang.log.a
    (umask 077 && echo a secret >/root/secret)
    ln -s /root/secret $log/erlang.log.b
    chown -hR tidepool: /var/lib/tidepool
    # One that has no time to answer.
    sed 's/^start_seconds=60/start_seconds=0/' /opt/tidepool/install.sh | sh 2>&1 || echo "it did not start"
    """

    output = machine!(context, root!("bookworm"), script)
    assert_said(output, [~r/^install: no answer of/, "said ^[[2J", "it did not start"])
    refute output =~ "\e"
    refute output =~ "a secret"
  end

  test "a user installs for himself, below his home or a folder that he names, and nothing elsewhere", context do
    script = """
    useradd --create-home ada
    cat >/tmp/as_ada <<'ADA'
    set -eu
    cd
    curl -fsSL #{@downloads}/install.sh | sh
    PATH=$HOME/.local/bin:$PATH
    curl -sS -F wasm=@$HOME/.local/opt/tidepool/guests/upper/c/upper.wasm localhost:4000/deploy >/dev/null
    echo "answer: $(curl -sS --data-binary 'low tide' localhost:4000/call/upper)"
    tidepool-node stop >/dev/null
    while tidepool-node pid >/dev/null 2>&1; do sleep 0.1; done
    # Settings that are kept, and those of the moment, which win.
    echo 'PORT=4100' >~/.local/share/tidepool/environment
    echo "settings: $(tidepool-node url) $(PORT=4200 tidepool-node url)"
    ~/.local/opt/tidepool/install.sh | grep 'Or look'
    curl -fsSL #{@downloads}/install.sh | sh -s -- --uninstall
    echo "left: $(ls -A ~/.local/opt; ls -A ~/.local/bin)"
    curl -fsSL #{@downloads}/install.sh | sh -s -- --prefix there --no-start >/dev/null
    ls -A there
    ADA
    su -s /bin/bash ada /tmp/as_ada
    echo "elsewhere: $(left)"
    """

    output = machine!(context, root!("bookworm"), script)

    assert_said(output, [
      ~s(install: put that folder on your PATH: export PATH="/home/ada/.local/bin:$PATH"),
      "answer: LOW TIDE",
      "settings: http://127.0.0.1:4100 http://127.0.0.1:4200",
      "Or look: http://localhost:4100/ui/",
      "install: Tidepool is removed; its data are kept in /home/ada/.local/share/tidepool, until --uninstall --purge",
      "left: ",
      "bin",
      "data",
      "opt",
      "elsewhere: "
    ])
  end

  # Each is run by itself, and tried with the places as they were before.
  @refused [
    {"a CPU that there is no archive for", "fake uname 'case $1 in -m) echo aarch64 ;; *) echo Linux ;; esac'; install",
     "this machine is Linux on aarch64, and the archive is for Linux on x86_64"},
    {"a system that there is no archive for",
     "fake uname 'case $1 in -m) echo x86_64 ;; *) echo Darwin ;; esac'; install",
     "this machine is Darwin on x86_64, and the archive is for Linux on x86_64"},
    {"an old glibc", "fake getconf 'echo glibc 2.31'; install",
     "glibc 2.31, and Tidepool VERSION wants FLOOR or newer"},
    {"another C library", "fake getconf 'exit 1'; fake ldd 'echo musl libc; exit 1'; install",
     "is not glibc (Alpine's is musl)"},
    {"no downloads", "TIDEPOOL_DOWNLOADS=http://127.0.0.1:1 install", "could not be fetched"},
    {"a version that there is not", "install --version 7.0.0", "tidepool-7.0.0.SHA256SUMS could not be fetched"},
    {"a cut download", "TIDEPOOL_DOWNLOADS=#{@downloads}/cut install", "tar.gz could not be fetched"},
    {"a changed archive", "TIDEPOOL_DOWNLOADS=#{@downloads}/changed install", "is not what its SHA-256 says"},
    {"nothing that checks signatures", "rm -f /usr/bin/gpgv /usr/bin/sqv /usr/bin/gpg; install",
     "install gpgv (Debian's package of that name; elsewhere gnupg), or sqv"},
    {"a full disk", "mount -t tmpfs -o size=20m none /opt; install", "/opt has 20 MB left, and this takes"},
    {"a disk that gets full", "mount -t tmpfs -o nr_inodes=200 none /opt; install", "could not be unpacked in /opt"},
    {"a place that can't be written", "mount -t tmpfs -o ro none /opt; install", "can't write to /opt"},
    {"a home that can't be written",
     "useradd ada; mkdir /home/ada; mount -t tmpfs -o ro none /home/ada; HOME=/home/ada setpriv --reuid ada --regid ada --clear-groups sh -c 'curl -fsSL #{@downloads}/install.sh | sh'",
     "can't write to /home/ada/.local/opt"},
    {"a tool of another's", "install_other /usr/local/bin/tidepool; install",
     "/usr/local/bin/tidepool is there, and not of this script"},
    {"a package's", "mkdir -p /opt/tidepool; install", "apt remove tidepool"},
    {"an option that there is not", "install --prefex /srv", "install.sh --uninstall"}
  ]

  # Another one is under way, and others were killed.
  @fakes """
  fake() { printf '#!/bin/sh\\n%s\\n' "$2" >/usr/local/sbin/$1; chmod 755 /usr/local/sbin/$1; }
  install_other() { echo other >$1; }
  """

  test "what can't be installed is refused in a sentence that says why, and nothing of it is left", context do
    floor = tl(Regex.run(~r/^machines='x86_64 (\S+) \d+'$/m, File.read!(Path.join(context.downloads, "install.sh"))))
    root = root!("bookworm")

    for {what, commands, said} <- @refused do
      # What the case has put there itself is not of the install.
      script = """
      #{@fakes}
      ( #{commands} ) >/tmp/said 2>&1 && echo "it was installed"
      cat /tmp/said
      echo "left: $(left | grep -v -x -e /usr/local/bin/tidepool -e /opt/tidepool | tr '\\n' ' ')$(getent passwd tidepool || true)"
      """

      output = machine!(context, root, script)
      said = said |> String.replace("VERSION", context.version) |> String.replace("FLOOR", hd(floor))
      assert output =~ said, "#{what}:\n#{output}"
      assert output =~ ~r/^left: $/m, "#{what}:\n#{output}"
      refute output =~ "it was installed", what
    end
  end

  test "what others have signed is refused, by each tool that checks signatures, and without a tool the sum alone is checked when asked",
       context do
    forged = Path.join(context.folder, "forged")
    File.mkdir_p!(forged)
    sums = "tidepool-#{context.version}.SHA256SUMS"

    for file <- [archive(context), Path.join(context.downloads, "install.sh")],
        do: File.ln_s!(file, Path.join(forged, Path.basename(file)))

    File.write!(Path.join(forged, sums), File.read!(Path.join(context.downloads, sums)) <> "\n")
    sign = ["--batch", "--local-user", "other", "--armor", "--detach-sign", Path.join(forged, sums)]
    Built.run!("gpg", sign, env: context.env)

    for {suite, tool} <- [{"bookworm", "gpgv"}, {"trixie", "sqv"}] do
      script = """
      ls /usr/bin/gpgv /usr/bin/sqv 2>/dev/null || true
      install 2>&1 && echo "it was installed"
      echo "left: $(left)"
      rm -f /usr/bin/gpgv /usr/bin/sqv
      install --checksum-only --no-start | grep 'is in'
      """

      output = machine!(context, root!(suite), script, forged)

      assert_said(output, [
        "/usr/bin/#{tool}",
        ~r/SHA256SUMS is not signed by Tidepool's key: don't use what is there; nothing was installed$/,
        "left: ",
        ~r/^install: Tidepool #{context.version} is in/
      ])

      refute output =~ "it was installed"
    end
  end

  test "gpg itself checks signatures where there is nothing else", context do
    script = Path.join(context.downloads, "install.sh")

    for {name, sign, status} <- [{"good", "maker", 0}, {"bad", "other", 1}] do
      folder = Path.join(context.folder, name)
      File.mkdir_p!(folder)
      file = Path.join(folder, "sums")
      File.write!(file, "some")
      Built.run!("gpg", ["--batch", "--local-user", sign, "--armor", "--detach-sign", file], env: context.env)
      # The script's own function, with the others hidden.
      hidden = "have() { [ $1 = gpg ]; }; work=#{folder} sums=sums downloads=here; check_signature"
      text = File.read!(script) |> String.replace(~r/^\{\n  main.*\z/ms, hidden)
      assert {_output, ^status} = System.cmd("sh", ["-c", text], stderr_to_stdout: true, env: [{"GNUPGHOME", nil}])
      System.cmd("gpgconf", ["--homedir", Path.join(folder, "gpg"), "--kill", "all"], stderr_to_stdout: true)
    end
  end

  test "an install that is killed leaves nothing in use, and the next one clears up and is whole; two at once don't meet",
       context do
    script = """
    (TIDEPOOL_DOWNLOADS=#{@downloads}/stalled install) >/tmp/said 2>&1 &
    half() { part=$(find /opt -name '*.tar.gz' -size +1000k); [ -n "$part" ]; }
    until half; do sleep 0.05; done
    process=${part#/opt/.tidepool-install.}
    process=${process%%/*}
    install 2>&1 && exit 1
    kill -9 $process
    while [ -d /proc/$process ]; do sleep 0.05; done
    echo "in use: $(ls /opt)"
    install --no-start
    ls -A /opt
    """

    output = machine!(context, root!("bookworm"), script)

    assert_said(output, [
      ~r/^install: process \d+ installs here, too/,
      "in use: ",
      ~r/^install: Tidepool #{context.version} is in/,
      "tidepool",
      "tidepool-#{context.version}"
    ])

    refute output =~ ~r/^\.tidepool-install/m
  end

  test "a script that is cut anywhere does nothing", context do
    script = """
    curl -fsS -o /tmp/whole #{@downloads}/install.sh
    size=$(stat -c %s /tmp/whole)
    cut=$((size - 2))
    # Each of the last bytes but the end of the last line, and then some.
    while [ $cut -gt 0 ]; do
      head -c $cut /tmp/whole | sh >/tmp/said 2>&1 || true
      if [ -n "$(left)" ] || grep '^install: ' /tmp/said; then echo "cut at $cut of $size: $(cat /tmp/said)"; fi
      if [ $((size - cut)) -lt 40 ]; then cut=$((cut - 1)); else cut=$((cut - 397)); fi
    done
    echo done
    """

    assert machine!(context, root!("bookworm"), script) =~ ~r/\Adone\n\z/
  end

  test "on a system of busybox and another C library, as Alpine's, the script says that at once", context do
    root = Path.join(context.folder, "busybox")
    for folder <- ~w(bin dev lib mnt opt proc run tmp usr/local/bin), do: File.mkdir_p!(Path.join(root, folder))
    File.cp!(System.find_executable("busybox"), Path.join(root, "bin/busybox"))
    names = Built.run!("busybox", ["--list"]) |> String.split()
    for name <- names -- ["busybox"], do: File.ln_s!("busybox", Path.join(root, "bin/#{name}"))
    # Its own says nothing of GNU's library, as there is none.
    script = "wget -q -O - #{@downloads}/install.sh | sh 2>&1 || echo refused; ls -A /opt"
    env = [{"MACHINE_ROOT", root}, {"MACHINE_DOWNLOADS", context.downloads}]
    output = Built.run!(@machine, [context.scratch, script], env: env)
    assert_said(output, [~r/is not glibc \(Alpine's is musl\)/, "refused", ""])
  end

  test "an upgrade of three nodes, one after the other and under load, fails no call", context do
    script = """
    for node in 1 2 3; do
      install --version #{context.version} --prefix /srv/$node --no-start >/dev/null
      cat >/srv/$node/data/environment <<ENVIRONMENT
    PORT=400$node
    RELEASE_NODE=n$node@127.0.0.1
    RELEASE_COOKIE=of-the-three
    TIDEPOOL_SEEDS=n1@127.0.0.1,n2@127.0.0.1,n3@127.0.0.1
    ENVIRONMENT
      install --version #{context.version} --prefix /srv/$node | grep 'the node runs'
    done
    until curl -sS 'localhost:4001/deploy?wait=all' -F wasm=@/srv/1/opt/tidepool/guests/hello_world/rust/hello_world.wasm | grep -c '"ready":\\["[^"]*","[^"]*","[^"]*"\\]'; do sleep 0.2; done

    # A client goes to the next node when one refuses its connection, and takes nothing else but an answer.
    client() {
      made=0
      while [ -e /tmp/load ]; do
        for node in 1 2 3; do
          status=0
          answer=$(curl -sS -m 20 --data-binary Ada localhost:400$node/call/hello_world/hello 2>&1) || status=$?
          [ $status != 7 ] || continue
          made=$((made + 1))
          [ "$answer" = "Hello, Ada!" ] || echo "failed: node $node, $status, $answer"
        done
      done
      echo "made: $made"
    }
    touch /tmp/load
    clients=
    for number in $(seq #{@calls_at_once}); do client & clients="$clients $!"; done
    for node in 1 2 3; do
      install --version 9.0.0 --prefix /srv/$node | grep 'the node runs'
      echo "node $node: $(cat /srv/$node/opt/tidepool/VERSION)"
    done
    rm /tmp/load
    wait $clients
    for node in 1 2 3; do /srv/$node/bin/tidepool-node stop >/dev/null; done
    """

    output = machine!(context, root!("bookworm"), script)
    refute output =~ "failed: ", output
    assert_said(output, for(node <- 1..3, do: "node #{node}: 9.0.0"))
    made = for [count] <- Regex.scan(~r/^made: (\d+)$/m, output, capture: :all_but_first), do: String.to_integer(count)
    assert length(made) == @calls_at_once
    assert Enum.all?(made, &(&1 > 0))
    IO.puts("Three nodes were upgraded under #{Enum.sum(made)} calls.")
  end
end
