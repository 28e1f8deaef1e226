"""Who uses whom among the files of a Rust crate.

A file uses another when one of its paths (`crate::…`, `super::…`, a child module's or an imported one's) leads to an item that
stands there, through whatever re-exports. A re-export of what is within the same folder is no use: it names what that has. Tests are
left out.
"""

import re

from .use import Use

# Whichever begins first: either may have the beginning of the other in it.
NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"' + r"|'(?:\\.[^']*|[^'\\])'", re.DOTALL)
TESTS = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*([;{])")
IMPORT = re.compile(r"(\bpub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);")
PATH = re.compile(r"(?<![\w:])(\w+)((?:::\w+)+)")
ITEM = re.compile(
    r"\b(?:struct|enum|union|fn|const|static|type|trait|mod|macro_rules!)\s+(?:mut\s+)?(\w+)",
)
CHILD = re.compile(r"\bmod\s+(\w+)\s*;")
# Where a module's file is, if it is elsewhere.
PLACE = re.compile(r'#\[path\s*=\s*"([^"]+)"\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;')


def uses(root):
    """What the files of all crates in native/ use, and of the one that guests have; and those files."""
    found, files = [], []
    for crate in [*sorted(root.glob("native/*/src")), root / "guests/tidepool/src"]:
        modules = read(crate)
        for module in modules.values():
            files.append(module.file)
            found += module.uses(modules)
    return [Use(use.file.relative_to(root), use.line, use.target.relative_to(root), use.name) for use in found], [
        file.relative_to(root) for file in files
    ]


def read(crate):
    """The modules of a crate by their paths, `("engine", "dense")` for instance; those of tests apart."""
    modules, roots = {}, [crate / "lib.rs", *sorted(crate.glob("bin/*.rs"))]
    for root in roots:
        if root.exists():
            path = () if root.name == "lib.rs" else ("bin", root.stem)
            load(modules, crate if root.name == "lib.rs" else root.parent, root, path)
    return modules


def load(modules, folder, file, path):
    module = modules[path] = Module(file, path)
    for child in module.children:
        if child in module.places:
            load(modules, module.places[child].parent, module.places[child], (*path, child))
            continue
        for candidate in (folder / f"{child}.rs", folder / child / "mod.rs"):
            if candidate.exists():
                load(modules, folder / child, candidate, (*path, child))


class Module:
    """A file, without comments, strings and tests, each line where it was."""

    def __init__(self, file, path):
        self.file, self.path = file, path
        text = blank(NO_CODE, file.read_text()).replace("$crate", "crate").replace("r#", "")
        tests = {match[1] for match in TESTS.finditer(text) if match[2] == ";"}
        self.text = without_tests(text)
        self.children = [name for name in CHILD.findall(self.text) if name not in tests]
        self.places = {name: file.parent / place for place, name in PLACE.findall(file.read_text())}
        self.imports, self.globs = {}, []
        for match in IMPORT.finditer(self.text):
            for parts, name in leaves(match[2]):
                if name == "*":
                    self.globs.append(parts)
                else:
                    self.imports[name] = parts
        self.items = set(ITEM.findall(IMPORT.sub("", self.text)))

    def uses(self, modules):
        found = []
        for match in IMPORT.finditer(self.text):
            for parts, _name in leaves(match[2]):
                target = resolve(modules, self.path, parts)
                if not match[1] or (target is not None and target.path[: len(self.path)] != self.path):
                    found.append((match.start(2), parts))
        # An item that is imported counts where that is done; what is reached through a module that is, where that is.
        body = IMPORT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), self.text)
        for match in PATH.finditer(body):
            parts = (match[1], *match[2][2:].split("::"))
            if parts[0] in ("crate", "super", "self") or parts[0] in self.children:
                found.append((match.start(), parts))
            elif (module := self.imported(modules, parts[0])) is not None:
                found.append((match.start(), ("crate", *module, *parts[1:])))
        for start, parts in found:
            target = resolve(modules, self.path, parts)
            if target is not None and target.file != self.file:
                yield Use(self.file, self.text.count("\n", 0, start) + 1, target.file, "::".join(parts))

    def imported(self, modules, name):
        """The path of the module of this crate that is imported as `name`; none for items, and for what is others'."""
        if self.path[:1] == ("bin",):
            return None
        if name in self.imports:
            parts = self.imports[name]
            target = resolve(modules, self.path, parts)
            if target is not None and (parts == ("crate",) or target.path[-1:] == parts[-1:] or parts[-1] == "super"):
                return target.path
            return None
        for parts in self.globs:
            target = resolve(modules, self.path, parts)
            if target is not None and (*target.path, name) in modules:
                return (*target.path, name)
        return None


def resolve(modules, path, parts, seen=()):
    """The module in which what a path leads to stands; none for other crates' items."""
    first, *rest = parts
    if first == "crate":
        path = ("bin", path[1]) if path[:1] == ("bin",) else ()
    elif first == "super":
        path = path[:-1]
    elif first != "self":
        module = modules.get(path)
        if module is None or (first not in module.children and first not in module.imports):
            return None
        rest = parts
    while rest and (*path, rest[0]) in modules:
        path, rest = (*path, rest[0]), rest[1:]
    module = modules.get(path)
    if module is None or not rest or (path, rest[0]) in seen:
        return module
    if rest[0] == "super":
        return resolve(modules, path, rest, seen)
    if rest[0] in module.items:
        return module
    seen = (*seen, (path, rest[0]))
    if rest[0] in module.imports:
        imported = module.imports[rest[0]]
        # Another crate's item, re-exported here, is this module's.
        return resolve(modules, path, (*imported, *rest[1:]), seen) or module
    for parts in module.globs:
        target = resolve(modules, path, parts, seen)
        if target is not None and (rest[0] in target.items or rest[0] in target.imports):
            return resolve(modules, target.path, ("self", *rest), seen)
    return module


def leaves(tree, before=()):
    """The paths of a `use` tree, with the names that they have here."""
    tree = tree.strip()
    if tree.startswith("{"):
        for part in split(tree[1:-1]):
            yield from leaves(part, before)
        return
    head, brace, rest = tree.partition("::{")
    if brace:
        yield from leaves("{" + rest, (*before, *names(head)))
        return
    path, _as, name = (it.strip() for it in re.sub(r"\s+as\s+", " as ", tree).partition(" as "))
    parts = (*before, *names(path))
    if parts and parts[-1] == "self":
        parts = parts[:-1]
    if parts and parts[-1] == "*":
        yield parts[:-1], "*"
    elif parts:
        yield parts, name or parts[-1]


def names(path):
    return [name.strip() for name in path.split("::") if name.strip()]


def split(text):
    """At the commas that are in no braces."""
    depth, part = 0, ""
    for char in text:
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            yield part
            part = ""
        else:
            part += char
    if part.strip():
        yield part


def blank(pattern, text):
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def without_tests(text):
    """Blanks `#[cfg(test)] mod … { … }`."""
    for match in TESTS.finditer(text):
        end = match.end()
        depth = 1 if match[2] == "{" else 0
        while depth and end < len(text):
            depth += (text[end] == "{") - (text[end] == "}")
            end += 1
        text = text[: match.start()] + re.sub(r"[^\n]", " ", text[match.start() : end]) + text[end:]
    return text
