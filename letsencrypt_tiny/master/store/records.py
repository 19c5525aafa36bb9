"""What was published in zones and not taken back yet: a file for each zone, in the state directory.

The process of the zone writes it, through a descriptor; its content is nothing to the master.
"""

import os

from ...common.errors import Error
from . import files, trusted

_PREFIX, _SUFFIX = "dns-", ".records"


class Records:
    """The files of all zones."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def path(self, zone: str) -> str:
        """Return where the file of a zone is."""
        return f"{self._directory}/{_PREFIX}{zone}{_SUFFIX}"    # a zone is a canonical name

    def open(self, zone: str) -> int:
        """Return a descriptor to read and write; raises Error."""
        trusted.make_directory(self._directory, 0o700)
        parent, name = trusted.open_parent(self.path(zone))
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
                                 | os.O_CLOEXEC, 0o600, dir_fd=parent)
            os.fsync(parent)   # what the file will tell must be found again
            return descriptor
        except OSError as exc:
            raise Error(f"{self.path(zone)}: cannot open it: {exc.strerror}") from exc
        finally:
            os.close(parent)

    def close(self, zone: str) -> None:
        """Nobody writes it any more: it goes if there is nothing in it."""
        try:
            if not os.lstat(self.path(zone)).st_size:
                files.remove(self.path(zone))
        except OSError:
            pass

    def left(self) -> list[str]:
        """Return the zones in which something may be left."""
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        return [name[len(_PREFIX):-len(_SUFFIX)] for name in names
                if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
