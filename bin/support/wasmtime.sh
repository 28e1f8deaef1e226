# wasmtime's command line, which tests of components ask for a second opinion; sourced after common.sh. Sets $wasmtime, where it is
# or is to be.
# shellcheck shell=bash disable=SC2034,SC2154
wasmtime_version=$(sed -n '/^name = "wasmtime"$/{n;s/^version = "\(.*\)"$/\1/p}' "$root/native/Cargo.lock")
wasmtime_home=$root/_build/wasmtime-$wasmtime_version
# A CI machine builds it once for all its checkouts.
[[ -z ${CI:-} ]] || wasmtime_home=${XDG_CACHE_HOME:-$HOME/.cache}/tidepool/wasmtime-$wasmtime_version
wasmtime=$wasmtime_home/bin/wasmtime

# Builds it from the crate registry, if it is not there, of the version that Tidepool has in it: what `serve` and `run --invoke`
# take, which on two idle cores is minutes. What is built on the way goes.
install_wasmtime() {
  [[ ! -x $wasmtime ]] || return 0
  have cargo || die "cargo was not found: run bin/setup, or install Rust"
  say "building wasmtime $wasmtime_version, once"
  mkdir -p "$wasmtime_home"
  # Whoever comes second waits, and finds it.
  exec 9>"$wasmtime_home/.lock" && flock 9
  if [[ ! -x $wasmtime ]]; then
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_STRIP=symbols \
      cargo install --quiet --locked --version "$wasmtime_version" --no-default-features \
      --features run,serve,component-model-async,cranelift,pooling-allocator,parallel-compilation,wat \
      --root "$wasmtime_home" --target-dir "$wasmtime_home/target" wasmtime-cli || die "wasmtime could not be built: see above"
    rm -rf "$wasmtime_home/target"
  fi
  exec 9>&-
}
