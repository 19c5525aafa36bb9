"""The interfaces of DNS hosters, by Debian's python3-lexicon: no code of ours for any of them.

Versions 3.11 (Debian 12) to 3.2x differ in where the providers are, and in nothing else we need.
"""

import importlib
import re
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from ...common import paths
from ...common.errors import ConfigError, Error
from ...common.log import printable
from ...common.wire.dns import Task
from ..asking import Server
from ..records import Record
from ..resolving import Resolver

HTTPS = 443
_PLACES = ("lexicon._private.providers", "lexicon.providers")
# Some providers load parts of their libraries when they need them
MODULES = ("/usr/lib/python3", "/usr/lib/python3.11", "/usr/lib/python3.12", "/usr/lib/python3.13",
           "/usr/lib/python3.14", paths.CA_BUNDLE)
_SHORTEST_SECRET = 5   # characters; what is shorter is a word of messages, too
_URL = re.compile(r"(https?)://(?:\[[0-9A-Fa-f:.]+\]|[^/:@\[\]]+)(?::([0-9]{1,5}))?(?:/|\Z)")


def parse(text: str) -> dict[str, str]:
    """Parse lines “option = value”, options as lexicon(1) has them; raises ConfigError."""
    options = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(("#", ";")):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        name = name.removeprefix("--").replace("-", "_")
        if not equals or not re.match(r"[a-z][a-z0-9_]{0,60}\Z", name):
            raise ConfigError(f"credentials: line {number} is not “option = value”")
        if len(value) >= 2 and value[0] == value[-1] in "\"'":
            value = value[1:-1]
        options[name] = value
    return options


def ports(options: dict[str, str]) -> tuple[int, ...]:
    """Return the TCP ports that a provider connects to: HTTPS, and those of URLs in options."""
    found = {HTTPS}
    for value in options.values():
        match = _URL.match(value)
        if match is not None:
            found.add(int(match.group(2) or (HTTPS if match.group(1) == "https" else 80)))
    return tuple(sorted(found))


class Lexicon:
    """See update.Update.  One update at a time: many providers read, change and write back."""

    modules: tuple[str, ...] = MODULES

    def __init__(self, task: Task, secret: bytes, resolver: Resolver) -> None:
        self._name = task.update[1] if len(task.update) > 1 else ""
        self._options = parse(secret.decode("utf-8", "replace"))
        self.ports = ports(self._options)
        self.how = f"lexicon {self._name}"
        self._ttl = task.ttl
        self._timeout = task.update_timeout
        self._deadline = 0.0
        self._lock = threading.Lock()
        self._provider = self._load()
        self._limit_requests()
        resolver.replace_getaddrinfo()

    def _load(self) -> Any:
        """Return the provider's class; raises ConfigError."""
        why = ""
        for place in _PLACES:
            try:
                return importlib.import_module(f"{place}.{self._name}").Provider
            except ModuleNotFoundError as exc:
                missing = exc.name or ""
                if missing.partition(".")[0] != "lexicon":
                    why = f"lexicon's provider “{self._name}” needs the Python module {missing}"
                elif missing == "lexicon":
                    why = ("update = lexicon needs the package python3-lexicon (Debian 13 has "
                           "none: see update = command)")
        raise ConfigError(why or f"lexicon has no provider “{self._name}”")

    def _limit_requests(self) -> None:
        """Let no request of a provider's, which names no limit, last for ever."""
        import requests.adapters
        import requests.sessions

        outer = self

        class Limited(requests.adapters.HTTPAdapter):  # type: ignore[misc]
            """One that knows until when an update may take."""

            def send(self, request: Any, stream: bool = False, timeout: Any = None,
                     *arguments: Any, **more: Any) -> Any:
                """Send a request, in the time that is left."""
                left = max(0.1, outer._deadline - time.monotonic())
                return super().send(request, stream, left, *arguments, **more)

        sessions: Any = requests.sessions
        sessions.HTTPAdapter = Limited

    def add(self, record: Record, zone: str) -> None:
        """Publish one more value.  Raises Error."""
        self._call(zone, lambda provider: provider.create_record(
            "TXT", record.name, record.value))

    def remove(self, record: Record, zone: str) -> None:
        """Remove this value alone.  Raises Error."""
        self._call(zone, lambda provider: provider.delete_record(
            None, "TXT", record.name, record.value))

    def servers(self) -> Sequence[Server]:
        """Return nobody: a hoster's zones are found in the DNS."""
        return ()

    def _call(self, zone: str, call: Any) -> None:
        if not zone:
            raise Error("the zone is not known: is its name server reachable?")
        with self._lock:
            self._deadline = time.monotonic() + self._timeout
            try:
                provider = self._made(zone)
                provider.authenticate()
                done = call(provider)
                getattr(provider, "cleanup", lambda: None)()
            except Exception as exc:   # of some eighty providers, and their libraries
                raise Error(f"{self.how}: {self._told(exc)}") from exc
        if done is False:
            raise Error(f"{self.how}: it did not do it")

    def _made(self, zone: str) -> Any:
        from lexicon.config import ConfigResolver
        resolver: Any = ConfigResolver
        config = resolver().with_dict({
            "provider_name": self._name, "action": "create", "type": "TXT", "domain": zone,
            "ttl": self._ttl, self._name: dict(self._options)})
        return self._provider(config)

    def _told(self, exc: Exception) -> str:
        """Return what an exception tells, without what the credentials are."""
        text = f"{type(exc).__name__}: {exc}"
        for name, value in self._options.items():
            if len(value) >= _SHORTEST_SECRET and _URL.match(value) is None:
                for form in (value, quote(value), quote(value, ""), quote_plus(value)):
                    text = text.replace(form, f"<{name}>")
        return printable(text, 500)
