"""What the recipes share: folders, what is printed, running a compiler, fetching one."""

import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUESTS = ROOT / "guests"
BUILD = GUESTS / "build"

# Lines of compilers that run side by side stay together.
_printing = threading.Lock()
# Descriptors that programs inherit: whoever waits for the lock waits for compilers whose builder was killed, too.
inherited = []


class Failure(Exception):
    """What kept a guest from being built, as a sentence; `output` is what the program has said that failed."""

    def __init__(self, sentence, output=""):
        super().__init__(sentence)
        self.output = output


def folder_of_tools():
    """A checkout keeps its compilers to itself; a CI machine fetches them once for all its checkouts."""
    if named := os.environ.get("TIDEPOOL_GUESTS_TOOLS"):
        return pathlib.Path(named).absolute()
    if os.environ.get("CI"):
        cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        return pathlib.Path(cache).absolute() / "tidepool" / "guests"
    return ROOT / "_build" / "guests"


TOOLS = folder_of_tools()
# What was built stays in a checkout; a CI machine keeps it for the next one.
SHARED = TOOLS / "built" if os.environ.get("CI") else None


def shown(path):
    """A path as messages have it: that in the project, if it is there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def say(text):
    with _printing:
        print(f"guests: {text}", flush=True)


def complain(text, output=""):
    """An error, after what the program has said that failed."""
    with _printing:
        sys.stdout.flush()
        print(f"{ended(output)}guests: {text}", file=sys.stderr, flush=True)


def ended(output):
    return output if not output or output.endswith("\n") else output + "\n"


def have(*programs):
    return all(map(shutil.which, programs))


def run(*command, folder=None, env=None, heard=True):
    """Runs a program to its end, and passes on what it says, if that is to be `heard`.

    Raises `Failure` with that, if its status is another than 0.
    """
    command = [str(word) for word in command]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(os.environ, **{name: str(value) for name, value in (env or {}).items()}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=inherited,
        )
    except OSError as error:
        raise Failure(f"{command[0]} can't be run: {error.strerror}") from error
    if done.returncode != 0:
        raise Failure(f"{pathlib.Path(command[0]).name} ended with status {done.returncode}", done.stdout)
    if done.stdout and heard:
        with _printing:
            print(ended(done.stdout), end="", file=sys.stderr, flush=True)


# Seconds before what could not be fetched is asked for again.
PAUSES = (2, 10)


def once(folder, what, fetch, pauses=PAUSES):
    """Makes the folder by `fetch(NEW)`, whole or not at all, unless it is there; after each of the pauses once more. Raises `Failure`."""
    if folder.exists():
        return
    say(f"fetching {what} into {shown(folder)}")
    new = folder.with_name(folder.name + ".new")
    for pause in (*pauses, None):
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            fetch(new)
            break
        except Failure as failure:
            shutil.rmtree(new, ignore_errors=True)
            if pause is None:
                raise Failure(f"fetching {what} failed, {failure}; try again", failure.output) from failure
            say(f"fetching {what} failed, {failure}: once more in {pause} s")
            time.sleep(pause)
    new.rename(folder)
