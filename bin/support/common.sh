# What the scripts in bin/ share; sourced, not run. Sets $root.
# shellcheck shell=bash disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
script=${0##*/}

say() { printf '%s: %s\n' "$script" "$*"; }
complain() { printf '%s: %s\n' "$script" "$*" >&2; }
die() { complain "$@"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# rustup installs here, and puts it on the PATH of login shells alone.
have cargo || [[ ! -x ${HOME:-}/.cargo/bin/cargo ]] || PATH=$HOME/.cargo/bin:$PATH

# Elixir wants file names and output in UTF-8, which a machine without a locale does not say.
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
  *[Uu][Tt][Ff]*) ;;
  *) export LC_ALL=C.UTF-8 ;;
esac

# at_least VERSION WANTED: are the dotted numbers of the first not below those of the second?
at_least() {
  local have_parts want_parts i
  IFS=. read -ra have_parts <<<"${1%%[-+~]*}"
  IFS=. read -ra want_parts <<<"$2"
  for i in "${!want_parts[@]}"; do
    if ((10#${have_parts[i]:-0} != 10#${want_parts[i]})); then
      ((10#${have_parts[i]:-0} > 10#${want_parts[i]}))
      return
    fi
  done
}

# The flags of the VM that ship, for a VM that is not a release's.
vm_flags() { sed -e '/^[[:space:]]*#/d' -e '/^[[:space:]]*$/d' "$root/rel/vm.args.eex" | tr '\n' ' '; }

# Does what it is given up to three times: what sends something over a network may be there again then.
retried() {
  local pause
  for pause in ${RETRY_PAUSES:-5 20}; do
    if "$@"; then return; fi
    complain "failed, and begins again in $pause s: $*"
    sleep "$pause"
  done
  "$@"
}

# A CI machine builds the Rust libraries once for all its checkouts.
if [[ -n ${CI:-} && -z ${CARGO_TARGET_DIR:-} ]]; then
  export CARGO_TARGET_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/tidepool/target
fi
