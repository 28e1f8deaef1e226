"""Holds the sources to their rooms: `python3 bin/tidy [ROOT]`.

It reads which file uses which, in both languages, and fails with a line for each use of a room by another that rooms.toml does
not allow, for each edge of that table that nothing takes any more, for each naming of one of a kind outside of its room, for
each circle of files, for each word that a room does without, for each file that reads numbers and is not told of, and for each crowded folder.
"""

import pathlib
import sys
import tomllib

if __package__ in (None, ""):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    from tidy import digits, elixir, rooms, rust, words
else:
    from . import digits, elixir, rooms, rust, words


def complaints(root, table):
    uses, files = [], []
    for language in (rust, elixir):
        more_uses, more_files = language.uses(root)
        uses += more_uses
        files += more_files
    for folder, allowed in table["house"].items():
        yield from rooms.House(folder, allowed).complaints(uses, files)
    yield from rooms.named(uses, table.get("kinds", {}))
    for group, way in rooms.circles(uses):
        steps = "".join(f"\n  {use.file}:{use.line}: {use.name}, of {use.target}" for use in way)
        yield f"a circle of {len(group)} files, for instance{steps}"
    yield from words.complaints(root, table.get("words"))
    yield from digits.complaints(root, table.get("digits"))
    yield from rooms.crowded(files, table["most_files"], table.get("more_files", {}))


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2])
    table = tomllib.loads((root / "bin/tidy/rooms.toml").read_text())
    found = list(complaints(root, table))
    for complaint in found:
        print(complaint, file=sys.stderr)
    sys.exit(1 if found else 0)


main()
