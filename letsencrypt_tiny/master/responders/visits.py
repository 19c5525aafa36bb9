"""Which requests for challenges reached us: what an administrator wants to know of a validation
that failed."""

import os
from collections.abc import Sequence

from ...common.errors import ProtocolError
from ...common.wire.visits import MAX_LINE, MAX_VISITS, Visit, parse_visit

_SHOWN = 3   # names in a message


class Visits:
    """The pipe on which the web server tells of them; nothing it says is believed further."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        self.writer = writer     # the child's standard output; to be closed once it has that
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)   # a web server that waits for us serves nobody
        self._rest = b""
        self._seen: set[Visit] = set()

    def read(self) -> None:
        """Take what is there, without waiting."""
        while self._reader >= 0 and len(self._seen) < 2 * MAX_VISITS:
            try:
                data = os.read(self._reader, 65536)
            except BlockingIOError:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            try:
                self._seen.update(map(parse_visit, lines))
            except ProtocolError:
                data = b""
            if not data or len(self._rest) > MAX_LINE:
                self.close()

    def close(self) -> None:
        """Listen no more; safe to call twice."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    def told(self, names: Sequence[str]) -> str:
        """Return a phrase about the validation of ``names``, one of which failed."""
        self.read()
        if not self._seen:
            return "no request for a challenge reached us"
        found = {visit.host: 0 for visit in self._seen}
        for visit in self._seen:
            found[visit.host] = max(found[visit.host], visit.status == 200)
        missing = [name for name in names if name not in found]
        if len(missing) == len(names):
            others = sorted(host for host in found if host)
            return "only requests for other names reached us" + \
                (f" ({_some(others)})" if others else "")
        if missing:
            return f"no request for {_some(missing)} reached us"
        unanswered = [name for name in names if not found[name]]
        return "requests reached us, and were answered" if not unanswered else \
            f"requests for {_some(unanswered)} reached us, for no challenge that we have"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
