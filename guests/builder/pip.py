"""Compilers that Python's package index has: Zig, which compiles C too, and Go."""

import subprocess
import sys

from .tools import Failure, run


def download(requirement, folder):
    """Puts a package into the folder, with pip, or else with one in a venv of its own."""
    pip = [sys.executable, "-m", "pip"]
    if not runs(*pip, "--version"):
        if not runs(sys.executable, "-m", "venv", folder / "venv"):
            raise Failure("this python3 has neither pip nor venv: apt-get install python3-venv")
        pip = [folder / "venv/bin/python", "-m", "pip"]
    how = ["--no-deps", "--no-compile", "--only-binary", ":all:", "--root-user-action", "ignore"]
    run(*pip, "--quiet", "--disable-pip-version-check", "install", *how, "--target", folder, requirement)


def runs(*command):
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
