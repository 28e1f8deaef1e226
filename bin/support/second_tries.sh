# Second tries of single tests, alone, when all else is over; sourced by bin/test. A machine that others use may fail a test
# for want of time: one that then passes is named, and counted. shellcheck shell=bash

# So many may be tried again in all, for more of them are a cause of their own.
most_second_tries=3

# What must hold each time: durability, linearizability, isolation and limits. Elixir's by file, Rust's by program and module. Not among
# them are files with limits of a second or drains, beside which a machine may stand still: deploy/restart, request_limits, edge/shares.
strict_tests='^test/cluster/(actors|histories|other_stores|outside|replicated|replicated_histories|replicated_members|seven_voters|transfer)_test'
strict_tests+='|^test/fault/(actor_|chat_kills|deploy_faults|full_disk|hostile_guests|isolation|memory|sigkill)'
strict_tests+='|^test/fault/cluster/(killed_nodes|ordeal|partition|return)_test'
strict_tests+='|^test/tidepool/(data|limits|namespaces|records|function/bounds|keyvalue/actors)_test|^test/fuzz/'
strict_tests+='|^test/tidepool/(actor/archive|actor/differing|actor/frozen|actor/output_gate|actor/quota|catalog/log|catalog/record|catalog/store|data/damaged_folder|data/kept)_test'
strict_tests+='|^test/tidepool_web/(deploy_shares|namespaces)_test'
strict_tests+='|^core/(caps|differential|image_changes|images|limits|namespaces|components::limits)::'
strict_tests+='|^edge/(namespaces|overload)::|^histories/|^tidepool_records_units/replicated::'
strict_tests+='|^records/(alarms|disk|gone|log|members|model|moving|returns|several|shared|survives|voters)::'

# The tests that failed, by a step's log, one a line: `test/a_test.exs:12` of Elixir's, `PROGRAM/NAME` of Rust's. Fails when
# something else went wrong, too, or may have: each failure that the log counts has to be named in it. Of `embed` and `browser` none
# is tried again: so few tests have not failed for want of time yet.
tests_that_failed() {
  case $1 in
    elixir | slow | release | ship) elixir_tests_that_failed "$2" ;;
    rust) rust_tests_that_failed "$2" ;;
    *) return 1 ;;
  esac
}

elixir_tests_that_failed() {
  awk '
    headed && /^     test\/.*\.exs:[0-9]+$/ {print $1; named++}
    # Which are errors, but of the files that warn.
    /^[.*?]* *warning: / {invalid++}
    {headed = /^ +[0-9]+\) (test|property|doctest) .*\)$/}
    /^[0-9]+ (doctest|propert|test).* failures?/ {
      totals++
      invalid += /invalid/
      for (at = 2; at <= NF; at++) if ($at ~ /^failures?/) failures += $(at - 1)
    }
    END {exit !(totals == 1 && !invalid && failures > 0 && failures == named)}
  ' "$1"
}

# Cargo names each program whose tests failed: one that a signal ended has no result.
rust_tests_that_failed() {
  awk '
    /^     Running .*\/deps\// {program = $NF; sub(/^.*\/deps\//, "", program); sub(/-[0-9a-f]+\)$/, "", program)}
    /^   Doc-tests / {program = "doc"}
    /^---- .* stdout ----$/ {print program "/" $2; named++; others += program == ""}
    /^test result: FAILED/ {results++; for (at = 2; at <= NF; at++) if ($at ~ /^failed/) failures += $(at - 1)}
    /^    `.*`$/ {programs++}
    /process didn.t exit successfully/ {others++}
    /^error(\[E[0-9]+\])?: / && !/ targets? failed:$|: test failed, to rerun pass / {others++}
    END {exit !(!others && failures > 0 && failures == named && results == programs)}
  ' "$1"
}

# Tries a step's tests again; their names are on standard input. Passes when as many as were named have passed.
second_try() {
  local names name
  mapfile -t names
  leave_target
  export TMPDIR=$passing/$1
  case $1 in
    rust) rust_tests --exact --test-threads 1 "${names[@]#*/}" ;;
    # Before Elixir 1.15 a line is taken of one file alone.
    *) for name in "${names[@]}"; do long_test --max-cases 1 "$name" || return; done ;;
  esac >"$2.again" 2>&1 && (($(tests_that_passed "$2.again") >= ${#names[@]}))
}

# How many tests ran and passed, by what both runners say at the end.
tests_that_passed() {
  awk '
    /^test result: ok/ {for (at = 2; at <= NF; at++) if ($at ~ /^passed/) passed += $(at - 1)}
    /^[0-9]+ (doctest|propert|test).* failures?/ {
      for (at = 2; at <= NF; at++) {
        if ($at ~ /^(doctest|propert|test)/) passed += $(at - 1)
        if ($at ~ /^(failures?|excluded|skipped|invalid)/) passed -= $(at - 1)
      }
    }
    END {print passed + 0}
  ' "$1"
}

# A second try as a job: it ends with its minutes, and with bin/test.
try_alone() {
  local job outcome=0
  set -m
  second_try "$1" "$logs/$1" <"$logs/$1.tests" &
  job=$!
  { leave_folders; sleep "${step_minutes}m" && kill -KILL -- "-$job"; } &
  watch_of[$job]=$!
  set +m
  running=("$job")
  # The deadline of all ends the wait alone.
  wait "$job" || outcome=$?
  [[ -z $late ]] || end_group "$job"
  running=()
  end_watch "$job"
  return "$outcome"
}

# When all that failed are tests that may have had no time, they are tried again, now that nothing else takes from them.
flaky=()
try_again() {
  local step test tests=() left=()
  for step in "${failed[@]}"; do
    [[ $step:${status_of[$step]:-} == @(rust:101|elixir:2|slow:2|release:2|ship:2) ]] || return 0
    tests_that_failed "$step" "$logs/$step" >"$logs/$step.tests" || return 0
    mapfile -t -O "${#tests[@]}" tests <"$logs/$step.tests"
  done
  ((${#tests[@]} <= most_second_tries)) || return 0
  ! printf '%s\n' "${tests[@]}" | grep -q -E "$strict_tests" || return 0
  for step in "${failed[@]}"; do
    if [[ -n $late ]]; then
      left+=("$step")
      continue
    fi
    printf '\n=== %s: a second try of %s ===\n' "$step" "$(paste -s -d ' ' "$logs/$step.tests")"
    if ! try_alone "$step"; then
      [[ -z $late ]] || printf 'test: all checks together have run for %s minutes: the second try is ended\n' "$all_minutes"
      cat "$logs/$step.again"
      left+=("$step")
      continue
    fi
    state[$step]=flaky
    while read -r test; do flaky+=("FLAKY $test seed $seed"); done <"$logs/$step.tests"
  done
  failed=(${left[@]+"${left[@]}"})
}
