"""That one file uses another."""

from typing import NamedTuple


class Use(NamedTuple):
    """`file` names in its `line` what stands in `target`, as `name`."""

    file: object
    line: int
    target: object
    name: str
