# What scripts share that make a release to pack; sourced after common.sh.
# shellcheck shell=bash disable=SC2154

# make_release FOLDER: a release of production with the tool and the book in it, into a folder that is not there yet.
make_release() {
  export MIX_ENV="prod"
  unset MIX_BUILD_PATH MIX_TARGET
  local tool
  for tool in patchelf strip objdump; do have "$tool" || die "$tool was not found: bin/setup --test installs it"; done
  mix compile
  "$root/bin/cli"
  "$root/bin/book"
  mix release --quiet --path "$1"
}

# version_of RELEASE: the second word, for the first is the version of Erlang's runtime.
version_of() { cut -d ' ' -f 2 "$1/releases/start_erl.data"; }
