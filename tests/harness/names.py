"""A name server for the ACME servers: pebble-challtestsrv."""

import json
import subprocess
import urllib.request
from pathlib import Path
from collections.abc import Sequence
from typing import Any

from .daemon import Daemon
from .net import free_port

PROGRAM = "/usr/bin/pebble-challtestsrv"


class Names:
    """Answers every A query with 127.0.0.1 and every AAAA query with nothing, until told else.

    ``address`` is host:port of its DNS.  Its log goes to ``directory``.
    """

    def __init__(self, directory: Path, dns_port: int = 0, host: str = "127.0.0.1") -> None:
        dns_port = dns_port or free_port()
        self._management = free_port()
        self.address = f"{host}:{dns_port}"
        usage = subprocess.run([PROGRAM, "-help"], capture_output=True, text=True, check=False)
        # of 2.10 and of earlier versions
        newer = "-dnsserver " in usage.stderr + usage.stdout
        dns = ["-dnsserver", self.address, "-doh", ""] if newer else ["-dns01", self.address]
        self._daemon = Daemon(
            [PROGRAM, *dns, "-http01", "", "-https01", "",
             "-tlsalpn01", "", "-management", f"127.0.0.1:{self._management}",
             "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""],
            directory / "challtestsrv.log",
            [self._management, *([dns_port] if host == "127.0.0.1" else [])])

    def stop(self) -> None:
        """Stop the server."""
        self._daemon.stop()

    def post(self, path: str, message: object) -> bytes:
        """POST to the management interface; raises urllib.error.HTTPError if that refuses."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._management}/{path}",
                                         json.dumps(message).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            body: bytes = response.read()
        return body

    def set_a(self, name: str, addresses: Sequence[str]) -> None:
        """Let ``name`` have these IPv4 addresses; with none, the default again."""
        self.post("clear-a", {"host": name})
        if addresses:
            self.post("add-a", {"host": name, "addresses": list(addresses)})

    def set_aaaa(self, name: str, addresses: Sequence[str]) -> None:
        """Let ``name`` have these IPv6 addresses; with none, the default again."""
        self.post("clear-aaaa", {"host": name})
        if addresses:
            self.post("add-aaaa", {"host": name, "addresses": list(addresses)})

    def set_txt(self, name: str, values: Sequence[str]) -> None:
        """Let ``name`` have exactly these TXT records."""
        host = name.rstrip(".") + "."
        self.post("clear-txt", {"host": host})
        for value in values:
            self.post("set-txt", {"host": host, "value": value})

    def set_servfail(self, name: str, fails: bool = True) -> None:
        """Let queries for ``name`` fail, or work again."""
        self.post("set-servfail" if fails else "clear-servfail", {"host": name})

    def queries(self, name: str) -> list[Any]:
        """Return the DNS queries seen for ``name``."""
        history: list[Any] = json.loads(self.post("dns-request-history", {"host": name}))
        return history
