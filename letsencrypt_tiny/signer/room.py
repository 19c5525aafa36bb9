"""The connections that there is room for, and which of them has to go for a newcomer."""

import time
from collections.abc import Hashable

from .connection import Connection

IDLE_TIME = 60.0      # seconds after which an idle connection has to make room for a new one

_Group = dict[Connection, None]   # the oldest first


def limit(most: int, others: int) -> int:
    """Return how many connections, ``most`` at the most, the limit of descriptors has room for
    beside ``others``."""
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return most if hard == resource.RLIM_INFINITY else max(1, min(most, hard - others))


class Room:
    """All connections, by their processes and users."""

    def __init__(self) -> None:
        self.connections: _Group = {}
        self._processes: dict[Hashable, _Group] = {}
        self._users: dict[Hashable, _Group] = {}

    def __len__(self) -> int:
        return len(self.connections)

    def add(self, conn: Connection) -> None:
        """Let ``conn`` in."""
        self.connections[conn] = None
        self._processes.setdefault(conn.process, {})[conn] = None
        self._users.setdefault(conn.process[0], {})[conn] = None

    def remove(self, conn: Connection) -> None:
        """It has gone."""
        del self.connections[conn]
        for groups, owner in ((self._processes, conn.process), (self._users, conn.process[0])):
            del groups[owner][conn]
            if not groups[owner]:
                del groups[owner]

    def knows(self, process: tuple[int, int]) -> bool:
        """True if the process has a connection."""
        return process in self._processes

    def dispensable(self, newcomer: Connection) -> Connection | None:
        """Return the connection that others need less than the ``newcomer``; None if none is."""
        found = (_greediest(self._processes, newcomer.process)
                 or _greediest(self._users, newcomer.process[0]))
        if found is None:
            idle = [(conn.waiting_since, number) for number, conn in enumerate(self.connections)
                    if conn.waiting_since is not None]
            if idle and min(idle)[0] <= time.monotonic() - IDLE_TIME:
                found = list(self.connections)[min(idle)[1]]
        return found

    def heaviest(self) -> Connection:
        """Return the connection with most bytes waiting, of the process that has most of them."""
        held = {owner: sum(conn.held for conn in group)
                for owner, group in self._processes.items()}
        group = self._processes[max(held, key=held.__getitem__)]
        return max(group, key=lambda conn: conn.held)


def _greediest(groups: dict[Hashable, _Group], newcomer: Hashable) -> Connection | None:
    """Return the connection that has to go, of the owner that has most of them; None if that one
    would have fewer than the ``newcomer`` then."""
    most = max(groups.values(), key=len)
    if len(most) <= len(groups.get(newcomer, ())) + 1:
        return None
    # whoever has asked for nothing yet, then who waits, then who is served
    return min(most, key=lambda conn: (conn.spoken, conn.waiting_since is None))
