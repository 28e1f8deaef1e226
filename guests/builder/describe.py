"""Reads the guest.toml files: which guests there are, and how each is compiled. guests/README.md describes the fields."""

import ast
import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import tomllib

from .language import Kind, Language
from .languages import LANGUAGES
from .tools import BUILD, GUESTS, ROOT

BUILDER = GUESTS / "builder"
FIELDS = ["language", "kind", "modules", "also", "kept", "heavy"]
NAME = re.compile(r"[a-z][a-z0-9_]*")
# Made by compilers, beside sources.
MADE = {"node_modules", "target", "__pycache__"}


class Wrong(Exception):
    """What is wrong in a guest.toml, as a sentence with its path."""


@dataclasses.dataclass(frozen=True)
class Guest:
    """A folder with sources: what its guest.toml says."""

    folder: pathlib.Path
    language: Language
    kind: Kind
    # Names of modules; or all of the folder in one, if the kind is `of_folder`.
    modules: tuple
    # Files elsewhere in guests/ that the sources include.
    also: tuple
    # Those of the modules that lie beside their sources in the repository, so that nobody needs a compiler for them.
    kept: tuple
    # Is it built for long runs of the tests alone?
    heavy: bool

    @property
    def file(self):
        return (self.folder / "guest.toml").relative_to(ROOT)

    @functools.cached_property
    def stamp(self):
        """Hashes of all that its modules depend on, as they are when this is first asked for."""
        paths = [folder / name for folder, _folders, names in walk(self.folder) for name in names]
        paths = [path for path in paths if path.suffix not in (".md", ".wasm")]
        return hashes([*paths, *self.also]) + of_builder(self.kind.compile.__module__)


def guests():
    """All of them, and sentences about those that are wrong: `(guests, sentences)`."""
    found, wrong, of = [], [], {}
    for folder, _folders, files in walk(GUESTS):
        if "guest.toml" not in files:
            continue
        try:
            guest = read(folder)
            for name in guest.modules:
                output = f"{guest.language.name}/{name}"
                if output in of:
                    raise Wrong(f"modules: guests/build/{output}.wasm is {of[output]}'s already")
                of[output] = guest.file
            found.append(guest)
        except Wrong as error:
            wrong.append(f"{(folder / 'guest.toml').relative_to(ROOT)}: {error}")
    return found, wrong


def hashes(paths):
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}\n" for path in paths)


@functools.cache
def of_builder(module):
    """How a guest is built: the module of this program that compiles it with all that this imports, and what is no Python. When one of
    these files changes, what is built by it is built again; and nothing when usage texts change, or the order of builds."""
    made_of = (".js", ".rs", ".toml", ".lock")
    others = (path for path in BUILDER.rglob("*") if path.suffix in made_of and "target" not in path.parts)
    return hashes([*sorted(imported(BUILDER / f"{module.rpartition('.')[2]}.py", set())), *sorted(others)])


def imported(file, found):
    """This file of the builder, and those that it imports."""
    if file not in found:
        found.add(file)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                for name in [node.module] if node.module else [alias.name for alias in node.names]:
                    imported(BUILDER / f"{name}.py", found)
    return found


def walk(top):
    """Folders with sources, in order, as `os.walk` has them: nothing that was made by compilers."""
    for folder, folders, files in os.walk(top):
        folder = pathlib.Path(folder)
        folders[:] = sorted(name for name in folders if name not in MADE and folder / name != BUILD)
        yield folder, folders, sorted(files)


def read(folder):
    """The guest of a folder. Raises `Wrong`."""
    try:
        with open(folder / "guest.toml", "rb") as file:
            table = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Wrong(f"it is no TOML: {error}") from error
    except OSError as error:
        raise Wrong(f"it can't be read: {error.strerror}") from error
    for field in table:
        if field not in FIELDS:
            raise Wrong(f"{field} is no field; there are {', '.join(FIELDS)}")
    language = LANGUAGES[choice(table, "language", LANGUAGES)]
    if "kind" not in table and len(language.kinds) == 1:
        [kind] = language.kinds.values()
    else:
        kind = language.kinds[choice(table, "kind", language.kinds, f" in {language.name}")]
    names = modules(table, folder, kind)
    heavy = table.get("heavy", False)
    if not isinstance(heavy, bool):
        raise Wrong(f"heavy is {heavy!r}; it is true or false")
    return Guest(folder, language, kind, names, also(table, folder), kept(table, kind, names), heavy)


def choice(table, field, allowed, where=""):
    value = table.get(field)
    if not isinstance(value, str) or value not in allowed:
        said = "is missing" if field not in table else f"is {value!r}"
        raise Wrong(f"{field} {said}; it is one of {', '.join(allowed)}{where}")
    return value


def modules(table, folder, kind):
    if kind.of_folder:
        if "modules" in table:
            raise Wrong(f"modules are not listed: each {kind.source} beside it is one")
        names = [path.stem for path in sorted(folder.glob(kind.source))]
        if not names:
            raise Wrong(f"there is no {kind.source} beside it")
        return tuple(names)
    names = strings(table, "modules")
    if not names:
        raise Wrong("modules lists the names of the modules that are built; there is none")
    for name in names:
        if not NAME.fullmatch(name):
            raise Wrong(f"modules has {name!r}; a name is lower-case letters, digits and _, and begins with a letter")
        if not (folder / kind.source.format(name)).is_file():
            raise Wrong(f"modules has {name!r}, and there is no {kind.source.format(name)} beside it")
    return names


def also(table, folder):
    paths = tuple(pathlib.Path(os.path.normpath(folder / name)) for name in strings(table, "also"))
    for name, path in zip(table.get("also", []), paths):
        if not path.is_relative_to(GUESTS) or not path.is_file():
            raise Wrong(f"also has {name!r}, and that is no file in guests")
    return paths


def kept(table, kind, names):
    if kind.of_folder and "kept" in table:
        raise Wrong("kept is for modules that are built one by one")
    listed = strings(table, "kept")
    for name in listed:
        if name not in names:
            raise Wrong(f"kept has {name!r}, and that is none of its modules")
    return listed


def strings(table, field):
    values = table.get(field, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Wrong(f"{field} is {values!r}; it is a list of strings")
    if len(set(values)) < len(values):
        raise Wrong(f"{field} has something twice: {', '.join(values)}")
    return tuple(values)
