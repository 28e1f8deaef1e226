# What packages of a release share; sourced, not run.
# shellcheck shell=bash

# copy_release FROM TO: a release as it leaves the machine that it was built on. Each machine has a cookie of its own, and what a
# node has kept there is not to go anywhere; nor are what debuggers want, two thirds of it, and Erlang's tools for work on code.
copy_release() {
  cp -a "$1" "$2"
  rm -rf "$2"/{data,tmp,releases/COOKIE} "$2"/erts-*/{doc,include,lib,man,src}
  rm -f "$2"/erts-*/bin/{ct_run,dialyzer,erlc,escript,typer,yielding_c_fun}
  find "$2" -type f \( -perm -u+x -o -name '*.so' \) -exec sh -c 'head -c 4 "$1" | grep -q ELF' _ {} \; -exec strip --strip-unneeded {} +
}

# linked_libraries FOLDER: the files that the loader would load for the programs in it. Static programs have none.
linked_libraries() {
  find "$1" -type f \( -perm -u+x -o -name '*.so' \) -exec ldd {} \; 2>/dev/null |
    sed -n -E 's/^\t(.* => )?(\/[^ ]+) \(0x[0-9a-f]+\)$/\2/p' | sort -u
}

# package_of FILE: the Debian package that it is from.
package_of() {
  local found
  found=$(dpkg-query -S "$(readlink -f "$1")" 2>/dev/null || dpkg-query -S "$1")
  echo "${found%%:*}"
}
