"""What a language is to the builder."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to compile a language's guests.

    `compile(guest, name, out)` makes the module `name` as the file `out`, or raises `tools.Failure`. `source` is the file that
    has to be in the guest's folder, with `{}` for the module. A kind `of_folder` makes all modules of a folder at once, one
    for each file that `source` fits with `*`: `out` is a folder then, and `name` is `*`.
    """

    compile: Callable
    source: str
    of_folder: bool = False


@dataclasses.dataclass(frozen=True)
class Language:
    """Its name, which is that of its folder in guests/build, and its kinds by name."""

    name: str
    kinds: dict
