"""Users and groups of the system: who isn't there, and who can't be looked up.

The C library says the same of both, so the file is read once more by ourselves: a disk that fails
is not told as a user who is missing.
"""

from collections.abc import Callable
from typing import TypeVar

from .errors import reason

T = TypeVar("T")

_PASSWD, _GROUP = "/etc/passwd", "/etc/group"


class Unknown(ValueError):
    """Nobody can tell who it is."""


def user(find: Callable[[], T]) -> T:
    """Return what ``find`` does, by pwd; raises KeyError for nobody, and Unknown."""
    return _find(find, _PASSWD)


def group(find: Callable[[], T]) -> T:
    """Return what ``find`` does, by grp; raises KeyError for none, and Unknown."""
    return _find(find, _GROUP)


def _find(find: Callable[[], T], database: str) -> T:
    try:
        return find()
    except KeyError:
        pass
    try:
        with open(database, "rb") as file:
            file.read()
    except OSError as exc:
        raise Unknown(f"nobody can tell who that is: {reason(exc)}") from exc
    return find()   # it is readable by now, or was
