"""What Python's package index has: compilers, as Zig, which compiles C too, and Go; and packages with components."""

import subprocess
import sys

from .tools import Failure, run


def download(requirement, folder):
    """Puts a package into the folder, with pip, or else with one in a venv of its own."""
    install(folder, requirement)


def download_locked(requirements, folder):
    """Puts all packages of a file of requirements, which has the hashes of their files, into the folder."""
    install(folder, "--require-hashes", "-r", requirements)


def install(folder, *what):
    pip = [sys.executable, "-m", "pip"]
    if not runs(*pip, "--version"):
        if not runs(sys.executable, "-m", "venv", folder / "venv"):
            raise Failure("this python3 has neither pip nor venv: apt-get install python3-venv")
        pip = [folder / "venv/bin/python", "-m", "pip"]
    how = ["--no-deps", "--no-compile", "--only-binary", ":all:", "--root-user-action", "ignore"]
    run(*pip, "--quiet", "--disable-pip-version-check", "install", *how, "--target", folder, *what)


def runs(*command):
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
