"""The answers to the master, a line each, on one descriptor."""

import os
import threading

from ..common import log, shortage
from ..common.errors import Error
from ..common.wire import order as order_protocol
from ..common.wire.account import AccountUpdate
from ..common.wire.order import Answer, Order, Request
from . import outcome


class Replies:
    """Writes answers to the master, whichever thread has one."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        # by identity, as two requests may be alike; they are kept so that no other gets theirs
        self._answered: dict[int, Request] = {}

    def __call__(self, answer: Answer) -> None:
        """Write an answer.

        Raises LocalProtocolError if it is too long; a master that is gone is ignored.
        """
        line = order_protocol.format_answer(answer)
        with self._lock:
            self._write(line)

    def final(self, request: Request, answer: Answer) -> None:
        """Write the final answer to a request, unless it has got one; raises LocalProtocolError."""
        line = order_protocol.format_answer(answer)
        with self._lock:
            if id(request) in self._answered:
                return
            self._answered[id(request)] = request
            self._write(line)

    def failed(self, request: Request, exc: Exception, where: int,
               asked: bool | None = None) -> None:
        """Tell of an error as the final answer, be it a mistake of ours.

        ``asked``: whether there may be an order that nobody has heard of; None: as before.
        """
        asked = isinstance(request, Order) and request.asked if asked is None else asked
        self.final(request, outcome.failed(section_of(request), expected(exc), where, asked))

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._fd, line):]
        except OSError as exc:
            log.debug(f"the master does not listen: {exc.strerror}")


def section_of(request: Request) -> str:
    """Return what a request is called in its answer."""
    return "" if isinstance(request, AccountUpdate) else request.section


def expected(exc: Exception) -> Error:
    """Return an error as it is, anything else as one that names it and asks for no patience."""
    if isinstance(exc, Error):
        return exc
    if shortage.is_shortage(exc):
        return Error(shortage.MESSAGE)
    log.error(f"unexpected {type(exc).__name__}: {exc}")
    if log.level >= log.DEBUG:
        import traceback    # loaded already (``log.prepare_trace``)
        log.debug("".join(traceback.format_exception(exc)))
    return Error(f"unexpected {type(exc).__name__} in the ACME client: {exc}")
