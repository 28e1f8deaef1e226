for file <- ["built.exs"], do: Code.require_file(file, __DIR__)

defmodule Tidepool.Ship.FaultsTest do
  # install.sh on a bare system, where it is disturbed at each step, where others have put things in its way, and where servers lie.
  # The archives are made by ops/archive and signed, of releases that are small: what they would start is a process that sleeps.
  use Tidepool.Case, async: true

  alias Tidepool.Built

  @moduletag :ship

  @machine Path.expand("ops/machine", __DIR__)
  @downloads "http://127.0.0.1:8000"
  # Those that put things in their places; all that change anything take ten times as long.
  @programs if System.get_env("TIDEPOOL_LONG", "") == "",
              do: "chown mv tar",
              else: "chmod chown gpgv ln mkdir mv rm sync tar useradd"

  # `pid` is what the real one says.
  @tidepool """
  #!/bin/sh
  node=$RELEASE_TMP/pid
  case $1 in
    pid) [ -d /proc/$(cat $node) ] && cat $node ;;
    stop) kill $(cat $node) ;;
    daemon) sleep 1000 >/dev/null 2>&1 & echo $! >$node ;;
  esac
  """

  setup_all do
    {folder, env} = Built.keyring_of_module!("faults", ["maker"], [{"TIDEPOOL_DOWNLOADS", @downloads}])
    downloads = Path.join(folder, "downloads")
    for made <- [downloads, Path.join(folder, "scratch")], do: File.mkdir_p!(made)

    # The script is that of the last one.
    for version <- ["9.0.0", "0.1.0"] do
      Built.run!("ops/archive", [release!(folder, version), downloads, "maker"], env: env)
      Built.run!("ops/sums", [downloads, version, "maker"], env: env)
    end

    # What the nodes of the small releases are asked for, at the downloads' port.
    File.write!(Path.join(downloads, "health"), "")
    %{folder: folder, downloads: downloads}
  end

  defp release!(folder, version) do
    release = Path.join(folder, version)
    tool = "lib/tidepool-#{version}/priv/cli/tidepool"

    for {path, text} <- [
          {"bin/tidepool", @tidepool},
          {"erts-1/bin/epmd", "#!/bin/sh\n"},
          {"releases/start_erl.data", "1 #{version}\n"},
          {tool, ""}
        ] do
      path = Path.join(release, path)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, text)
      File.chmod!(path, 0o755)
    end

    File.cp!(System.find_executable("true"), Path.join(release, tool))
    release
  end

  # What a script says on a bare system, with the functions that the others share.
  defp machine!(context, script, arguments \\ []) do
    root = Path.expand("ops/root", __DIR__) |> Built.run!(["bookworm"]) |> String.trim()
    env = [{"MACHINE_ROOT", root}, {"MACHINE_DOWNLOADS", context.downloads}]

    shared = """
    install() { curl -fsSL #{@downloads}/install.sh | sh -s -- "$@"; }
    export PORT=8000
    """

    Built.run!(@machine, [Path.join(context.folder, "scratch"), shared <> script, "machine" | arguments], env: env)
  end

  test "whatever step of an install, an upgrade, a way back or a removal is killed or fails, what is in use is whole, and the next one does all",
       context do
    output = machine!(context, File.read!(Path.expand("ops/faults", __DIR__)), [@programs])
    assert [[_line, faults]] = Regex.scan(~r/^faults: (\d+)$/m, output)
    assert String.to_integer(faults) > 20
    assert output == "faults: #{faults}\n"
  end

  test "a folder of others' is neither taken for the data nor removed as if it were, and data that lie elsewhere are removed there",
       context do
    script = """
    mkdir -p /srv/data /srv/disk
    echo photo >/srv/data/photo
    install --prefix /srv --no-start 2>&1 || echo "not installed"
    install --prefix /srv --uninstall --purge 2>&1 || echo "not removed"
    install --prefix /not/there --uninstall --purge 2>&1 || echo "nothing there"
    ls /srv /srv/data /not 2>&1 || true

    # A disk of its own, as it is made.
    mkdir /srv/disk/lost+found
    ln -s /srv/disk /var/lib/tidepool
    install >/dev/null
    echo "runs as: $(stat -c %U /proc/$(tidepool-node pid)) on $(stat -c %U /srv/disk)"
    install --uninstall --purge
    ls -d /srv/disk /var/lib/tidepool 2>/dev/null || echo "no data"

    # That of a Debian package.
    mkdir -p /opt/tidepool/bin /var/lib/tidepool/tidepool@localhost
    install --uninstall --purge 2>&1 || ls /opt /var/lib/tidepool
    """

    assert String.split(machine!(context, script), "\n", trim: true) == [
             "install: /srv/data has files, and none of Tidepool's: move them elsewhere first; nothing has changed",
             "not installed",
             "install: /srv/data has files, and none of Tidepool's: move them elsewhere first; nothing has changed",
             "not removed",
             "install: there is no folder /not/there that can be used: choose another one with --prefix",
             "nothing there",
             "ls: cannot access '/not': No such file or directory",
             "/srv:",
             "data",
             "disk",
             "/srv/data:",
             "photo",
             "runs as: tidepool on tidepool",
             "install: stopping the node, which drains",
             "install: Tidepool is removed, and its data in /var/lib/tidepool",
             "no data",
             "install: /opt/tidepool is there, and not of this script; remove it first (apt remove tidepool, if it is the Debian package's); nothing has changed",
             "/opt:",
             "tidepool",
             "/var/lib/tidepool:",
             "tidepool@localhost"
           ]
  end

  test "root's node does not run as root, whatever there is of its data", context do
    script = """
    as() { stat -c %U /proc/$(tidepool-node pid); tidepool-node stop; }
    # As an install leaves it that was killed there, or a node of root's.
    mkdir -p /var/lib/tidepool/tidepool@localhost
    install >/dev/null
    echo "with root's data: $(as) $(stat -c %U /var/lib/tidepool/tidepool@localhost)"
    rm -rf /var/lib/tidepool
    tidepool-node daemon 2>&1 || ls -d /var/lib/tidepool 2>/dev/null || echo "no data"
    install >/dev/null
    echo "after an install: $(as)"
    (umask 077; echo PORT=1 >/var/lib/tidepool/environment)
    tidepool-node url 2>&1 || echo refused
    """

    assert String.split(machine!(context, script), "\n", trim: true) == [
             "with root's data: tidepool tidepool",
             "tidepool-node: /var/lib/tidepool is not there, which says who is to run the node: /opt/tidepool-0.1.0/install.sh makes it",
             "no data",
             "after an install: tidepool",
             "tidepool-node: tidepool can't read /var/lib/tidepool/environment, which has the node's settings: chown it to tidepool",
             "refused"
           ]
  end

  test "a signal while a new version starts takes neither that nor the way back from it", context do
    script = """
    install >/dev/null
    # The new one's health is asked for without an end.
    mkdir /tmp/bin
    printf '%s\\n' '#!/bin/sh' 'case "$*" in */health) exit 1 ;; esac' 'exec /usr/bin/curl "$@"' >/tmp/bin/curl
    chmod 755 /tmp/bin/curl
    for signal in INT TERM HUP; do
      for version in 9.0.0 0.1.0; do
        # A shell that is in the background does not heed Ctrl-C otherwise, nor a hang-up what nohup has begun.
        PATH=/tmp/bin:$PATH perl -e '$SIG{$_} = "DEFAULT" for qw(INT TERM HUP); exec @ARGV' sh /opt/tidepool/install.sh --version $version >/dev/null 2>&1 &
        until [ $(cat /opt/tidepool/VERSION) = $version ]; do sleep 0.02; done
        kill -$signal $!
        wait $! || true
        echo "$signal: $(cat /opt/tidepool/VERSION) $(cat /opt/tidepool.before/VERSION) $(ls -A /opt | wc -l)"
        install --version $version >/dev/null
      done
    done
    """

    lines = for signal <- ~w(INT TERM HUP), do: ["#{signal}: 9.0.0 0.1.0 4", "#{signal}: 0.1.0 9.0.0 4"]
    assert String.split(machine!(context, script), "\n", trim: true) == List.flatten(lines)
  end

  test "what is set where the script runs changes neither where it installs nor what it asks", context do
    script = """
    mkdir -p /srv/there /home/ada/there
    chown -R nobody /home/ada
    cd /home/ada
    ada() { setpriv --reuid nobody --clear-groups env HOME=/home/ada "$@" sh -c 'curl --noproxy "*" -fsSL #{@downloads}/install.sh | sh -s -- $OPTIONS 2>&1'; }
    ada CDPATH=/srv OPTIONS="--prefix there --no-start" | sed -n 's/^install: Tidepool 0.1.0 is in //p'
    ada XDG_DATA_HOME=data OPTIONS=--no-start | sed -n 's/^install: Tidepool 0.1.0 is in //p'
    ada OPTIONS=--uninstall
    # Proxies that nobody is behind.
    ada all_proxy=http://127.0.0.1:1 http_proxy=http://127.0.0.1:1 TIDEPOOL_DOWNLOADS=file:///mnt | grep -o 'the node runs.*'
    ls /srv/there
    """

    for file <- File.ls!(context.downloads),
        do: File.cp!(Path.join(context.downloads, file), Path.join([context.folder, "scratch", file]))

    assert String.split(machine!(context, script), "\n", trim: true) == [
             "/home/ada/there/opt/tidepool; its data and its settings, the file environment, are in /home/ada/there/data",
             "/home/ada/.local/opt/tidepool; its data and its settings, the file environment, are in /home/ada/.local/share/tidepool",
             "install: Tidepool is removed; its data are kept in /home/ada/.local/share/tidepool, until --uninstall --purge",
             "the node runs in the background: tidepool-node stop ends it"
           ]
  end

  test "a server that answers without an end fills no disk", context do
    script = """
    mount -t tmpfs -o size=50m none /opt
    TIDEPOOL_DOWNLOADS=#{@downloads}/endless install 2>&1 &
    most=0
    while kill -0 $! 2>/dev/null; do
      used=$(df -k --output=used /opt | tail -n 1)
      if [ $used -gt $most ]; then most=$used; fi
    done
    wait $! || echo "refused"
    if [ $most -lt 4096 ]; then echo "at most 4 MB"; else echo "$most kB"; fi
    ls -A /opt
    """

    output = machine!(context, script)
    assert output =~ "SHA256SUMS could not be fetched"
    assert String.ends_with?(output, "refused\nat most 4 MB\n")
  end
end
