# Commands that reach nothing but this machine, and leave nothing behind; sourced by bin/test. shellcheck shell=bash

# Runs a command with no network but a loopback of its own, where this user may do that: as root. What it has started ends with it.
sealed() {
  if may_seal; then
    in_namespaces "$@"
  else
    "$@"
  fi
}

in_namespaces() { unshare --net --pid --fork --kill-child --mount-proc "$root/bin/support/inside" "$@"; }

# Asked once.
may_seal() {
  [[ -n ${sealing:-} ]] || { in_namespaces true 2>/dev/null && sealing=yes || sealing=no; }
  [[ $sealing == yes ]]
}
