"""BIND 9 as a resolver and as the two name servers of the zone “test.”, all on this machine.

The resolver is at the addresses of /etc/resolv.conf, in the network namespace of the test run.

>>> with Zones("a A 127.0.0.1") as zones:
...     zones.read("a CAA 0 issue \\";\\"")
"""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from letsencrypt_tiny.client.online import surroundings

from .daemon import Daemon
from .net import is_listening

FIRST, SECOND = "127.0.0.2", "127.0.0.3"

_CONFIG = """options {{
    directory "{path}"; pid-file none; listen-on {{ {four} }}; listen-on-v6 {{ {six} }};
    recursion {recursion}; allow-query {{ any; }}; allow-recursion {{ any; }}; notify no;
    dnssec-validation no; empty-zones-enable no; minimal-responses no; session-keyfile none;
    forwarders {{ }};
}};
controls {{ }};
zone "test" {{ type primary; file "{path}/{name}.zone"; }};
zone "broken.test" {{ type secondary; primaries {{ 127.0.0.9; }}; }};
"""
_ZONE = """$ORIGIN test.
$TTL 0
@ SOA ns1 root {serial} 60 60 60 0
@ NS ns1
@ NS ns2
ns1 A {first}
ns2 A {second}
{records}
"""


class Zones:
    """``records`` are lines of the zone “test.”, names without it."""

    def __init__(self, *records: str, second: str = SECOND) -> None:
        self._records = records
        self._second = second

    def __enter__(self) -> "Zones":
        self._temporary = tempfile.TemporaryDirectory(prefix="zones-", dir="/srv")
        self._path = Path(self._temporary.name)
        self.resolvers = [address for address, _ in surroundings.resolvers(
            surroundings.read(surroundings.RESOLV_CONF))]
        for address in (*self.resolvers, FIRST, SECOND):   # named looks at the interfaces
            subprocess.run(["ip", "address", "replace", f"{address}/"
                            f"{128 if ':' in address else 32}", "dev", "lo"], check=True)
        self._write("one", self._records, 1)
        self._write("two", self._records, 1)
        self._daemons = [self._start("one", [*self.resolvers, FIRST], "yes"),
                         self._start("two", [SECOND], "no")]
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self._daemons:
            daemon.stop()
        self._temporary.cleanup()

    def differ(self, *records: str) -> None:
        """Let the second server have these records, and another serial number."""
        self._write("two", records, 7)
        self._daemons.pop().stop()
        self._daemons.append(self._start("two", [SECOND], "no"))

    def _write(self, name: str, records: Sequence[str], serial: int) -> None:
        (self._path / f"{name}.zone").write_text(_ZONE.format(
            serial=serial, first=FIRST, second=self._second, records="\n".join(records)))

    def _start(self, name: str, addresses: Sequence[str], recursion: str) -> Daemon:
        four = " ".join(f"{address};" for address in addresses if ":" not in address)
        six = " ".join(f"{address};" for address in addresses if ":" in address) or "none;"
        config = self._path / f"{name}.conf"
        config.write_text(_CONFIG.format(path=self._path, four=four, six=six, name=name,
                                         recursion=recursion))
        made = Daemon(["/usr/sbin/named", "-g", "-n", "1", "-c", str(config)],
                      self._path / f"{name}.log", [])
        deadline = time.monotonic() + 20
        while not is_listening(53, addresses[-1]):
            if time.monotonic() > deadline:
                made.stop()
                raise RuntimeError(made.text())
            time.sleep(0.02)
        return made
