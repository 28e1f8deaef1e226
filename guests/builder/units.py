"""What is built at once: a module, or all modules of a folder. What is built has a stamp, which says of what it was made."""

import dataclasses
import shutil

from .describe import Guest
from .languages import LANGUAGES
from .tools import BUILD, GUESTS, Failure, say, shown

STAMPS = BUILD / ".stamps"


@dataclasses.dataclass(frozen=True)
class Unit:
    """A module of a guest, or all of a folder's if its kind is `of_folder`: `name` is `*` then."""

    guest: Guest
    name: str

    @property
    def language(self):
        return self.guest.language.name

    @property
    def title(self):
        """How messages name it."""
        return f"{self.language}/{self.name}" if self.name != "*" else self.language

    @property
    def modules(self):
        return self.guest.modules if self.name == "*" else (self.name,)

    @property
    def outputs(self):
        return [BUILD / self.language / f"{name}.wasm" for name in self.modules]

    @property
    def stamp_file(self):
        name = self.name if self.name != "*" else ".".join(self.guest.folder.relative_to(GUESTS).parts)
        return STAMPS / f"{self.language}-{name}"

    @property
    def is_kept(self):
        return self.name in self.guest.kept

    @property
    def kept_file(self):
        """Where it lies in the repository, if it is kept."""
        return self.guest.folder / f"{self.name}.wasm"

    def keep(self):
        """Puts what was built beside its source, whole or not at all."""
        [output] = self.outputs
        new = self.kept_file.with_suffix(".wasm.new")
        shutil.copyfile(output, new)
        new.replace(self.kept_file)
        say(f"kept {shown(self.kept_file)}: {self.kept_file.stat().st_size} bytes")

    def is_fresh(self):
        try:
            stamped = self.stamp_file.read_text()
        except OSError:
            return False
        return stamped == self.guest.stamp and all(output.exists() for output in self.outputs)

    def build(self):
        """Compiles it. Raises `Failure`; the modules that there were before are still there then."""
        new = BUILD / ".new" / self.language
        shutil.rmtree(new, ignore_errors=True)
        self.stamp_file.unlink(missing_ok=True)
        for folder in (new, BUILD / self.language, STAMPS):
            folder.mkdir(parents=True, exist_ok=True)
        self.guest.kind.compile(self.guest, self.name, new / ("all" if self.name == "*" else f"{self.name}.wasm"))
        for output in self.outputs:
            made = new / ("all" if self.name == "*" else "") / output.name
            if not made.is_file():
                raise Failure(f"the compiler has not written {output.name}")
            made.chmod(0o644)
            made.replace(output)
        shutil.rmtree(new)
        self.stamp_file.write_text(self.guest.stamp)
        self.report()

    def report(self):
        if self.name == "*":
            say(f"built {shown(BUILD / self.language)}: {len(self.modules)} modules")
        else:
            [output] = self.outputs
            say(f"built {shown(output)}: {output.stat().st_size} bytes")


def units(guests):
    """Those of all guests, by language."""
    ordered = sorted(guests, key=lambda guest: list(LANGUAGES).index(guest.language.name))
    return [Unit(guest, name) for guest in ordered for name in (["*"] if guest.kind.of_folder else guest.modules)]


def remove_leftovers(unit, every):
    """Once a folder's modules are built, what was made of a file that is gone goes: it would be taken for a guest."""
    if unit.name != "*":
        return
    made = {output for other in every if other.language == unit.language for output in other.outputs}
    for path in (BUILD / unit.language).glob("*.wasm"):
        if path not in made:
            path.unlink()
