"""An installation in which somebody dies at a step that a test names."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from .run import Prefix


class Mortal(NamedTuple):
    """An installation, and the file that says at which step somebody dies."""

    prefix: Prefix
    where: Path


@contextlib.contextmanager
def mortal(edit: Callable[[Path, Path], None]) -> Iterator[Mortal]:
    """``edit`` is given the package's directory, whose sources it changes, and that file."""
    prefix = Prefix()
    where = prefix.path / "where"
    where.touch()
    edit(prefix.package, where)
    yield Mortal(prefix, where)
    prefix.remove()
