"""The benches: which there are, what each measures, and how it is run here."""

import itertools
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
RUN = BENCH / "run"


class Bench:
    """One bench: its file, and what the head of that says. README.md beside this folder has the lines of a head."""

    def __init__(self, path, head):
        self.path = path
        self.name = path.parent.name if path.name == "run" else path.stem
        self.measures = note(head, "Measures")
        self.needs = (note(head, "Needs") or "").replace(",", " ").split()
        self.builds = (note(head, "Builds") or "").split()
        self.args = (note(head, "bench/all runs it with") or "").split()
        self.left_out = note(head, "bench/all leaves it out")

    def head(self):
        """The comment that its file begins with, as text."""
        lines = self.path.read_text().splitlines()
        lines = lines[1:] if lines[0].startswith("#!") else lines
        return "".join(f"{line[1:].strip()}\n" for line in itertools.takewhile(lambda line: line.startswith("#"), lines))

    @property
    def program(self):
        """Whether it is a program of its own, and no script for Mix."""
        return self.path.suffix != ".exs"


def note(head, key):
    found = re.search(rf"^\W*{key}: (.*)$", head, re.MULTILINE)
    return found[1] if found else None


def benches():
    """All of them by name: bench/NAME.exs, bench/NAME/NAME.exs and bench/NAME/run whose heads say what they measure."""
    paths = [*BENCH.glob("*.exs"), *BENCH.glob("*/run")]
    paths += [path for path in BENCH.glob("*/*.exs") if path.stem == path.parent.name]
    found = {}
    for path in paths:
        bench = Bench(path, path.read_text(errors="replace")[:4000])
        if bench.measures:
            found[bench.name] = bench
    return dict(sorted(found.items()))


def listed(found):
    """A line for each, as text."""
    width = max(map(len, found), default=0)
    return "".join(f"  {name:<{width}}  {bench.measures}\n" for name, bench in found.items())


def must_be_there(names, found):
    """Ends the program with status 2, and the list, unless there are benches of these names."""
    unknown = sorted(set(names) - set(found))
    if unknown:
        sys.stderr.write(f"there is no bench called {', '.join(unknown)}; there are:\n{listed(found)}")
        sys.exit(2)
