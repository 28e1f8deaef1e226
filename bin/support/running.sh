# Runs steps, some at a time, each with a deadline, and says what came of them; sourced by bin/test. shellcheck shell=bash
#
# Whoever sources it says which: `wanted` has their names in order, `after` what has to be over before each, `slots` how many run at
# a time, `step_minutes` how long one of them may take and `all_minutes` all together. A step is a function `step_NAME`.

# What runs that were killed have left goes: of such a folder nobody has the lock, neither the run nor what it has started.
for left in "${TMPDIR:-/tmp}"/t.????; do
  [[ -O $left/lock && -s $left/lock ]] || continue
  flock -n "$left/lock" rm -rf --one-file-system "$left" 2>/dev/null || true
done
# What steps leave in the folder for what is passing goes with it. Short, as paths of sockets have to be, and open to others, as whom
# some things run.
passing=$(mktemp -d "${TMPDIR:-/tmp}/t.XXXX")
chmod 755 "$passing"
trap clean EXIT
exec {passing_lock}>"$passing/lock"
flock "$passing_lock"
# Nobody looks at it while it is empty.
echo $$ >&"$passing_lock"
logs=$passing/logs
mkdir -m 700 "$logs"
trap 'exit 130' INT TERM
declare -A state=() began=() took=() step_of=() status_of=() watch_of=() follower_of=()
running=()
failed=()
start=$SECONDS
# Set when all together have taken too long.
late=
# So many tests that measure may have to do so more than once: more of them are a cause of their own.
most_again=10

# Runs all that are wanted; `failed` has the names of those that did not pass. The deadline for all together goes on until `conclude`.
run_steps() {
  local step minutes
  for minutes in "$step_minutes" "$all_minutes"; do
    [[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "$minutes is no number of minutes"
  done
  trap 'late=1' ALRM
  set -m
  { leave_folders; sleep "${all_minutes}m" && kill -ALRM $$; } &
  watch_of[all]=$!
  set +m
  while [[ -z $late ]]; do
    for step in "${wanted[@]}"; do
      [[ -z ${state[$step]:-} && ${#running[@]} -lt $slots ]] || continue
      if may_begin "$step"; then begin "$step"; fi
    done
    [[ ${#running[@]} -gt 0 ]] || break
    await
  done
  [[ -z $late ]] || give_up
}

# May the step begin? Its state is `blocked` when what it needs has failed: there is nothing that it could check then.
may_begin() {
  local before
  for before in ${after[$1]:-}; do
    [[ " ${wanted[*]} " == *" $before "* ]] || continue
    case ${state[$before]:-} in
      ok) ;;
      FAILED | blocked) state[$1]=blocked; return 1 ;;
      *) return 1 ;;
    esac
  done
}

# Begins a step, in a process group of its own, which ends as a whole.
begin() {
  local step=$1 job
  state[$step]=running
  began[$step]=$SECONDS
  printf '=== %s begins at %s ===\n' "$step" "$(duration $((SECONDS - start)))"
  # There before who follows it looks.
  : >"$logs/$step"
  set -m
  timed "$step" >>"$logs/$step" 2>&1 &
  job=$!
  { leave_folders; sleep "${step_minutes}m" && hung "$step" "$job" "$step_minutes"; } &
  watch_of[$job]=$!
  set +m
  follow "$step" "$job"
  step_of[$job]=$step
  running+=("$job")
}

# Shows what a step says as it says it, with its name where others run beside it. By way of the file: what a step has started may
# go on after it, and would keep a pipe open.
follow() {
  local name=
  ((slots == 1)) || name="$1: "
  tail -n +1 -s 0.05 -f --pid="$2" "$logs/$1" 2>/dev/null | sed -u "s/^/$name/" &
  follower_of[$2]=$!
}

# Does a step, and notes what it took of the cores: its own processes' user and system time, as Bash tells them.
timed() {
  # shellcheck disable=SC2064 # the step of now
  trap "times >'$logs/$1.cores'" EXIT
  leave_target
  export TMPDIR=$passing/$1
  mkdir -m 1777 "$TMPDIR"
  "step_$1"
}

# Waits for a step to end, and tells how it went.
await() {
  local job='' outcome=ok status=0
  [[ -z $late ]] || return 0
  wait -n -p job "${running[@]}" 2>/dev/null || { status=$?; outcome=FAILED; }
  [[ -z $late ]] || return 0
  # A job that a signal has ended while Bash did something else is forgotten: it is the one that is gone.
  [[ -n ${job:-} ]] || for job in "${running[@]}"; do kill -0 "$job" 2>/dev/null || break; done
  status_of[${step_of[$job]}]=$status
  over "$job" "$outcome"
}

# Notes the end of a step's job. What it has started may go on, unless it failed.
over() {
  local job=$1 outcome=$2 step=${step_of[$1]} others=() other
  for other in "${running[@]}"; do [[ $other == "$job" ]] || others+=("$other"); done
  running=(${others[@]+"${others[@]}"})
  end_watch "$job"
  state[$step]=$outcome
  took[$step]=$((SECONDS - began[$step]))
  if [[ $outcome != ok ]]; then
    failed+=("$step")
    end_group "$job"
  fi
  wait "${follower_of[$job]}" 2>/dev/null || true
  unset "follower_of[$job]"
  printf '=== %s: %s after %s ===\n' "$step" "$outcome" "$(duration "${took[$step]}")"
}

# What waits for minutes keeps neither folder from others when this script was killed.
leave_folders() {
  leave_target
  exec {passing_lock}>&-
}

# Not by TERM: what comes while a shell sets its traps is lost, and it would wait on for its minutes.
end_watch() {
  { kill -KILL -- "-${watch_of[$1]}"; wait "${watch_of[$1]}"; } 2>/dev/null || true
  unset "watch_of[$1]"
}

# Says what runs in a step that has taken too long, and where it waits.
say_what_runs() {
  local processes
  processes=$(ps --forest -o pid,etimes,stat,wchan:20,args -p "$(pgrep -d, -g "$2")" 2>&1 | cut -c 1-200) || true
  printf '\ntest: %s has run for %s minutes: it is ended. It ran\n%s\n' "$1" "$3" "$processes" >>"$logs/$1"
}

# Ends a step that has run for too long. Whoever waits for the step sees to what does not end.
hung() {
  say_what_runs "$1" "$2" "$3"
  kill -TERM -- "-$2" 2>/dev/null || true
  sleep 10
  kill -KILL -- "-$2" 2>/dev/null || true
}

# Ends all that still run, as failed.
give_up() {
  local job
  printf 'test: all checks together have run for %s minutes: what still runs is ended\n' "$all_minutes"
  for job in ${running[@]+"${running[@]}"}; do
    say_what_runs "${step_of[$job]}" "$job" $(((SECONDS - began[${step_of[$job]}]) / 60))
    end_group "$job"
    wait "$job" 2>/dev/null || true
    over "$job" FAILED
  done
}

# Ends a process group: in order, if it does so within ten seconds.
end_group() {
  kill -TERM -- "-$1" 2>/dev/null || return 0
  for _ in {1..100}; do
    kill -0 -- "-$1" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL -- "-$1" 2>/dev/null || true
}

# Ends what still runs. Most of it has ended by now, which must not become the exit status.
clean() {
  local job
  trap '' INT TERM ALRM
  for job in ${running[@]+"${running[@]}"}; do kill -TERM -- "-$job" 2>/dev/null || true; done
  for job in ${running[@]+"${running[@]}"}; do end_group "$job"; done
  for job in ${watch_of[@]+"${watch_of[@]}"}; do kill -KILL -- "-$job" 2>/dev/null || true; done
  drop_target
  rm -rf --one-file-system "$passing"
}

duration() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# A step's time on the cores, in whole minutes and seconds; nothing of one that was ended.
on_cores() {
  [[ ! -e $logs/$1.cores ]] ||
    tail -n 1 "$logs/$1.cores" | sed -E 's/([0-9]+)m([0-9]+)[.,][0-9]+s/\1 \2/g' |
      while read -r user_m user_s system_m system_s; do
        duration $((10#$user_m * 60 + 10#$user_s + 10#$system_m * 60 + 10#$system_s))
      done
}

# How ExUnit and cargo head what they say of a test that failed.
failed_test='^ +[0-9]+\) |^---- .* stdout ----$'

# The tests that failed and what they said, but not what was logged, once more where somebody who sees just the end of a log
# finds them; the end of it, if no test did.
failures() {
  local found
  found=$(grep -a -E --max-count 5 --after-context 24 "$failed_test" "$1" |
    begins=$failed_test awk '$0 ~ ENVIRON["begins"] {logged = 0} /The following output was logged/ {logged = 1} !logged') ||
    found=$(tail -n 40 "$1")
  printf '%s\n' "$found"
}

# What tests said of themselves, each step with its time and its time on the cores, and what has to be seen of those that failed.
# Its status is that of all.
conclude() {
  local step named again=0 unrun=()
  [[ -n $late ]] || end_watch all
  printf '\n=== closing lines ===\n'
  for step in "${wanted[@]}"; do
    [[ -e $logs/$step ]] || continue
    again=$((again + $(grep -a -c '^AGAIN ' "$logs/$step" || true)))
    sed -n -E \
      -e "/^test result: |^[0-9]+ (doctests?|propert|tests?).*failures?/s/^/$step: /p" \
      -e "/^Top .* slowest/,/^$/s/^/$step: /p" \
      -e "/^(AGAIN|SHORT) /s/^/$step: /p" "$logs/$step"
  done
  printf '\n=== summary ===\n'
  for step in "${wanted[@]}"; do
    case ${state[$step]:-} in
      "") printf '%-10s %6s %8s  not begun\n' "$step" - - ;;
      blocked) printf '%-10s %6s %8s  not run: what it needs has failed\n' "$step" - - ;;
      *) printf '%-10s %6s %8s  %s\n' "$step" "$(duration "${took[$step]}")" "$(on_cores "$step")" "${state[$step]}" ;;
    esac
  done
  printf '%-10s %6s\n' "all" "$(duration $((SECONDS - start)))"
  ((${#flaky[@]} + again == 0)) || printf '%s\n' "${#flaky[@]} FLAKY, $again AGAIN" ${flaky[@]+"${flaky[@]}"}
  # What was not run has not passed.
  for step in "${wanted[@]}"; do [[ ${state[$step]:-} == @(ok|flaky|FAILED) ]] || unrun+=("$step"); done
  if [[ -z $late && ${#failed[@]} -eq 0 && ${#unrun[@]} -eq 0 ]]; then
    ((again > most_again)) || return 0
    printf '\nFAILED: %s tests that measure had to do so again, and %s may\n' "$again" "$most_again"
    return 1
  fi
  for step in ${failed[@]+"${failed[@]}"}; do
    printf '\n=== what failed in %s ===\n' "$step"
    failures "$logs/$step"
  done
  printf '\n=== tests that failed, or the end of what a check said without one ===\n'
  for step in ${failed[@]+"${failed[@]}"}; do
    named=$(grep -a -E --max-count 20 "$failed_test" "$logs/$step") || named=$(tail -n 12 "$logs/$step")
    printf '%s\n' "$named" | sed "s/^/$step: /"
  done
  printf '\nFAILED: %s\n' "${failed[*]-}"
  return 1
}
