# The folder in which a CI machine builds Rust for all its checkouts; sourced by bin/test. shellcheck shell=bash
#
# Cargo compares dates: what is older than the program that was made of it is not compiled again. In a new checkout every file is
# of today. So each run notes at its end what its files had in them and which dates, and the next one gives these dates to those that
# are still the same. Nothing is believed when anybody else has built there since, or a run was ended before its end.

# The files that Rust is compiled from, of all checkouts.
sources=(native guests docs/cli.md)
# So many GiB may be kept for the next run, in $cache and there.
most_gib=8

# Takes the folder until this script ends; one beside it, for this run alone, while another run has it.
take_target() {
  local shared=$CARGO_TARGET_DIR folder
  for folder in "$shared" "$shared-2" "$shared-3"; do
    mkdir -p "$folder"
    exec {target_lock}>"$folder.lock"
    if flock -n "$target_lock"; then
      export CARGO_TARGET_DIR=$folder
      if [[ $folder == "$shared" ]]; then
        drop_left "$shared"
        make_room
      else
        passing_target=$folder
      fi
      date_sources
      return
    fi
    exec {target_lock}>&-
  done
  die "three runs build already: wait for one of them"
}

# Removes what runs beside another have left that were killed: nobody has their locks.
drop_left() {
  local folder
  for folder in "$1-2" "$1-3"; do
    [[ ! -d $folder ]] || flock -n "$folder.lock" rm -rf --one-file-system "$folder" || true
  done
}

# Removes what nobody has read for the longest, until there is no more than may be. Cargo builds again what it does not find. Not of
# folders that are for one run alone: they go with it.
make_room() {
  local kept days
  too_much || return 0
  for kept in "$cache"/guests/{npm,packages,encoder}-*; do
    [[ -d $kept && -z $(find "$kept" -type f -atime -30 -print -quit) ]] || continue
    # Whoever builds guests has the lock.
    flock -n "$cache/guests/lock" rm -rf "$kept" || true
  done
  # Most systems note once a day that a file was read.
  for days in 30 7 3 1; do
    too_much || return 0
    find "$CARGO_TARGET_DIR" -path '*/deps/*' -type f -atime "+$days" -delete
  done
  too_much || return 0
  outlived | xargs -0 -r rm -f
  too_much || return 0
  # Copies of programs for as long as a run takes, and pages: they cost less to make than what clippy has of all crates.
  rm -rf "$CARGO_TARGET_DIR"/release/kept "$CARGO_TARGET_DIR"/doc
  too_much || return 0
  rm -rf "$CARGO_TARGET_DIR"/{clippy,dev}
  ! too_much || find "$CARGO_TARGET_DIR" -mindepth 1 -delete
}

# What Cargo has made again, six hours or more after it, under the same name with another hash: for another Cargo.lock, or with other
# settings.
outlived() {
  find "$CARGO_TARGET_DIR" -path '*/deps/*' -type f -printf '%T@\t%f\t%h\0' | sort -z -rn |
    awk -v RS='\0' -v ORS='\0' -F '\t' '{ name = $2; sub(/-[0-9a-f]+/, "", name); if (!(($3, name) in newest)) newest[$3, name] = $1
      if (newest[$3, name] - $1 > 21600) print $3 "/" $2 }'
}

too_much() { (($(du -sc --block-size=1G --exclude='target-[23]' "$cache" "$CARGO_TARGET_DIR" | tail -n 1 | cut -f 1) > most_gib)); }

# What steps start may stay when this script is over, and must not have the folder then.
leave_target() { [[ -z ${target_lock:-} ]] || exec {target_lock}>&-; }

# Their names, each with a zero behind it.
each_source() { find "${sources[@]}" -type f -not -path '*/target/*' -not -path 'guests/build/*' -print0 2>/dev/null || true; }

# Their hashes and names, as sha256sum writes them.
hash_sources() { each_source | xargs -0 -r sha256sum; }

# Gives each file the date of what was built of it, or that of now.
date_sources() {
  local noted=$CARGO_TARGET_DIR/sources
  each_source | xargs -0 -r touch
  if [[ -e $noted ]] && [[ -z $(find "$CARGO_TARGET_DIR" -path '*/.fingerprint/*' -name invoked.timestamp -newer "$noted" -print -quit) ]]; then
    # Each line of what was noted begins with the date.
    LC_ALL=C join -t $'\t' -1 2 -2 1 -o 1.1,1.2 \
      <(sed -E 's/ /\t/' "$noted" | LC_ALL=C sort -t $'\t' -k 2) <(hash_sources | LC_ALL=C sort) |
      while IFS=$'\t' read -r date file; do touch -d "@$date" "${file:66}"; done
  fi
  rm -f "$noted"
}

# Notes what has been built of what, when nothing builds any more.
note_sources() {
  local new=$CARGO_TARGET_DIR/sources.new
  hash_sources | while IFS= read -r line; do printf '%s %s\n' "$(stat -c %.9Y "${line:66}")" "$line"; done >"$new"
  mv "$new" "$CARGO_TARGET_DIR/sources"
}

# Removes a folder that was for this run alone.
drop_target() { [[ -z ${passing_target:-} ]] || rm -rf "$passing_target" "$passing_target.lock"; }
