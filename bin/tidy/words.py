"""Words that the sources of some rooms do without, in names, documents and comments."""

import re


def complaints(root, words):
    """One for each of them. A name of which such a word is a part only, as `:nobody` in code, is another word."""
    if not words:
        return
    word = re.compile(rf"(?<![\w:.@])(?:{'|'.join(map(re.escape, words['without']))})(?!\w)", re.IGNORECASE)
    for room in words["rooms"]:
        for file in sorted(file for kind in ("*.ex", "*.rs", "*.md") for file in (root / room).rglob(kind)):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                for found in word.finditer(line):
                    yield f"{file.relative_to(root)}:{number}: {found[0]}: say which process, node or caller"
