"""What has changed: against a commit, and from one moment to the next."""

import os
import subprocess

from .checks import ROOT


class NoCommit(Exception):
    """There is no such commit."""


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise NoCommit(done.stderr.strip())
    return [path for path in done.stdout.split("\0") if path]


def since(commit):
    """Files that differ from a commit, removed ones and those that git does not know yet among them."""
    different = git("diff", "--name-only", "--no-renames", "--relative", "-z", commit, "--")
    return sorted({*different, *git("ls-files", "-z", "--others", "--exclude-standard")})


def tree():
    """The files of the tree, those that git does not know yet among them."""
    return git("ls-files", "-z", "--cached", "--others", "--exclude-standard")


class Watch:
    """Tells what has changed since it was asked last.

    It looks at the dates of files, which needs no program and works on every file system: a thousand files take a few
    milliseconds. Git is asked only when a folder's date has changed, as it does with each file that comes or goes.
    """

    def __init__(self):
        self.files = tree()
        self.folders = self.dates({os.path.dirname(path) for path in self.files})
        self.seen = self.dates(self.files)

    def dates(self, paths):
        dates = {}
        for path in paths:
            try:
                stat = os.stat(ROOT / path)
                dates[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            except OSError:
                dates[path] = None
        return dates

    def changed(self):
        folders = self.dates(self.folders)
        if folders != self.folders:
            self.files = sorted({*tree(), *self.files})
            self.folders = self.dates({os.path.dirname(path) for path in self.files})
        seen = self.dates(self.files)
        different = [path for path in seen if seen[path] != self.seen.get(path)]
        self.seen = seen
        # A file that is gone has been told of.
        self.files = [path for path in self.files if seen[path]]
        return different
