"""What is built at once: a module, or all modules of a folder. What is built has a stamp, which says of what it was made."""

import contextlib
import dataclasses
import hashlib
import shutil

from .describe import Guest
from .languages import LANGUAGES
from .tools import BUILD, SHARED, GUESTS, Failure, say, shown

STAMPS = BUILD / ".stamps"
# So many builds of a unit stay for other checkouts.
KEPT = 3


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
    def builds(self):
        """Where its builds are for other checkouts, by stamp."""
        return SHARED / self.stamp_file.name

    @property
    def build_of_stamp(self):
        return self.builds / hashlib.sha256(self.guest.stamp.encode()).hexdigest()[:32]

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
        """Compiles it, or takes what another checkout has compiled of the same.

        Raises `Failure`; the modules that there were before are still there then.
        """
        new = BUILD / ".new" / self.language
        shutil.rmtree(new, ignore_errors=True)
        self.stamp_file.unlink(missing_ok=True)
        for folder in (new, BUILD / self.language, STAMPS):
            folder.mkdir(parents=True, exist_ok=True)
        made, how = self.taken(new), "took"
        if not made:
            made, how = self.compiled(new), "built"
            self.leave(made)
        for path, output in zip(made, self.outputs, strict=True):
            path.replace(output)
        shutil.rmtree(new)
        self.stamp_file.write_text(self.guest.stamp)
        self.report(how)

    def compiled(self, new):
        """Its modules as its compiler makes them, in the folder `new`."""
        self.guest.kind.compile(self.guest, self.name, new / ("all" if self.name == "*" else f"{self.name}.wasm"))
        made = [new / ("all" if self.name == "*" else "") / output.name for output in self.outputs]
        for path in made:
            if not path.is_file():
                raise Failure(f"the compiler has not written {path.name}")
            path.chmod(0o644)
        return made

    def taken(self, new):
        """Its modules as another checkout has made them, copied to the folder `new`; none where there is no such build."""
        if not SHARED or not self.build_of_stamp.is_dir():
            return []
        try:
            # What was used last stays longest.
            self.build_of_stamp.touch()
            return [shutil.copyfile(self.build_of_stamp / output.name, new / output.name) for output in self.outputs]
        # Another checkout may remove it just now.
        except OSError:
            return []

    def leave(self, made):
        """Leaves its modules to other checkouts, whole or not at all, in place of the one that was used longest ago."""
        if not SHARED:
            return
        new = self.builds / ".new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for path in made:
            shutil.copyfile(path, new / path.name)
        shutil.rmtree(self.build_of_stamp, ignore_errors=True)
        new.rename(self.build_of_stamp)
        with contextlib.suppress(OSError):
            by_use = sorted(self.builds.iterdir(), key=lambda build: build.stat().st_mtime, reverse=True)
            for build in by_use[KEPT:]:
                shutil.rmtree(build, ignore_errors=True)

    def report(self, how):
        if self.name == "*":
            say(f"{how} {shown(BUILD / self.language)}: {len(self.modules)} modules")
        else:
            [output] = self.outputs
            say(f"{how} {shown(output)}: {output.stat().st_size} bytes")


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
