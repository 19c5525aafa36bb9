"""BIND 9: a primary server whose zones take updates, a slow secondary, a resolver.

>>> with Bind(directory) as bind:
...     bind.txt("_acme-challenge.a.example")
"""

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update

from letsencrypt_tiny.common import paths

from .daemon import Daemon

PRIMARY, SECONDARY, RESOLVER = "127.0.0.2", "127.0.0.3", "127.0.0.53"
SLOW = 4        # seconds that the secondary takes at most to follow, and seldom much less
SIGNED = "signed.example"

_OPTIONS = """options {{
    directory "{directory}"; listen-on {{ {address}; }}; listen-on-v6 {{ none; }};
    pid-file none; session-keyfile "{directory}/session.key"; dnssec-validation no;
    allow-transfer {{ any; }}; querylog yes; empty-zones-enable no; notify no;
    minimal-responses no; {more} }};
controls {{ }};
"""
_ZONE = """$TTL 60
@ IN SOA ns1.{zone}. root.{zone}. 1 {refresh} 1 600 3600
@ IN NS ns1.{zone}.
{second}
ns1 IN A 127.0.0.2
ns2 IN A 127.0.0.3
{records}
"""


class Bind:
    """The three servers; ``key_file`` is what tsig-keygen(8) printed.

    ``zones``: those that take updates, and their records in zone-file form; the first has a
    secondary, one named SIGNED is signed (RFC 4033), ``unresolved`` the resolver can't find;
    of ``still`` the secondary has a copy that never changes.
    ``keys`` are for all of them but that with HMAC-SHA224, which is for acme.example.
    """

    def __init__(self, directory: Path, zones: Mapping[str, str], slow: float = SLOW,
                 unresolved: Sequence[str] = (), still: Sequence[str] = ()) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
        self.keys = {algorithm: self._keygen(algorithm, name) for algorithm, name in
                     (("hmac-sha256", "updates"), ("hmac-sha512", "long"), ("hmac-sha224", "acme"))}
        self.key_file = self.keys["hmac-sha256"]
        self._unresolved, self._still = unresolved, still
        self._zones = dict(zones)
        self._slow = slow
        self._servers: list[Daemon] = []

    def _keygen(self, algorithm: str, name: str) -> Path:
        path = self.directory / f"key-{name}"
        path.write_text(subprocess.run(["tsig-keygen", "-a", algorithm, name], check=True,
                                       capture_output=True, text=True).stdout)
        path.chmod(0o600)
        return path

    def __enter__(self) -> "Bind":
        first = next(iter(self._zones))
        (self.directory / "secondary").mkdir()
        primary = [path.read_text() for path in self.keys.values()]
        for zone, records in self._zones.items():
            second = f"@ IN NS ns2.{zone}." if zone == first else ""
            self._zone_file("primary", zone, _ZONE.format(
                zone=zone, second=second, records=records, refresh=self._slow))
            more = "dnssec-policy default;" if zone == SIGNED else ""
            primary.append(f'zone "{zone}" {{ type primary; file "{zone}"; {more}\n'
                           f"  update-policy {{ grant updates zonesub TXT; grant long zonesub "
                           "TXT; grant acme subdomain acme.example TXT; }; };")
        secondary = [f'zone "{first}" {{ type secondary; file "{first}"; masterfile-format text;\n'
                     f"  primaries {{ {PRIMARY}; }}; min-refresh-time {self._slow};\n"
                     f"  max-refresh-time {self._slow}; }};"]
        for zone in self._still:   # a copy that follows nobody
            shutil.copy(self.directory / "primary" / zone, self.directory / "secondary")
            secondary.append(f'zone "{zone}" {{ type primary; file "{zone}"; }};')
        resolver = [f'zone "{zone}" {{ type static-stub; server-addresses {{ {PRIMARY}; }}; }};'
                    for zone in self._zones if zone not in self._unresolved]
        for address in (PRIMARY, SECONDARY, RESOLVER):   # named asks which addresses there are
            subprocess.run(["ip", "address", "replace", f"{address}/8", "dev", "lo"], check=True)
        try:
            self._start("primary", PRIMARY, primary, "recursion no;")
            self._wait_for(first, PRIMARY)   # a secondary that finds nobody tries again much later
            self._start("secondary", SECONDARY, secondary, "recursion no;")
            self._start("resolver", RESOLVER, resolver,
                        "recursion yes; max-cache-ttl 1; max-ncache-ttl 1;")
            self._wait_for(first, SECONDARY, RESOLVER)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._servers:
            self._servers.pop().stop()

    def _zone_file(self, server: str, zone: str, text: str) -> None:
        (self.directory / server).mkdir(exist_ok=True)
        (self.directory / server / zone).write_text(text)

    def _start(self, name: str, address: str, zones: Sequence[str], more: str) -> None:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        config = self.directory / f"{name}.conf"
        options = _OPTIONS.format(directory=directory, address=address, more=more)
        config.write_text(options + "\n".join(zones))
        self._servers.append(Daemon(["/usr/sbin/named", "-g", "-c", str(config)],
                                    self.directory / f"{name}.log", []))

    def _wait_for(self, zone: str, *addresses: str) -> None:
        deadline = time.monotonic() + 20
        while not all(self._ready(zone, address) for address in addresses):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    @staticmethod
    def _ready(zone: str, address: str) -> bool:
        try:
            query = dns.message.make_query(zone, "SOA")
            return bool(dns.query.tcp(query, address, timeout=2).answer)
        except (OSError, dns.exception.DNSException, EOFError):
            return False

    def is_signed(self, zone: str) -> bool:
        """True if the primary answers with signatures."""
        query = dns.message.make_query(zone, "SOA", want_dnssec=True)
        reply = dns.query.tcp(query, PRIMARY, timeout=5)
        return any(rrset.rdtype == dns.rdatatype.RRSIG for rrset in reply.answer)

    @property
    def resolv_conf(self) -> Path:
        """Return a resolv.conf(5) that names the resolver."""
        path = self.directory / "resolv.conf"
        path.write_text(f"nameserver {RESOLVER}\n")
        return path

    @property
    def log(self) -> str:
        """What the servers wrote."""
        return "\n".join(server.text() for server in self._servers)

    def update(self, name: str, *values: str) -> None:
        """Let a name have these TXT values at the primary, and no other."""
        zone = next(zone for zone in self._zones if name.endswith("." + zone))
        update = dns.update.UpdateMessage(zone, keyring=_keyring(self.key_file))
        update.delete(name + ".", "TXT")
        for value in values:
            update.add(name + ".", 60, "TXT", value)
        reply = dns.query.tcp(update, PRIMARY, timeout=5)
        assert reply.rcode() == dns.rcode.NOERROR, reply

    def txt(self, name: str, address: str = PRIMARY) -> list[str]:
        """Return the TXT values of a name."""
        reply = dns.query.tcp(dns.message.make_query(name, "TXT"), address, timeout=5)
        return sorted(data.to_text().strip('"') for rrset in reply.answer for data in rrset
                      if rrset.rdtype == dns.rdatatype.TXT)

    def transfer(self, zone: str) -> list[str]:
        """Return “name value” of all TXT records in a zone."""
        found = []
        for message in dns.query.xfr(PRIMARY, zone, relativize=False):
            found += [f"{rrset.name.to_text()} {data.to_text()}" for rrset in message.answer
                      for data in rrset if rrset.rdtype == dns.rdatatype.TXT]
        return sorted(found)

    def published(self) -> list[str]:
        """Return all TXT records of all zones."""
        return [line for zone in self._zones for line in self.transfer(zone)]


def _keyring(path: Path) -> Any:
    name, secret = re.findall('"([^"]*)"', path.read_text())
    return dns.tsigkeyring.from_text({name: secret})


def with_resolver(resolv_conf: Path, argv: Sequence[str], ca_file: Path | None = None) -> list[str]:
    """Return an argv that runs ``argv`` on a host with another resolv.conf(5), and that trusts
    other CAs if ``ca_file`` is given."""
    trust = f'mount --bind "{ca_file}" {paths.CA_BUNDLE} && ' if ca_file else ""
    return ["/usr/bin/unshare", "--mount", "--", "/bin/sh", "-c",
            f'{trust}mount --bind "$0" /etc/resolv.conf && exec "$@"', str(resolv_conf), *argv]
