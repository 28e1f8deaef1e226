# What packages of a release share; sourced, not run.
# shellcheck shell=bash

# copy_release FROM TO: a release as it leaves the machine that it was built on. Each machine has a cookie of its own, and what a
# node has kept there is not to go anywhere; nor are what debuggers want, two thirds of it, and Erlang's tools for work on code.
copy_release() {
  cp -a --no-preserve=ownership "$1" "$2"
  # Whoever built it, and with whatever umask.
  chmod -R u=rwX,go=rX "$2"
  rm -rf "$2"/{data,tmp,releases/COOKIE} "$2"/erts-*/{doc,include,lib,man,src}
  rm -f "$2"/erts-*/bin/{ct_run,dialyzer,erlc,escript,typer,yielding_c_fun}
  programs_of "$2" | xargs -0 strip --strip-unneeded
}

# linked_libraries FOLDER: the files that the loader would load for the programs in it. Static programs have none.
linked_libraries() {
  find "$1" -type f \( -perm -u+x -o -name '*.so' \) -exec ldd {} \; 2>/dev/null |
    sed -n -E 's/^\t(.* => )?(\/[^ ]+) \(0x[0-9a-f]+\)$/\2/p' | sort -u
}

# package_of FILE: the Debian package that it is from; fails for a file of none.
package_of() {
  local found
  found=$(dpkg-query -S "$(readlink -f "$1")" 2>/dev/null || dpkg-query -S "$1") || return
  echo "${found%%:*}"
}

# programs_of FOLDER: the programs and libraries in it, each ended by a zero byte.
programs_of() {
  find "$1" -type f \( -perm -u+x -o -name '*.so' -o -name '*.so.*' \) -exec sh -c 'head -c 4 "$1" | grep -q ELF' _ {} \; -print0
}

# glibc_floor FOLDER: the oldest version of the C library that has all that the programs in it ask of it. Relative relocations
# (DT_RELR) have a name of their own there, and came with 2.36.
glibc_floor() {
  programs_of "$1" | xargs -0 objdump -p | sed -n -E 's/^ +0x[0-9a-f]+ 0x[0-9a-f]+ [0-9]+ GLIBC_(ABI_DT_RELR|[0-9.]+)$/\1/p' |
    sed 's/ABI_DT_RELR/2.36/' | sort -uV | tail -n 1
}

# bundle_libraries RELEASE: puts what its programs are linked with, but for the C library, into its folder `shared`, and has them
# look there. They alone do: a variable would be that of all programs that they start. Prints the packages that it is from.
bundle_libraries() {
  local shared=$1/shared library package program
  mkdir "$shared"
  while IFS= read -r library; do
    package=$(package_of "$library")
    [[ $package != libc6 ]] || continue
    install -m 755 "$library" "$shared/${library##*/}"
    echo "$package"
  done < <(linked_libraries "$1") | sort -u
  while IFS= read -r -d '' program; do
    # Static ones ask for nothing.
    if readelf -d "$program" | grep -q '(NEEDED)'; then
      patchelf --set-rpath "\$ORIGIN/$(realpath --relative-to "$(dirname "$program")" "$shared")" "$program"
    fi
  done < <(programs_of "$1")
}

# public_half KEY: of a key of gpg's, in base64; fails when gpg has none of that name.
public_half() {
  gpg --batch --quiet --list-keys "$1" >/dev/null && gpg --batch --quiet --export --export-options export-minimal "$1" | base64 -w 0
}

# downloads_address: where what is made is to be served, by TIDEPOOL_DOWNLOADS or else ops/downloads; fails where that is none.
downloads_address() {
  local address=${TIDEPOOL_DOWNLOADS:-$(grep -v '^#' "$(dirname "${BASH_SOURCE[0]}")/downloads")}
  [[ $address =~ ^https?://[A-Za-z0-9./:_~%-]+$ ]] && echo "${address%/}"
}

# install_script VERSION PUBLIC_HALF <ROWS: what installs that version, on the machines of the rows, from where it is served. A row is
# an archive's file MACHINE.
install_script() {
  local rows address
  address=$(downloads_address)
  rows=$(sed -e '$!s/$/\\/' -e 's/[|&]/\\&/g')
  sed -e "s|@VERSION@|$1|" -e "s|@MACHINES@|$rows|" -e "s|@DOWNLOADS@|$address|" -e "s|@KEY@|$2|" \
    "$(dirname "${BASH_SOURCE[0]}")/install.sh"
}
