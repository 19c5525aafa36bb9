"""The first request, for the directory; meanwhile a server that is far is connected to more often.

Each takes two round trips before its first request, which those of the directory hide.
"""

from ..common import log
from ..common.errors import Error
from .distance import FEW, NEAR, connections
from .patience import Patience
from .scheduler import Steps, Task
from .session import Session

LOOK = 0.01    # seconds between two looks whether the first connection is made
LONGEST = 5.0  # seconds that one is tried for in advance: nobody waits for it yet


def reach(session: Session, patience: Patience, jobs: int | None, requests: int) -> Steps[None]:
    """Fetch the directory.  ``requests`` of the master's are to follow, over ``jobs`` connections.

    Raises Error.
    """
    ended: list[bool] = []

    def fetch() -> Steps[None]:
        try:
            yield from patience.busy(session.fetch_directory, common=True)
        finally:
            ended.append(True)

    def prepare() -> Steps[None]:
        while not (session.connections.distance.known or ended):
            yield LOOK
        distance = session.connections.distance.round_trip
        if distance > NEAR:
            wanted = min(requests, connections(jobs, distance, requests))
            yield [_connect(session) for _ in range(wanted - 1)]

    tasks: list[Task] = [fetch(), prepare()] if requests > FEW else [fetch()]
    for outcome in (yield tasks):
        if outcome.error is not None:
            raise outcome.error


def _connect(session: Session) -> Steps[None]:
    yield from ()
    try:
        session.connect(LONGEST)
    except Error as exc:    # whoever needs it tries again
        log.debug(exc)
