# mdBook, which makes a book of the documents; sourced after common.sh. Sets $mdbook, where it is or is to be.
# shellcheck shell=bash disable=SC2034,SC2154
mdbook_version=0.5.4
mdbook_home=$root/_build/mdbook-$mdbook_version
# A CI machine builds it once for all its checkouts.
[[ -z ${CI:-} ]] || mdbook_home=${XDG_CACHE_HOME:-$HOME/.cache}/tidepool/mdbook-$mdbook_version
mdbook=$mdbook_home/bin/mdbook

# Builds it from the crate registry, if it is not there: without its server and its watcher, which are most of it, and
# barely optimised, as it works for a second. What is built on the way is of no use to anything else, and goes.
install_mdbook() {
  [[ ! -x $mdbook ]] || return 0
  have cargo || die "cargo was not found: run bin/setup, or install Rust"
  say "building mdBook $mdbook_version, once"
  mkdir -p "$mdbook_home"
  # Whoever comes second waits, and finds it.
  exec 9>"$mdbook_home/.lock" && flock 9
  if [[ ! -x $mdbook ]]; then
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 CARGO_PROFILE_RELEASE_LTO=off \
      cargo install --quiet --locked --version "$mdbook_version" --no-default-features --features search \
      --root "$mdbook_home" --target-dir "$mdbook_home/target" mdbook || die "mdBook could not be built: see above"
    rm -rf "$mdbook_home/target"
  fi
  exec 9>&-
}
