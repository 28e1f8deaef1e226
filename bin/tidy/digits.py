"""Where texts are read as numbers, of which the VM reads each in one go, however long it is."""

import re

from . import elixir


def complaints(root, digits):
    """One for each file of lib/ that reads any and is not told of, and for each that is and reads none."""
    if not digits:
        return
    reads = re.compile("|".join(rf"(?<![\w.]){re.escape(name)}\b" for name in digits["read_by"]))
    files = digits["files"]
    for path in sorted(root.glob("lib/**/*.ex")):
        file = str(path.relative_to(root))
        text = elixir.code(path.read_text())
        found = reads.search(text)
        if found and file not in files:
            line = text.count("\n", 0, found.start()) + 1
            yield f"{file}:{line}: {found[0]}: have Tidepool.Options.read/2 read numbers, which bounds their digits"
    for file in files:
        path = root / file
        if not path.exists() or not reads.search(elixir.code(path.read_text())):
            yield f"rooms.toml: digits: {file} reads no numbers"
