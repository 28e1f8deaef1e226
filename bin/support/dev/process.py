"""Runs commands such that none of their processes outlives them."""

import ctypes
import os
import pathlib
import signal
import subprocess
import time

# How long a command has to put away what it made before it is killed, in seconds.
GRACE = 1.0
PR_SET_CHILD_SUBREAPER = 36


def adopt():
    """Makes what a command leaves behind a child of this process, which thus finds it: a daemon as well. On Linux."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        pass


def environment(root):
    """The environment that the scripts in bin/ have."""
    own = {name: value for name, value in os.environ.items() if name not in ("MIX_ENV", "MIX_BUILD_PATH", "MIX_TARGET")}
    shared = subprocess.run(
        ["bash", "-c", ". bin/support/common.sh && env -0"], cwd=root, env=own, capture_output=True, text=True, check=True
    )
    return dict(entry.split("=", 1) for entry in shared.stdout.split("\0") if "=" in entry)


def start(check, root, env):
    if check.before:
        subprocess.run([root / check.before], cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return subprocess.Popen(check.command, cwd=root / check.folder, env=env, stdin=subprocess.DEVNULL, process_group=0)


def end(process):
    """Ends a command and all that it has started, and waits until nothing of it is left."""
    if process.poll() is None:
        send(process.pid, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    sweep()
    process.wait()


def sweep():
    """Kills the processes that commands have left, until there are none."""
    while found := descendants(os.getpid()):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap()
        time.sleep(0.01)


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def send(group, what):
    try:
        os.killpg(group, what)
    except ProcessLookupError:
        pass


def descendants(ancestor):
    """Children of a process, and theirs, that still run."""
    parents = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            # The name in brackets may have any characters.
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            parents[int(folder.name)] = int(parent)
    found, last = set(), {ancestor}
    while last:
        last = {pid for pid, parent in parents.items() if parent in last} - found
        found |= last
    return found
