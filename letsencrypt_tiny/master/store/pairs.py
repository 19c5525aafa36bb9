"""Which certificates were seen to be for their private keys, and what they say: ``pairs.json``.

A certificate is of use with its own key only, and whoever replaces the key tells nobody.  That one
file is younger than the other says nothing: files come from backups, clocks are put right, a key is
replaced in the moment in which its certificate is.  So they are compared; but not each time, for
that is to read, and to judge, one more file of each section.

What was compared is remembered by device, inode, size, modification and change of both files.  The
kernel alone sets the last one, and by the clock: so two that have all of them alike hold the same,
but where both were written within one tick of it.  What changed a moment ago, or lies ahead of the
clock, is therefore not remembered, and compared again.  One who sets the clock and writes into the
very same file within the same tick is root.

So a certificate that was found to need nothing needn't be read again, either, as long as nothing
more was revoked by us: what it says stands beside the pair.  That is believed only where it leaves
all as it is; whatever else follows from it, the certificate itself is asked first (due.py).
"""

import os
from typing import TYPE_CHECKING

from ...common import log
from ...common.errors import Error
from ...common.x509 import summary
from ...common.x509.summary import Summary
from . import revoked

if TYPE_CHECKING:
    from ...common.wire.jsonfields import JsonObject

SETTLED = 10          # seconds: more than the tick of any clock that a file system has (FAT: 2)
MAX_PAIRS = 16_000    # others are read and compared at each run
MAX_SIZE = 8 << 20    # bytes
_NUMBERS = 10         # in what ``identity`` says of two files
_REVOKED = "revoked"  # no path: what ``identity`` said of the file of what we had revoked


class Pairs:
    """Those of all sections, by the path of the certificate."""

    def __init__(self, directory: str) -> None:
        from .statefile import StateFile   # with json, for whoever looks at one certificate only
        self._revoked = f"{directory}/{revoked.FILE}"
        self._file = StateFile(directory, "pairs.json", MAX_SIZE)
        self._known: "JsonObject | None" = None
        self._new: "JsonObject" = {}
        self._held: set[str] = set()   # those of which what is known holds

    def fits(self, path: str, pair: str) -> bool:
        """Say whether the certificate at ``path`` and its key were seen to fit, as they are now.

        ``pair`` is what ``identity`` says of both.
        """
        return bool(pair) and self._holds(path, pair) is not None

    def has(self, path: str) -> bool:
        """Say whether anything is known of the certificate at ``path``."""
        return path in self._all()

    def summary(self, path: str, pair: str) -> Summary | None:
        """Return what the certificate at ``path`` says, if it and its key are as they were when it
        needed nothing; None if nobody knows."""
        words = self._holds(path, pair)
        return summary.parse(words) if words else None

    def seen(self, path: str, pair: str, changed: float, now: float,
             needs_nothing: Summary | None = None) -> None:
        """They fit.  ``changed`` is when one of both files was last (st_ctime), ``now`` is now;
        ``needs_nothing`` is what such a certificate says."""
        if pair and changed < now - SETTLED:
            says = "" if needs_nothing is None else summary.text(needs_nothing)
            line = f"{pair} {says}" if says else pair
            # what holds makes no room for what would have to make room for it the next time
            if self._all().get(path) != line and len(self._held) + len(self._new) < MAX_PAIRS:
                self._new[path] = line

    def keep(self) -> None:
        """Write down what is new; that it can't be is no loss, and told by what is one."""
        if not self._new:
            return
        found = self._all()
        known = {path: line for path, line in found.items() if path not in self._held}
        known.update((path, found[path]) for path in found if path in self._held)
        for path, line in self._new.items():
            known.pop(path, None)
            known[path] = line
        self._known, self._new = _last(known), {}
        try:
            self._file.write({_REVOKED: _look(self._revoked), **self._known})
        except Error as exc:
            log.debug(exc)

    def _holds(self, path: str, pair: str) -> str | None:
        """Return what stands beside a pair; None if this is not the one that is known."""
        line = self._all().get(path)
        if not isinstance(line, str) or not line.startswith(pair) or line[len(pair):][:1].strip():
            return None
        self._held.add(path)
        return line[len(pair) + 1:]

    def _all(self) -> "JsonObject":
        if self._known is None:
            try:
                self._known = self._file.read()
            except Error as exc:   # somebody else could have written it: who writes there tells
                log.debug(exc)
                self._known = {}
            if self._known.pop(_REVOKED, None) != _look(self._revoked):
                # one of them may be revoked by now
                self._known = {path: " ".join(line.split(" ")[:_NUMBERS])
                               for path, line in self._known.items() if isinstance(line, str)}
        return self._known


def _last(known: "JsonObject") -> "JsonObject":
    """Return as many of ``known`` as there may be, those that came last."""
    size, kept = 0, []
    for path, line in [*known.items()][:-MAX_PAIRS - 1:-1]:
        size += (1 if path.isascii() else 6) * len(path) + len(str(line)) + 6   # as JSON has them
        if size > MAX_SIZE * 3 // 4:
            break
        kept.append((path, line))
    return dict(reversed(kept))


def _look(path: str) -> str:
    try:
        return identity(os.stat(path))
    except OSError:
        return ""


def identity(*files: os.stat_result) -> str:
    """Return what changes when one of ``files`` does."""
    return " ".join([f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns} "
                     f"{info.st_ctime_ns}" for info in files])
