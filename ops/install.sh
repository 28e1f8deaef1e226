#!/bin/sh
# Installs Tidepool; --help says more. Made by ops/archive of the project's ops/install.sh.
#
# A version is a folder of its own. It is fetched, checked and unpacked beside its place, and renamed to it when it is whole; which
# one is in use is a link, which is replaced in one step. So whatever ends this script, each of them is there as a whole or not.
# Nothing is done before all of the script has been read: its last lines begin it.
# What until_true and traps run is called by name.
# shellcheck disable=SC2317
set -u

this_version='@VERSION@'
# The machines that there is an archive for; for each the oldest C library that has all that its programs ask for, and how much
# the archive unpacks to, in kilobytes.
machines='@MACHINES@'
downloads=${TIDEPOOL_DOWNLOADS:-'@DOWNLOADS@'}
# Of OpenPGP, in base64: whoever has the other half of it makes versions of Tidepool.
key='@KEY@'
# How long a node may take to answer, in seconds, and one to stop: for its drain, and to hand over its actors.
start_seconds=60
stop_seconds=60

usage() {
  cat <<USAGE
Installs Tidepool $this_version, and starts a node on http://localhost:4000; or does so in place of another version.

  install.sh                   fetch, check, unpack, start
  install.sh --no-start        the same without a start; a node that runs is restarted on the new version
  install.sh --version V       another version than $this_version, which may be an older one
  install.sh --back            to the version before, which is kept
  install.sh --uninstall       stop the node and remove all but its data; with --purge the data as well

  --prefix FOLDER              have all in this folder: FOLDER/opt, FOLDER/bin, FOLDER/data
  --checksum-only              don't check the signature: the sums have to come from whom you trust

As root it installs to /opt/tidepool, /usr/local/bin and, for data, /var/lib/tidepool, which belong to the user tidepool, whom it
makes. As another user to ~/.local/opt/tidepool, ~/.local/bin and ~/.local/share/tidepool. Through a pipe:

  curl -fsSL $downloads/install.sh | sh -s -- --no-start

It fetches from $downloads, or from TIDEPOOL_DOWNLOADS.
USAGE
}

say() { printf 'install: %s\n' "$*"; }
die() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- This machine -------------------------------------------------------------------------------

# at_least VERSION WANTED: two numbers with a dot between them.
at_least() {
  [ "${1%%.*}" -gt "${2%%.*}" ] || { [ "${1%%.*}" -eq "${2%%.*}" ] && [ "${1#*.}" -ge "${2#*.}" ]; }
}

check_machine() {
  system=$(uname -s) machine=$(uname -m)
  row=$(printf '%s\n' "$machines" | sed -n "s/^$machine //p")
  if [ "$system" != Linux ] || [ -z "$row" ]; then
    known=$(printf '%s\n' "$machines" | sed -e 's/ .*//' -e '2,$s/^/ or /' | tr -d '\n')
    die "this machine is $system on $machine, and the archive is for Linux on $known: build Tidepool from its sources"
  fi
  glibc=${row% *} kilobytes=${row#* }
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc=$(ldd --version 2>&1 | sed -n '1s/.*\(GLIBC\|GNU libc\).* \([0-9.]*\)$/glibc \2/p')
  libc=$(printf '%s\n' "$libc" | sed -n 's/^glibc \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
  if [ -z "$libc" ]; then
    die "this system's C library is not glibc (Alpine's is musl), which the programs are linked with: run Tidepool in a container, or build it from its sources"
  fi
  at_least "$libc" "$glibc" ||
    die "this system's C library is glibc $libc, and Tidepool $this_version wants $glibc or newer, as in Debian 12: take a newer system, or run Tidepool in a container"
  for tool in awk base64 find gzip readlink sed sha256sum stat tar; do
    have "$tool" || die "$tool is missing: install it, and run this again"
  done
  have curl || have wget || die "curl is missing, and wget, too: install one of them, and run this again"
}

choose_places() {
  if [ -n "$prefix" ]; then
    [ "$action" != install ] || mkdir -p -- "$prefix" || die "can't write to $prefix: choose another folder with --prefix"
    there=$(CDPATH='' cd -- "$prefix" 2>/dev/null && pwd) || die "there is no folder $prefix that can be used: choose another one with --prefix"
    prefix=$there
    places=$prefix/opt bin=$prefix/bin home=$prefix/data
  elif [ "$(id -u)" = 0 ]; then
    places=/opt bin=/usr/local/bin home=/var/lib/tidepool
  else
    case ${HOME:-} in
      /*) ;;
      *) die "HOME is not set: choose a folder with --prefix" ;;
    esac
    # What is relative is none, by the standard for such folders.
    case ${XDG_DATA_HOME:-} in
      /*) home=$XDG_DATA_HOME/tidepool ;;
      *) home=$HOME/.local/share/tidepool ;;
    esac
    places=$HOME/.local/opt bin=$HOME/.local/bin
  fi
  link=$places/tidepool
  before=$places/tidepool.before
  if [ -e "$link/home" ]; then home=$(cat "$link/home"); fi
}

# What others have put where this would is not replaced, and what they have is not removed.
check_link() {
  if [ -e "$link" ] && [ ! -L "$link" ]; then
    die "$link is there, and not of this script; remove it first (apt remove tidepool, if it is the Debian package's); nothing has changed"
  fi
}
check_home() {
  [ -d "$home" ] || return 0
  for file in "$home/environment" "$home/cookie" "$home/tmp" "$home"/*@*; do
    if [ -e "$file" ]; then return; fi
  done
  # What a disk has when it is made is nobody's.
  [ -z "$(find -H "$home" -mindepth 1 -maxdepth 1 ! -name lost+found)" ] || die "$home has files, and none of Tidepool's: move them elsewhere first; nothing has changed"
}
check_places() {
  check_link
  check_home
  for name in tidepool tidepool-node; do
    if [ -e "$bin/$name" ] || [ -L "$bin/$name" ]; then
      ours "$bin/$name" || die "$bin/$name is there, and not of this script: move it elsewhere first; nothing has changed"
    fi
  done
}
ours() {
  case $(readlink "$1") in
    "$link"/*) ;;
    *) return 1 ;;
  esac
}

# The version in use; nothing if there is none.
in_use() { [ -L "$link" ] && version_of "$link"; }
version_of() { readlink "$1" | sed 's/^tidepool-//'; }

# --- Fetching -----------------------------------------------------------------------------------

# The folder in which all is made, on the file system where it is to be. What others like it have left that were killed goes.
open_work() {
  work=$places/.tidepool-install.$$
  made=''
  for folder in "$places" "$bin" "$(dirname "$home")"; do
    if ! mkdir -p "$folder" 2>/dev/null || [ ! -w "$folder" ]; then
      die "can't write to $folder: run this as a user who can, or choose another folder with --prefix; nothing was installed"
    fi
  done
  mkdir "$work" || die "can't write to $places: choose another folder with --prefix; nothing was installed"
  trap close_work EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP PIPE
  for other in "$places"/.tidepool-install.*; do
    pid=${other##*.}
    if [ "$other" = "$work" ]; then continue; fi
    if [ -d "/proc/$pid" ]; then die "process $pid installs here, too: wait for it; or remove $other; nothing has changed"; fi
    rm -rf "$other"
  done
}
# What was not put in use goes. A signal may come when it has been.
close_work() {
  if [ -n "$made" ] && [ "$made" != "$places/tidepool-$(in_use)" ]; then remove "$made"; fi
  rm -rf "$work"
}
# First out of its place: there a version is whole.
remove() { mv -T "$1" "$work/removed" && rm -rf "$work/removed"; }

# fetch FILE KILOBYTES: into the folder of the work. An address that answers without an end fills no disk, and one that is encrypted
# leads to no other.
fetch() {
  case $downloads in
    https:*) protocols='=https' ;;
    *) protocols='=http,https' ;;
  esac
  (
    ulimit -f "$(($2 * 2))"
    if have curl; then
      curl -fsSL --proto-redir "$protocols" --connect-timeout 20 --speed-limit 1 --speed-time 60 -o "$work/$1" "$downloads/$1"
    else
      wget -q -T 60 -O "$work/$1" "$downloads/$1"
    fi
  ) || die "$downloads/$1 could not be fetched: see above; nothing was installed"
}

# Is it the sums' signature by the key's other half? Each system brings one of these.
check_signature() {
  have gpgv || have sqv || have gpg ||
    die "there is nothing here that checks signatures: install gpgv (Debian's package of that name; elsewhere gnupg), or sqv, and run this again; or have the checksum alone be checked, with --checksum-only; nothing was installed"
  printf '%s' "$key" | base64 -d >"$work/key"
  if have gpgv; then
    gpgv --homedir "$work" --keyring "$work/key" "$work/$sums.asc" "$work/$sums"
  elif have sqv; then
    sqv --keyring "$work/key" "$work/$sums.asc" "$work/$sums"
  else
    mkdir -m 700 "$work/gpg"
    gpg --homedir "$work/gpg" --batch --no-default-keyring --keyring "$work/key" --trust-model always --verify "$work/$sums.asc" "$work/$sums"
  fi >"$work/said" 2>&1 || {
    cat "$work/said" >&2
    die "$downloads/$sums is not signed by Tidepool's key: don't use what is there; nothing was installed"
  }
}

# A version, whole and checked, to its place; nothing if it is there.
get() {
  if [ -e "$places/tidepool-$1/VERSION" ]; then return; fi
  archive=tidepool-$1-linux-$machine.tar.gz sums=tidepool-$1.SHA256SUMS
  free=$(df -Pk "$places" | awk 'NR == 2 { print $4 }')
  # The archive lies beside what it unpacks to.
  needed=$((kilobytes * 3 / 2))
  [ "${free:-$needed}" -ge "$needed" ] ||
    die "$places has $((free / 1024)) MB left, and this takes $((needed / 1024)): make room, or choose another folder with --prefix; nothing was installed"
  say "fetching Tidepool $1 from $downloads"
  fetch "$sums" 1024
  if [ -z "$checksum_only" ]; then
    fetch "$sums.asc" 1024
    check_signature
  fi
  fetch "$archive" "$kilobytes"
  if ! (cd "$work" && grep "  $archive\$" "$sums" >sum && sha256sum -c sum >/dev/null 2>&1); then
    die "$downloads/$archive is not what its SHA-256 says: fetch it again, later; nothing was installed"
  fi
  tar -xzf "$work/$archive" -C "$work" --no-same-owner ||
    die "the archive could not be unpacked in $places: see above; nothing was installed"
  [ "$(cat "$work/tidepool-$1/VERSION")" = "$1" ] || die "the archive has another version in it than its name says; nothing was installed"
  printf '%s\n' "$home" >"$work/tidepool-$1/home" || die "can't write to $places: see above; nothing was installed"
  # What is renamed is there after the machine has lost power, too.
  sync -f "$work/tidepool-$1" || die "can't write to $places: see above; nothing was installed"
  mv -T "$work/tidepool-$1" "$places/tidepool-$1" || die "$places/tidepool-$1 is there, and no version of Tidepool: move it elsewhere first; nothing was installed"
  made=$places/tidepool-$1
}

# --- Nodes --------------------------------------------------------------------------------------

# Who has the data: root's node is a user's who can do nothing else.
make_home() {
  if [ "$(id -u)" = 0 ] && [ -z "$prefix" ]; then
    if ! id tidepool >/dev/null 2>&1; then
      have useradd || die "useradd is missing, which makes the user tidepool: make that, and run this again"
      useradd --system --user-group --home-dir "$home" --no-create-home --shell /usr/sbin/nologin tidepool || die "the user tidepool could not be made: see above"
    fi
    [ -d "$home" ] || mkdir -m 700 "$home" || die "$home could not be made: see above"
    # Root's own would have the node run as root.
    [ "$(stat -L -c %u "$home")" != 0 ] || chown -R tidepool: "$home/" || die "$home could not be given to the user tidepool: see above"
  else
    [ -d "$home" ] || mkdir -m 700 "$home" || die "$home could not be made: see above"
  fi
}

node() { "$link/bin/tidepool-node" "$@"; }

# The process of the node that runs on this data and answers; nothing if there is none.
answering() {
  if [ -L "$link" ]; then node pid 2>/dev/null | sed -n 's/^\([0-9][0-9]*\)$/\1/p'; fi
}
# Also of one that is still starting, or has too much to do: what its VM was told of its home, and that it is a node's.
node_process() {
  answering | grep . && return
  # The names have no spaces.
  # shellcheck disable=SC2013
  for arguments in $(grep -lzxF -e "$home/tmp/home" /proc/[0-9]*/cmdline 2>/dev/null); do
    if grep -qsz '/releases/[^/]*/start$' "$arguments"; then basename "${arguments%/cmdline}"; fi
  done
}

# until SECONDS COMMAND…: does it succeed within that time?
until_true() {
  left=$((10 * $1))
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 0.1
  done
}
gone() { [ ! -d "/proc/$1" ]; }
# No proxy knows this machine's loopback. A node whose disk is full, or fails, or that gets what others have of actors, has started, and is
# not well: no other version would be.
healthy() {
  if have curl; then
    curl -sk --noproxy '*' -m 5 "$1/health"
  else
    # Busybox's shows nothing of a node that is not well.
    ! wget --help 2>&1 | grep -q content-on-error || set -- "$1" --content-on-error
    http_proxy='' https_proxy='' wget -q -T 5 --no-check-certificate ${2:-} -O - "$1/health"
  fi 2>/dev/null | grep -q -E '"status": ?"(ok|store_stopped|catching_up)"'
}

stop_node() {
  process=$(node_process)
  [ -n "$process" ] || return 0
  say "stopping the node, which drains"
  node stop >/dev/null 2>&1 || kill -TERM "$process"
  until_true "$stop_seconds" gone "$process" || die "the node, process $process, has not stopped within $stop_seconds s: stop it, and run this again"
  # Of the version that is to go, too. It refuses while it knows other nodes, and the command that has just stopped this one.
  until_true 2 names_end
}
names_end() {
  case $(node epmd -kill 2>&1) in
    *'not allowed'*) return 1 ;;
  esac
}

start_node() {
  url=$(node url) || return 1
  node daemon || return 1
  until_true "$start_seconds" healthy "$url" && [ -n "$(answering)" ] && return
  printf 'install: no answer of %s/health within %s s; the end of the log in %s:\n' "$url" "$start_seconds" "$home/tmp/log" >&2
  node log >&2
  return 1
}

# ready NAME VERSION: a link to it, in the folder of the work; none if there is no such version. point LINK NAME: in one step.
ready() { [ -z "$2" ] || ln -sfn "tidepool-$2" "$work/$1"; }
point() { if [ -L "$work/$2" ]; then mv -T "$work/$2" "$1"; else rm -f "$1"; fi; }

# To a version that is there: with the node, if there is one, that goes back if the new one does not answer.
switch_to() {
  old=$(in_use) earlier=''
  if [ "$old" = "$1" ]; then
    made=''
    return
  fi
  if [ -L "$before" ]; then earlier=$(version_of "$before"); fi
  # What can't run at all, and a full disk, are found out before anything is stopped.
  "$places/tidepool-$1/bin/tidepool-node" eval '{:module, _} = Code.ensure_loaded(Tidepool.Native)' >"$work/said" 2>&1 || {
    cat "$work/said" >&2
    die "Tidepool $1 does not run on this machine: see above; nothing has changed"
  }
  { ready new "$1" && ready before "$old" && ready old "$old" && ready earlier "$earlier"; } ||
    die "can't write to $places: see above; nothing has changed"
  running=$(node_process)
  stop_node
  if ! { point "$before" before && point "$link" new && { [ -z "$running" ] || start_node; }; }; then
    # What answers nobody has nothing to drain.
    (stop_node) || kill -KILL "$(node_process)"
    point "$link" old && point "$before" earlier
    [ -z "$running" ] || start_node || die "Tidepool $1 did not start, and $old, which is in use again, doesn't either: see above"
    die "Tidepool $1 did not start: see above; $old $([ -n "$running" ] && echo runs || echo is in use) again"
  fi
  made=''
  # Neither in use nor the one before.
  for other in "$places"/tidepool-*; do
    case ${other##*/tidepool-} in
      "$1" | "$old") ;;
      *) [ ! -e "$other/VERSION" ] || remove "$other" ;;
    esac
  done
}

# --- What it does -------------------------------------------------------------------------------

install_version() {
  check_machine
  [ -n "$key" ] || [ -n "$checksum_only" ] || die "there is no key in this script: it was not made by ops/archive"
  check_places
  open_work
  get "$1"
  make_home
  switch_to "$1"
  for program in priv/cli/tidepool bin/tidepool-node; do
    { ln -sfn "$link/$program" "$work/program" && mv -T "$work/program" "$bin/${program##*/}"; } ||
      die "Tidepool $1 is in $link, and $bin can't be written: see above"
  done
  say "Tidepool $1 is in $link; its data and its settings, the file environment, are in $home"
  say "$bin has tidepool, the command line tool, and tidepool-node, which starts and stops a node"
  case :$PATH: in
    *:"$bin":*) ;;
    *) say "put that folder on your PATH: export PATH=\"$bin:\$PATH\"" ;;
  esac
  # One that was stopped, and does not answer any more, is about to be gone.
  ending=$(node_process)
  [ -z "$ending" ] || [ -n "$(answering)" ] || until_true 30 gone "$ending" || true
  if [ -n "$(node_process)" ]; then
    say "the node runs on $(node url)"
  elif [ -n "$start" ]; then
    start_node || die "Tidepool $1 is installed, and its node does not answer: see above; tidepool-node start says more"
    node rpc "IO.puts(TidepoolWeb.Examples.text(Base.decode64!(\"$(printf '%s' "$link/guests" | base64 -w 0)\")))"
    say "the node runs in the background: tidepool-node stop ends it"
  fi
}

go_back() {
  [ -L "$before" ] || die "there is no version before that could be gone back to"
  open_work
  wanted=$(version_of "$before")
  # It is that in use where an install was killed.
  if [ "$wanted" = "$(in_use)" ] || [ ! -e "$places/tidepool-$wanted/VERSION" ]; then die "there is no version before that could be gone back to"; fi
  switch_to "$wanted"
  say "Tidepool $wanted is in use again"
}

uninstall() {
  [ -L "$link" ] || [ -n "$purge" ] || die "Tidepool is not installed in $places"
  check_link
  [ -z "$purge" ] || check_home
  if [ -d "$places" ]; then
    open_work
    stop_node
    for name in tidepool tidepool-node; do
      ! ours "$bin/$name" || rm -f "$bin/$name" || die "$bin/$name could not be removed: see above"
    done
    # The link last: who is killed meanwhile can begin again.
    for other in "$places"/tidepool-*; do
      [ ! -e "$other/VERSION" ] || remove "$other" || die "$other could not be removed: see above"
    done
    rm -f "$before" "$link" || die "$link could not be removed: see above"
  fi
  if [ -n "$purge" ]; then
    # They may be elsewhere, with a link to them here.
    rm -rf "$(readlink -f "$home")" "$home" || die "the data in $home could not be removed: see above"
    say "Tidepool is removed, and its data in $home"
  else
    say "Tidepool is removed; its data are kept in $home, until --uninstall --purge"
  fi
}

main() {
  # What is run reads nothing of the script, when that comes through a pipe.
  exec </dev/null
  umask 022
  action=install version=$this_version prefix='' checksum_only='' start=yes purge=''
  while [ $# -gt 0 ]; do
    case $1 in
      --no-start) start='' ;;
      --checksum-only) checksum_only=yes ;;
      --back) action=back ;;
      --uninstall) action=uninstall ;;
      --purge) purge=yes ;;
      --prefix | --version)
        [ -n "${2:-}" ] || die "$1 takes a value; --help says more"
        if [ "$1" = --prefix ]; then prefix=$2; else version=$2; fi
        shift
        ;;
      --help | -h) usage; exit ;;
      *) usage >&2; exit 2 ;;
    esac
    shift
  done
  case $version in
    @*) die "these are the sources of install.sh: bin/archive makes the one that installs a version; in a clone bin/start starts a node" ;;
    *[!A-Za-z0-9.+-]* | .*) die "$version is no version" ;;
  esac
  [ -z "$purge" ] || [ "$action" = uninstall ] || die "--purge goes with --uninstall"
  choose_places
  case $action in
    install) install_version "$version" ;;
    back) go_back ;;
    uninstall) uninstall ;;
  esac
}

{
  main "$@"
  exit
}
