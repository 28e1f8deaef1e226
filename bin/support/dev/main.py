"""bin/dev: the tests that belong to what has changed, once or after each change."""

import collections
import signal
import sys
import time

from . import process
from .changes import NoCommit, Watch, since, tree
from .checks import ROOT, commands, left, slow_tests
from .table import checks_of

USAGE = """\
Runs the tests that belong to what has changed, and says why it runs which.

  bin/dev                 what differs from the last commit, files that git does not know yet among them
  bin/dev --since REF     what differs from another commit, such as main
  bin/dev --watch         then waits for changes, and runs what belongs to them, until Ctrl-C
  bin/dev --list          says what it would run, and runs nothing
  bin/dev --left          what it leaves to bin/test, for that takes many minutes, and runs nothing
  bin/dev --table         each file of the tree with the kinds of checks that belong to it
  bin/dev --help          this text

Exit status 0 says that all passed. Before a commit: bin/test. What takes many minutes (releases, setting up) is named in the end and left to
it.

With --watch a check that a change belongs to is ended and run again; others run on. What failed is run again after the next change,
whatever that is. Changes are seen by the dates of files, twice a second.

Rust is built in native/target/dev with the settings of native/dev.toml, which compile an edit in a fraction of the time; what
ships is not touched by it. `mix test --stale` runs all tests the first time.
"""

# How often files are looked at, and for how long nothing has to change before a round begins, in seconds.
PAUSE = 0.5
QUIET = 0.3


class Failed(Exception):
    """A sentence for the user."""


def say(text):
    print(f"dev: {text}", flush=True)


def main(arguments):
    """Does what the arguments say; returns the exit status."""
    commit, watching, listing, leaving = "HEAD", False, False, False
    words = collections.deque(arguments)
    while words:
        match words.popleft():
            case "--help" | "-h":
                print(USAGE, end="")
                return 0
            case "--table":
                return print_table()
            case "--watch":
                watching = True
            case "--list":
                listing = True
            case "--left":
                leaving = True
            case "--since" if words:
                commit = words.popleft()
            case _:
                print(USAGE, end="", file=sys.stderr)
                return 2
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    process.adopt()
    try:
        if leaving:
            return print_left(since(commit))
        watch = Watch() if watching else None
        return Rounds(since(commit), watch, listing).run()
    except NoCommit as error:
        print(f"dev: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
        return 130
    finally:
        # A second Ctrl-C changes nothing: what is being ended is ended.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        process.sweep()


def print_table():
    """Status 1 says that a file has no line."""
    forgotten = 0
    for path in tree():
        checks = checks_of(path)
        forgotten += checks is None
        kinds = "FORGOTTEN" if checks is None else " ".join(sorted({kind for kind, _ in checks})) or "nothing"
        print(f"{path}: {kinds}")
    return 1 if forgotten else 0


def print_left(changed):
    """The checks of bin/test, and the files of slow tests, that belong to files: `step NAME` or `slow FILE` a line."""
    asked = {pair for path in changed for pair in checks_of(path) or []}
    steps = {argument for kind, argument in asked if kind == "left"} | {kind for kind, _ in asked} & {"bench", "model", "smith"}
    for step in sorted(steps):
        print(f"step {step}")
    for file in slow_tests(changed):
        print(f"slow {file}")
    return 0


class Rounds:
    """What is to be run, and what came of it."""

    def __init__(self, changed, watch, listing):
        self.watch = watch
        self.listing = listing
        self.env = None
        # Files whose checks have not passed since they changed.
        self.open = set()
        self.take(changed)

    def take(self, changed):
        """Adds files that have changed."""
        if not changed:
            say("nothing has changed")
            return
        say(f"{len(changed)} changed: {', '.join(changed[:8])}{' …' if len(changed) > 8 else ''}")
        for path in changed:
            if checks_of(path) is None:
                say(f"{path} has no line in bin/support/dev/table.py, so nothing is run for it")
            else:
                self.open.add(path)

    def asked(self, paths=None):
        return {pair for path in (self.open if paths is None else paths) for pair in checks_of(path) or []}

    def why(self, check):
        """The files that a check belongs to."""
        return [path for path in sorted(self.open) if self.concerns(check, [path])]

    def concerns(self, check, paths):
        return check.name in {each.name for each in commands(self.asked(paths))}

    def run(self):
        passed = self.round()
        while self.watch:
            say("waiting for changes; Ctrl-C ends it")
            self.take(self.wait())
            passed = self.round()
        return 0 if passed else 1

    def wait(self):
        changed = set()
        while not (changed := set(self.watch.changed())):
            time.sleep(PAUSE)
        return self.settle(changed)

    def settle(self, changed):
        """Waits until the files rest: editors and git write many at once."""
        while True:
            time.sleep(QUIET)
            if not (more := self.watch.changed()):
                return sorted(changed)
            changed.update(more)

    def round(self):
        """Runs what is open; whether all of it has passed."""
        began = time.monotonic()
        outcomes = {}
        while check := self.next(outcomes):
            reasons = self.why(check)
            say(f"{check.name}, for {', '.join(reasons[:4])}{' …' if len(reasons) > 4 else ''}")
            print(f"  {check.shown()}", flush=True)
            if self.listing:
                outcomes[check] = ("listed", 0)
                continue
            start = time.monotonic()
            outcome, changed = self.run_one(check)
            if outcome != "again":
                outcomes[check] = (outcome, time.monotonic() - start)
            # What has passed is asked again when one of its files has changed.
            outcomes = {each: value for each, value in outcomes.items() if not self.concerns(each, changed)}
        waits = left(self.asked()) + (["bin/test slow"] if slow_tests(self.open) else [])
        passed = all(outcome == "ok" for outcome, _ in outcomes.values())
        if not self.listing:
            self.summary(outcomes, time.monotonic() - began)
            failed = [check for check, (outcome, _) in outcomes.items() if outcome != "ok"]
            self.open = {path for path in self.open if any(self.concerns(check, [path]) for check in failed)}
        if waits:
            say(f"left, for it takes many minutes: {', '.join(waits)}")
        return passed or self.listing

    def next(self, outcomes):
        return next((check for check in commands(self.asked()) if check not in outcomes), None)

    def run_one(self, check):
        """The outcome, and what changed meanwhile; `again` when this belongs to the check, which was ended for it."""
        self.env = self.env or process.environment(ROOT)
        try:
            running = process.start(check, ROOT, self.env)
        except OSError as error:
            say(f"{check.command[0]} could not be started: {error.strerror}; bin/setup --test installs what is missing")
            return "FAILED", []
        changed = set()
        try:
            looked = time.monotonic()
            while (status := running.poll()) is None:
                time.sleep(0.05)
                if self.watch and time.monotonic() - looked > PAUSE:
                    looked = time.monotonic()
                    if more := self.watch.changed():
                        more = self.settle(set(more))
                        changed.update(more)
                        self.take(more)
                        if self.concerns(check, more):
                            say(f"{check.name} begins anew")
                            return "again", changed
            return ("ok" if status == 0 else "FAILED"), changed
        finally:
            process.end(running)

    def summary(self, outcomes, seconds):
        if not outcomes:
            say("there is no check to run")
            return
        print("\n=== summary ===")
        for check, (outcome, took) in outcomes.items():
            print(f"{check.name:<24} {duration(took):>6}  {outcome}")
        print(f"{'all':<24} {duration(seconds):>6}", flush=True)


def duration(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
