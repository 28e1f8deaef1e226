# Python with what a file of requirements lists; sourced after common.sh.
# shellcheck shell=bash disable=SC2154

# python_with NAME REQUIREMENTS: prints the path of a Python that has what the file lists. Installs that first, once for each content
# of the file, into a folder that may be thrown away.
python_with() {
  local home=$root/_build
  # A CI machine keeps it for all its checkouts.
  [[ -z ${CI:-} ]] || home=${XDG_CACHE_HOME:-$HOME/.cache}/tidepool
  home=$home/$1-$(checksum "$2")
  mkdir -p "$home"
  # Whoever comes second waits, and finds it. Where there is no flock (macOS) nobody else is taken to build.
  exec 9>"$home/.lock"
  ! have flock || flock 9
  if [[ ! -e $home/.installed ]]; then
    python3 -m venv "$home/venv" >&2 &&
      retried "$home/venv/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps --only-binary :all: --require-hashes \
        -r "$2" >&2 &&
      touch "$home/.installed" || return
  fi
  exec 9>&-
  echo "$home/venv/bin/python"
}

checksum() { python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()[:12])' "$1"; }
