#!/usr/bin/env bash
# Makes the folder in which cargo builds for who edits (native/dev.toml), and prints its path. What is compiled of other crates is
# taken over from the build of tests, for the engine takes minutes: linked, where nobody writes to it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../native"
plain=${CARGO_TARGET_DIR:-target}
inner=$plain/dev

# With other versions of crates all of it is built anew, and would be kept beside the old.
if [[ ! -e $inner/Cargo.lock ]] || ! cmp -s Cargo.lock "$inner/Cargo.lock"; then
  making=$(mktemp -d "$(mkdir -p "$plain" && cd "$plain" && pwd)/dev.XXXXXX")
  trap 'rm -rf "$making"' EXIT
  if [[ -d $plain/release/deps ]]; then
    mkdir "$making/release"
    cp -al "$plain/release/deps" "$making/release/" 2>/dev/null || cp -a "$plain/release/deps" "$making/release/"
    cp -a "$plain/release/build" "$plain/release/.fingerprint" "$making/release/"
    rm -rf "$making"/release/deps/*tidepool_* "$making"/release/.fingerprint/tidepool_*
  fi
  cp Cargo.lock "$making/"
  rm -rf "$inner"
  chmod 755 "$making"
  mv -T "$making" "$inner"
fi
cd "$inner" && pwd
