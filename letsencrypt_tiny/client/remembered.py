"""The directory of a server that was out of order, as an earlier run saw it (RFC 8555 §7.1.1).

With it one request shows whether the server takes orders again.  It is not believed for long: where
what it leads to is not there, it is fetched.
"""

from collections.abc import Callable

from ..common import log
from ..common.errors import Error, ProtocolError
from ..common.wire.order import ClientConfig
from .patience import Patience, T
from .problem import ProblemError
from .scheduler import Steps
from .session import Session


def recall(session: Session, config: ClientConfig) -> None:
    """Let a session have what is remembered, if its server was out of order."""
    if config.doubted:
        try:
            session.doubt(config.directory)
        except ProtocolError as exc:    # what a client gone wrong made the master remember
            log.debug(exc)


def twice(session: Session, patience: Patience, order: Callable[[], Steps[T]]) -> Steps[T]:
    """Order; if the directory may have changed since it was remembered, fetch it and do so anew.

    Raises Error.
    """
    remembered = session.remembers
    try:
        return (yield from order())
    except Error as exc:
        if not remembered or patience.url is not None or not _leads_nowhere(exc):
            raise
        log.debug(f"{patience.section}: {exc}; the directory is fetched")
    if session.remembers:    # nobody has done it meanwhile
        yield from patience.busy(session.fetch_directory)
    return (yield from order())


def _leads_nowhere(error: Error) -> bool:
    return isinstance(error, ProtocolError) or isinstance(error, ProblemError) and (
        error.gone or error.problem.status == 405)
