"""The connections of a session: each thread has one of its own to each origin."""

import ssl
import threading
from collections.abc import Sequence

from .connection import Connection, Keeping
from .distance import Distance
from .eyeballs import Addresses
from .transport import Route


class _Local(threading.local):
    """What each thread has of its own."""

    def __init__(self) -> None:
        self.connections: dict[str, Connection] = {}    # by origin


class Connections:
    """Made when they are first asked for; any thread may ask."""

    def __init__(self, routes: Sequence[Route], context: ssl.SSLContext, timeout: float) -> None:
        """``timeout``: seconds for one answer."""
        self._routes = {route.url.origin: route for route in reversed(routes)}
        self.distance = Distance()
        self._addresses = {origin: Addresses(route.addresses, self.distance.connected)
                           for origin, route in self._routes.items()}
        self._keeping = {origin: Keeping() for origin in self._routes}
        self._context = context
        self._timeout = timeout
        self._local = _Local()
        self._all: list[Connection] = []

    def __contains__(self, origin: str) -> bool:
        return origin in self._routes

    def __len__(self) -> int:
        return len(self._routes)

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports that are connected to."""
        return tuple({port for route in self._routes.values() for port in route.ports})

    def to(self, origin: str) -> Connection:
        """Return this thread's connection to an origin that there is a route to."""
        connection = self._local.connections.get(origin)
        if connection is None:
            connection = self._local.connections[origin] = Connection(
                self._routes[origin], self._context, self._timeout, self._addresses[origin],
                self._keeping[origin])
            self._all.append(connection)
        return connection

    def close(self) -> None:
        """Close every connection; no other thread may use one any more."""
        for connection in self._all:
            connection.close()
