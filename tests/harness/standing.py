"""Sections that stand in every way there is, on a machine of stand-ins; and a terminal to look at
them from."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from letsencrypt_tiny.common.x509.certid import cert_id
from letsencrypt_tiny.common.x509.certificate import parse_certificate
from letsencrypt_tiny.common.x509.der import read_block
from letsencrypt_tiny.master.settings import certificates, main as settings
from letsencrypt_tiny.master.store import installed
from letsencrypt_tiny.master.store.journal import Journal, SectionState
from letsencrypt_tiny.master.store.pairs import Pairs
from letsencrypt_tiny.master.store.renewals import Renewal, Renewals
from . import ca, terminal
from .machine import SERVER, Machine

DAY = 86400
SCHEMA = Path(__file__).resolve().parents[2] / "share/status.schema.json"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Ground:
    """A machine whose sections ``stand`` as they are told to; none is good for its CAfile."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.at_once = True
        self.authority = ca.CA(machine.path)
        self._key = ca.genkey()
        self.journal = Journal(f"{machine.lib}/state")
        (machine.lib / "state").chmod(0o700)

    def stands(self, name: str, age: float, days: float = 90, names: tuple[str, ...] = (),
               state: SectionState | None = None, **settings: str) -> None:
        """Configure a section, and install a certificate of ``days`` that is ``age`` days old."""
        machine = self.machine
        machine.section(name, names, CAfile="", **settings)
        begin = datetime.now(timezone.utc) - timedelta(days=age)
        asked = machine.certs[name]["names"].split(", ")
        leaf = self.authority.issue(ca.request(asked, self._key), not_before=begin, days=days)
        chain = self.authority.intermediate.read_text()
        machine.file(name, "").mkdir(parents=True)
        for file, text in (("privkey.pem", self._key), ("cert.pem", leaf), ("chain.pem", chain),
                           ("fullchain.pem", leaf + chain)):
            machine.file(name, file).write_text(text)
        machine.file(name, "privkey.pem").chmod(0o600)
        self.remembers(name, state or SectionState(), age)

    def copies(self, name: str, number: int) -> None:
        """Have so many sections more that stand as one does."""
        machine = self.machine
        for copy in (f"{name}-{i}" for i in range(number)):
            machine.certs[copy] = dict(machine.certs[name])
            shutil.copytree(machine.file(name, ""), machine.file(copy, ""))
            self.remembers(copy, self.journal.section(name), 1)

    def remembers(self, name: str, state: SectionState, age: float = 0) -> None:
        """Have that in the journal, of a certificate that was installed so many days ago."""
        self.journal.remember(name, state._replace(
            issuer=SERVER, ca_file="-", key_type="ec:P-256",
            installed=int(time.time() - age * DAY)))

    def suggested(self, name: str, start: float, end: float) -> None:
        """The CA wants it renewed between moments, in days from now on."""
        pem = self.machine.file(name, "cert.pem").read_bytes()
        leaf = parse_certificate(read_block(pem, 0)[1])
        now = time.time()
        first, last = int(now + start * DAY), int(now + end * DAY)
        Renewals(f"{self.machine.lib}/state").remember({name: Renewal(
            cert_id(leaf), leaf.not_after, first, last, (first + last) // 2, int(now) + 3600, 0, 0,
            0, "https://ca.example/why")}, now)

    def compared(self) -> None:
        """The certificates were seen to be for their keys, as after a run."""
        config = settings.load(str(self.machine.configure()))
        pairs = Pairs(config.state_directory)
        for section in certificates.load(config).sections.values():
            found = installed.read(section)
            if found.uncompared:
                pairs.seen(found.pair, found.changed, time.time() + DAY)
        pairs.keep()

    def write(self, file: str, text: str | bytes) -> None:
        """Write a file of the state directory."""
        path = self.machine.lib / "state" / file
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def trouble(self, **troubles: dict[str, Any]) -> None:
        """Have that in troubles.json."""
        self.write("troubles.json", json.dumps(troubles))


@contextmanager
def everything() -> Iterator[Ground]:
    """Sections that stand in every way, to be looked at only."""
    machine = Machine()
    try:
        yield _many(machine)
    finally:
        machine.remove()


def _many(machine: Machine) -> Ground:
    """Return a ground with sections that stand in every way there is."""
    ground, now = Ground(machine), int(time.time())
    ground.stands("www.example.org", 30, names=("www.example.org", "example.org"))
    ground.stands("suggested", 20)
    ground.suggested("suggested", 20, 24)
    ground.stands("six-days", 1, 6.67, state=SectionState(profile="shortlived"))
    ground.stands("due", 61)
    ground.stands("waiting", 61, state=SectionState(not_before=now + 3600))
    ground.stands("near", 86)
    ground.stands("expired", 95)
    ground.stands("untold", 3, state=SectionState(notify=True), notify="systemctl reload nginx")
    machine.section("never")
    machine.section("wrong", ["a_.b..example"])
    ground.stands("gone", 10)
    del machine.certs["gone"]
    ground.remembers("gone as well", SectionState())
    failed = {"since": now - 3 * DAY, "last": now - 60, "runs": 12,
              "why": "the CA cannot connect to 192.0.2.7: Connection refused"}
    untold = "the notification “systemctl reload nginx” ended with status 1"
    ground.trouble(near=failed, untold={**failed, "runs": 2, "why": untold},
                   never={**failed, "runs": 1})
    ground.compared()
    return ground


def on_terminal(machine: Machine, *arguments: str, columns: int = 80, raw: bool = False,
                **environment: str) -> str:
    """Run the program on a terminal; return what it shows, without styles unless ``raw``."""
    status, text = terminal.shown(machine.argv(*arguments), {"TERM": "xterm", **environment},
                                  columns)
    assert status in (0, 1), text
    text = text.replace("\r\n", "\n")
    return text if raw else _STYLE.sub("", text)
