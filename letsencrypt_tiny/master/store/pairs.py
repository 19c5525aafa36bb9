"""Which certificates were seen to be for their private keys, and what they say: ``pairs``.

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

Of very many there are several files, of which one is in memory: as sections are looked at in the
same order each time, the next file is taken (``turn``) once this one has met all that it has room
for.
"""

import io
import os

from ...common import log
from ...common.errors import Error
from ...common.x509 import summary
from ...common.x509.summary import Summary
from . import files, revoked

SETTLED = 10          # seconds: more than the tick of any clock that a file system has (FAT: 2)
MAX_PAIRS = 10_000    # of a file
MAX_FILES = 10        # what is too many for them is read and compared at each run
MAX_SIZE = 8 << 20    # bytes
_OLD = "pairs.json"   # of before


class Pairs:
    """Those of all sections, by what tells their files from others (``identity``).

    A line for each, with the words of ``summary`` after a bar; the first is of what we had revoked.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._open(0)

    def _open(self, number: int) -> None:
        from .statefile import StateFile   # with json, for whoever looks at one certificate only
        self._number = number
        self._file = StateFile(self._directory, _name(number), MAX_SIZE)
        self._known: dict[str, str] | None = None
        self._new: dict[str, str] = {}
        self._held: set[str] = set()   # those that are there still

    @property
    def exhausted(self) -> bool:
        """True if whatever is known has been met: nothing is known of other files."""
        return len(self._held) >= len(self._all())

    @property
    def full(self) -> bool:
        """True if nothing more can be remembered, in this file."""
        # what holds makes no room for what would have to make room for it the next time
        return len(self._held) + len(self._new) >= MAX_PAIRS

    def fits(self, pair: str) -> bool:
        """Say whether a certificate and its key were seen to fit; ``pair`` is their identity."""
        return self._words(pair) is not None

    def summary(self, pair: str) -> Summary | None:
        """Return what a certificate says that needed nothing; None if nobody knows."""
        words = self._words(pair)
        return summary.parse(words) if words else None

    def seen(self, pair: str, changed: float, now: float, needs_nothing: Summary | None = None
             ) -> None:
        """They fit.  ``changed`` is when one of both files was last (st_ctime), ``now`` is now;
        ``needs_nothing`` is what such a certificate says."""
        if not pair or changed >= now - SETTLED or self.full:
            return
        words = "" if needs_nothing is None else summary.text(needs_nothing)
        if self._all().get(pair) != words:
            self._new[pair] = words

    def turn(self, complete: bool | None) -> None:
        """Go on with the next file, if this one is full; unless ``complete`` is None that is kept
        before, as ``keep`` does."""
        if self.full and self._number + 1 < MAX_FILES:
            if complete is not None:
                self._write(complete)
            self._open(self._number + 1)

    def keep(self, complete: bool = False) -> None:
        """Write down what is new; that it can't be is no loss, and told by what is one.

        ``complete``: all were looked at, and whatever isn't there any more is forgotten.
        """
        self._write(complete)
        for number in range(self._number + 1, MAX_FILES if complete else 0):
            path = f"{self._directory}/{_name(number)}"
            if not os.path.lexists(path):
                break
            files.remove(path)

    def _write(self, complete: bool) -> None:
        if not self._new:
            return
        known = self._all()
        there = {pair: words for pair, words in known.items() if pair in self._held}
        gone = {} if complete else {pair: words for pair, words in known.items()
                                    if pair not in self._held}
        self._known, self._new = _last({**gone, **there, **self._new}), {}
        lines = [f"{pair}|{words}\n" for pair, words in self._known.items()]
        try:
            self._file.write_text("".join([self._revoked() + "\n", *lines]).encode("ascii"))
        except Error as exc:
            log.debug(exc)
        files.remove(f"{self._directory}/{_OLD}")

    def _words(self, pair: str) -> str | None:
        words = self._all().get(pair)
        if words is not None:
            self._held.add(pair)
        return words

    def _all(self) -> dict[str, str]:
        if self._known is None:
            try:
                text = self._file.text()
            except Error as exc:   # somebody else could have written it: who writes there tells
                log.debug(exc)
                text = b""
            self._known = self._parsed(text) if len(text) <= MAX_SIZE and text.isascii() else {}
        return self._known

    def _parsed(self, text: bytes) -> dict[str, str]:
        lines = io.BytesIO(text)   # one after the other: there may be many
        is_new = lines.readline().rstrip(b"\n") == self._revoked().encode("ascii")
        found: dict[str, str] = {}
        for line in lines:
            pair, bar, words = line.decode("ascii").rstrip("\n").partition("|")
            if bar and len(found) < MAX_PAIRS:
                found[pair] = words if is_new else ""   # it may be revoked by now
        return found

    def _revoked(self) -> str:
        """Return what tells the file of what we had revoked from others."""
        try:
            return f"revoked {identity(os.stat(f'{self._directory}/{revoked.FILE}'))}"
        except OSError:
            return "revoked"


def _name(number: int) -> str:
    return f"pairs-{number}" if number else "pairs"


def _last(known: dict[str, str]) -> dict[str, str]:
    """Return as many as there is room for, those that came last."""
    size, kept = 0, []
    for pair, words in [*known.items()][:-MAX_PAIRS - 1:-1]:
        size += len(pair) + len(words) + 2
        if size > MAX_SIZE - 200:   # and the first line
            break
        kept.append((pair, words))
    return dict(reversed(kept))


def identity(*files: os.stat_result) -> str:
    """Return what changes when one of ``files`` does."""
    return " ".join([f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns} "
                     f"{info.st_ctime_ns}" for info in files])
