"""bin/guests: which guests are stale, and building those."""

import concurrent.futures
import contextlib
import fcntl
import os
import sys
import threading

from . import tools
from .describe import guests
from .languages import LANES, LANGUAGES
from .tools import TOOLS, Failure, complain, say, shown
from .units import remove_leftovers, units

USAGE = f"""\
Compiles the guests whose sources have changed into guests/build/LANGUAGE/NAME.wasm.

  bin/guests              all of them
  bin/guests rust zig     those in some languages, of: {" ".join(LANGUAGES)}
  bin/guests --list       every module, and whether it is up to date
  bin/guests --keep       those that lie beside their sources, put there as they are built
  bin/guests --help       this text

A guest is a folder in guests/ with a guest.toml; guests/README.md says what that has. One that is `heavy` is
built when TIDEPOOL_LONG is set.

Compilers are fetched when first needed into {shown(TOOLS)}
(TIDEPOOL_GUESTS_TOOLS names another folder). What has to be there already:
  rust                    apt-get and dpkg, on Debian 12 or newer
  zig, c, go, component   pip or venv of this Python
  guests of HTTP          cargo, as Tidepool itself takes it
  assemblyscript, wat     Node.js 18 or newer with npm
  packages                all of these but apt-get and dpkg
"""


def main(arguments):
    """Does what the arguments say; returns the exit status."""
    if arguments and arguments[0] in ("--help", "-h"):
        print(USAGE, end="")
        return 0
    if arguments == ["--list"]:
        return list_all(described())
    if arguments == ["--keep"]:
        return keep(described())
    for name in arguments:
        if name not in LANGUAGES:
            complain(f"no language is called {name}; there are: {' '.join(LANGUAGES)}")
            return 1
    wanted = arguments or list(LANGUAGES)
    if not stale(wanted):
        say("up to date")
        return 0
    # Two runs at once would fetch and build the same things: the second waits, then looks again.
    with lock():
        every = stale(wanted)
        if not every:
            say("up to date")
        return build(every)


def described():
    """The units of all guests; ends the program when a description is wrong."""
    found, wrong = guests()
    for sentence in wrong:
        complain(sentence)
    if wrong:
        sys.exit(1)
    return units(found)


def stale(wanted):
    long = bool(os.environ.get("TIDEPOOL_LONG"))
    every = [unit for unit in described() if unit.language in wanted and (long or not unit.guest.heavy)]
    return [unit for unit in every if not unit.is_fresh()]


def list_all(every):
    for unit in every:
        state = "up to date" if unit.is_fresh() else "to be built"
        for name in unit.modules:
            print(f"{unit.language}/{name}".ljust(40), state)
    return 0


def keep(every):
    """Builds what is kept beside its sources, and puts it there. Returns the exit status."""
    kept = [unit for unit in every if unit.is_kept]
    with lock():
        status = build([unit for unit in kept if not unit.is_fresh()])
    for unit in kept if status == 0 else []:
        unit.keep()
    return status


@contextlib.contextmanager
def lock():
    TOOLS.mkdir(parents=True, exist_ok=True)
    with open(TOOLS / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        tools.inherited.append(file.fileno())
        yield


def build(every):
    """Builds the units, the lanes side by side. Returns the exit status."""
    all_units = described()
    stopping = threading.Event()

    def build_lane(lane):
        """Whether all was built; what fails once in a lane, the compiler that it shares, would fail again."""
        for unit in lane:
            try:
                unit.build()
                remove_leftovers(unit, all_units)
            except (Failure, OSError) as error:
                if not stopping.is_set():
                    report(unit, error)
                return False
            if stopping.is_set():
                return False
        return True

    lanes = [[unit for unit in every if unit.guest.language in lane] for lane in LANES]
    with concurrent.futures.ThreadPoolExecutor(len(lanes)) as executor:
        built = [executor.submit(build_lane, lane) for lane in lanes]
        try:
            return 0 if all([lane.result() for lane in built]) else 1
        except KeyboardInterrupt:
            stopping.set()
            raise


def report(unit, error):
    output = error.output if isinstance(error, Failure) else ""
    said = f"{error}; it says why above" if output else str(error)
    complain(f"{unit.title} could not be built from {shown(unit.guest.folder)}: {said}", output)
