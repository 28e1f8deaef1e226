"""Who uses whom among Elixir's files.

A file uses another when it names one of its modules, in whatever way but in types and documents: those bring no code along.
"""

import re

from .use import Use

MODULE = re.compile(r"^( *)def(?:module|protocol)\s+([\w.]+)", re.MULTILINE)
ALIAS = re.compile(r"\balias\s+(\w+(?:\.\w+)*)(?:\.\{([^}]*)\})?(?:,\s*as:\s*(\w+))?")
NAME = re.compile(r"(?<![\w.@:&])&?([A-Z]\w*(?:\.[A-Z]\w*)*)")
OWN = re.compile(r"\b__MODULE__(?=\.[A-Z{])")
TYPE = re.compile(r"^( *)@(?:spec|type|typep|opaque|callback|macrocallback)\b[^\n]*\n(?:\1 +[^\n]*\n|\n(?=\1 ))*", re.MULTILINE)
TEXT = re.compile(
    r'~[a-zA-Z]+"""(?:.*?)"""|"""(?:.*?)"""|~[a-zA-Z]+(?:\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|/[^/\n]*/|\|[^|\n]*\||"[^"\n]*")'
    r'|\?\\?.|"(?:\\.|#\{(?:[^{}"]|"(?:\\.|[^"\\])*"|\{[^{}]*\})*\}|[^"\\])*"|#(?!\{)[^\n]*',
    re.DOTALL,
)
# With texts and one level of braces in it.
INTERPOLATION = re.compile(r'#\{((?:[^{}"]|"(?:\\.|[^"\\])*"|\{[^{}]*\})*)\}')


def uses(root):
    """What the files of lib/ use, and those files."""
    texts = {file.relative_to(root): code(file.read_text()) for file in sorted(root.glob("lib/**/*.ex"))}
    modules = {name: file for file, text in texts.items() for name in defined(text)}
    return [use for file, text in texts.items() for use in uses_of(file, text, modules)], list(texts)


def uses_of(file, text, modules):
    text = named(text)
    aliases = {}
    for base, several, name in ALIAS.findall(text):
        first, *rest = base.removeprefix("Elixir.").split(".")
        base = ".".join([aliases.get(first, first), *rest])
        for end in filter(None, re.split(r"[\s,]+", several)) if several else [""]:
            full = f"{base}.{end}" if end else base
            aliases[name or full.rsplit(".", 1)[-1]] = full
    body = ALIAS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for match in NAME.finditer(body):
        first, *rest = match[1].removeprefix("Elixir.").split(".")
        name = ".".join([aliases.get(first, first), *rest])
        if modules.get(name, file) != file:
            yield Use(file, body.count("\n", 0, match.start()) + 1, modules[name], match[1])


def defined(text):
    """Names of the modules of a file; those within others after them."""
    for _at, name in definitions(text):
        yield name


def definitions(text):
    """The same, with where each begins."""
    within = []
    for match in MODULE.finditer(text):
        indent, name = match.groups()
        while within and within[-1][0] >= len(indent):
            within.pop()
        name = f"{within[-1][1]}.{name}" if within else name
        within.append((len(indent), name))
        yield match.start(), name


def named(text):
    """With the name of the module that it is in, or that began last, for each `__MODULE__` that a name follows."""
    begun = list(definitions(text))

    def name(match):
        return next((name for at, name in reversed(begun) if at < match.start()), match[0])

    return OWN.sub(name, text)


def code(text):
    """Without comments, texts and types, each line where it was; what is interpolated is code."""

    def blank(match):
        kept = [it.span(1) for it in INTERPOLATION.finditer(match[0])] if match[0][0] in '"~' else []
        return "".join(
            char if char == "\n" or any(start <= at < end for start, end in kept) else " " for at, char in enumerate(match[0])
        )

    return TYPE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), TEXT.sub(blank, text))
