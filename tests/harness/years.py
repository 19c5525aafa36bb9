"""Years of one host, by a virtual clock: the timer as it is shipped, two CAs, and random faults.

One run in ``REAL`` is of the installed programs, their clocks set ahead, with Pebble behind
``redated``.  The others are of this tree's master in a forked process over the same files, with a
model in the place of its clients: what is said on the wire is formatted and parsed as it is.

>>> world = World(room, site, pebble, seed=1, sections=names, months=24)
>>> for number, moment in enumerate(world.moments()):
...     world.run(number, moment)
"""

import importlib
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from letsencrypt_tiny.common.wire import order as wire
from letsencrypt_tiny.common.wire.renewal import RenewalInfo, RenewalQuery
from letsencrypt_tiny.common.wire.signer import Greeting
from letsencrypt_tiny.common.x509.certid import cert_id
from letsencrypt_tiny.common.x509.certificate import Certificate, parse_chain
from letsencrypt_tiny.master import main as master
from letsencrypt_tiny.master.commands import ordering, suggestions
from letsencrypt_tiny.master.store.journal import Journal

from . import schedule
from .pebble import Pebble
from .redated import DAY, days
from .run import ROOT, Result, Site, run
from .years_ca import Authority, Model, Nobody
from .years_faults import CALM, HOUR, Fault, faults, fill, killed_at, reap

MONTH = 365 * DAY // 12
REAL = 20

_CLOCK = """import sys
import time
with open({path!r}) as file:
    offset = int(file.read())
time.time = lambda real=time.time: real() + offset
"""


def _preload() -> None:
    """Import now what the master would import in each forked run."""
    for path in sorted((ROOT / "letsencrypt_tiny").rglob("*.py")):
        if path.relative_to(ROOT / "letsencrypt_tiny").parts[0] in ("common", "master"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if not name.endswith("__init__"):
                importlib.import_module(name)


class Installed(NamedTuple):
    """What there is of a section."""

    certificate: Certificate
    moment: float          # when it was seen first
    stamp: "tuple[int, int]"


class Happened(NamedTuple):
    """A run, as it was."""

    moment: float
    kind: str              # real, or model
    status: int            # negative: killed
    faults: "tuple[Fault, ...]"
    output: str
    requests: "Counter[str]"
    memory: int            # kB, of the master
    seconds: float         # of processor time
    killed: bool

    def spoilt(self) -> bool:
        """Something was wrong with the machine."""
        return self.killed or any(one.kind in ("full", "clock") for one in self.faults)


class World:
    """The host, its CAs and what goes wrong."""

    def __init__(self, room: Path, site: Site, pebble: Pebble, seed: int, sections: Sequence[str],
                 months: int, real: int = REAL) -> None:
        self.dice, self.site, self.sections = random.Random(seed), site, sections
        self.begin = float(int(time.time()))
        self.length, self._real = months * MONTH, real
        self.room = room
        room.chmod(0o755)
        self._offset, self._skew = room / "offset", 0
        self._shift = 0.0
        self.orders: dict[str, tuple[str, str]] = {}     # URL -> section, chain
        self._ended: list[tuple[float, str]] = []
        self.windows: dict[str, tuple[int, int]] = {}
        self.installed: dict[str, Installed] = {}
        self.told: dict[str, float] = {}
        self.count: Counter[str] = Counter()
        self.active: tuple[Fault, ...] = ()
        self._feed = tempfile.TemporaryFile()
        self._output = tempfile.TemporaryFile()
        self.authorities: dict[str, Authority] = {}
        _preload()
        for name in ("a", "b"):
            path = room / name
            self.authorities[name] = self._authority(name, path, pebble)
        self.faults = faults(self.dice, list(self.authorities), sections, self.length)
        self._configure(pebble)

    def _authority(self, name: str, path: Path, pebble: Pebble) -> Authority:
        made = Authority(self, name, path, pebble.directory)
        (path / "upstream.pem").write_bytes(pebble.ca_file.read_bytes())
        return made

    def _configure(self, pebble: Pebble) -> None:
        site, room, (first, second) = self.site, self.room, self.authorities.values()
        roots = room / "roots.pem"
        roots.write_text(first.ca.root.read_text() + second.ca.root.read_text())
        for program in (site.prefix.master, site.prefix.accountd, site.prefix.client,
                        site.prefix.webserver):
            text = program.read_text()
            assert "\nimport sys\n" in text
            program.write_text(text.replace("\nimport sys\n", "\n" + _CLOCK.format(
                path=str(self._offset)), 1))
        self.set_clock(self.begin)
        openssl = room / "openssl"    # verify has a clock of its own
        openssl.write_text("#!/bin/bash\n"
                           f"read -r offset <{self._offset}\n"
                           '[ "$1" = verify ] && set -- verify -attime $((EPOCHSECONDS + offset)) '
                           '"${@:2}"\nexec /usr/bin/openssl "$@"\n')
        openssl.chmod(0o755)
        notify = room / "notify"
        notify.write_text(f'#!/bin/sh\n[ ! -e {room}/deaf ] || exit 1\n'
                          f'echo "$LETSENCRYPT_TINY_SECTIONS" >>{room}/notified\n')
        notify.chmod(0o755)
        site.at_once = True
        site.main[""]["openssl"] = str(openssl)
        site.main["client"].update({"server": first.directory, "ca-file": str(first.ca.root)})
        site.main["ca b"] = {"server": second.directory, "ca-file": str(second.ca.root)}
        site.main["webserver"]["listen"] = f"127.0.0.1:{pebble.http_port}"
        site.genkey()
        for number, name in enumerate(self.sections):
            site.certificate(name, [f"{name}.example"], notify=str(notify), CAfile=str(roots),
                             ca=("default", "b", "default b", "b default")[number // 4 % 4])
        for arguments in ([], ["--ca=b"]):
            done = run(site.command("account", "--register", "--tos-agreed", *arguments))
            assert done.returncode == 0, done.stderr
        known = json.loads((site.lib / "state/accounts.json").read_text())
        (key,) = known[first.directory]
        self.greeting = Greeting("ES256", {}, key, None, True)
        for one in self.authorities.values():
            one.heard()

    def cas(self, section: str) -> "list[str]":
        """Return the CAs of a section."""
        words = self.site.certs[section]["ca"].replace("default", "a")
        return words.split()

    def close(self) -> None:
        for authority in self.authorities.values():
            authority.stop()
        self._feed.close()
        self._output.close()

    # --- time, and what is wrong ---

    def moments(self) -> Iterator[float]:
        """Yield when runs begin, by the timer that is shipped."""
        for moment in schedule.runs(schedule.timer(schedule.TIMER), self.dice, 3):
            if moment >= self.length:
                return
            yield moment

    def set_clock(self, moment: float, skew: int = 0) -> None:
        """It is that time (Unix) from now on; the host's clock is wrong by ``skew``."""
        self._shift, self._skew = moment - time.time(), skew
        self._offset.write_text(f"{int(self._shift) + skew}\n")

    def truth(self) -> float:
        """Return what time it is."""
        return self._clock() + self._shift

    _clock = staticmethod(time.time)

    def outage(self, name: str) -> str:
        """Return what is wrong with a CA."""
        found = {fault.kind for fault in self.active if fault.whom == name}
        return next((kind for kind in ("down", "closed", "nonces") if kind in found), "")

    def about(self, kind: str, section: str) -> bool:
        """Say whether a CA has something against a section."""
        return any(fault.kind == kind and fault.whom == section for fault in self.active)

    # --- what a forked master tells ---

    def tell(self, **what: Any) -> None:
        """Something has happened at a CA: even if nobody lives to hear of it."""
        self._write(self._feed.fileno(), json.dumps(what).encode() + b"\n")
        self._learn(what)

    _write = staticmethod(os.write)

    def _learn(self, what: "dict[str, Any]") -> None:
        if "order" in what:
            self.orders[what["order"]] = what["section"], ""
        elif "gone" in what:
            self.orders.pop(what["gone"], None)
        elif "issued" in what:
            self.orders[what["issued"]] = what["section"], what["chain"]

    def _replay(self) -> "Counter[str]":
        """Learn what the CAs did for a process that has ended; return requests by CA."""
        self._feed.seek(0)
        requests: Counter[str] = Counter()
        for line in self._feed:
            what = json.loads(line)
            self._learn(what)
            if "requests" in what:
                requests[what["whom"]] += what["requests"]
            for kind in what.keys() & {"order", "gone", "issued"}:
                self.count[kind] += 1
            if "issued" in what:    # after some days nobody asks for it any more
                self._ended.append((self.truth(), what["issued"]))
        while self._ended and self._ended[0][0] < self.truth() - 10 * DAY:
            self.orders.pop(self._ended.pop(0)[1], None)
        self._feed.seek(0)
        self._feed.truncate()
        return requests

    def window(self, query: RenewalQuery) -> Any:
        """Return when a certificate is to be renewed, as Boulder says."""
        begin, end = self.windows.get(query.cert_id, (0, 0))
        if not end:
            return wire.Failed(query.section, "not found", "refused", "malformed")
        left = (end - begin) // (3 if end - begin >= 10 * DAY else 2)
        return RenewalInfo(query.section, end - left - left // 20, end - left + left // 20,
                           6 * HOUR)

    # --- runs ---

    def run(self, number: int, moment: float) -> Happened:
        """Let the timer start a run at a moment of the simulation."""
        self.active = tuple(fault for fault in self.faults if fault.at(moment))
        kinds = {fault.kind for fault in self.active}
        skew = sum(fault.by for fault in self.active if fault.kind == "clock")
        self.set_clock(self.begin + moment, skew)
        deaf = self.room / "deaf"
        deaf.touch() if "notify" in kinds else deaf.unlink(missing_ok=True)
        kill = self.dice.randrange(1, 80) if moment < self.length - CALM \
            and self.dice.random() < 0.05 else 0
        filler = self.site.lib / "filler"
        if "full" in kinds:
            fill(filler)
        real = self._real and number % self._real == self._real // 2
        try:
            done = self._really(moment, kill) if real else self._fork(moment, kill)
        finally:
            filler.unlink(missing_ok=True)
        self._look()
        return done

    def _fork(self, moment: float, kill: int) -> Happened:
        self._output.seek(0)
        self._output.truncate()
        luck = self.dice.random()
        pid = os.fork()
        if pid == 0:
            self._child(kill, luck)
        _, status, usage = os.wait4(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            reap()
        self._output.seek(0)
        return Happened(moment, "model", code, self.active,
                        self._output.read().decode(errors="replace"), self._replay(),
                        usage.ru_maxrss, usage.ru_utime + usage.ru_stime,
                        code == -signal.SIGKILL)

    def _child(self, kill: int, luck: float) -> None:
        """Be the master; never returns."""
        status = 70
        try:
            for number in (1, 2):
                os.dup2(self._output.fileno(), number)
            real, offset = time.time, int(self._shift) + self._skew
            time.time = lambda: real() + offset
            self.dice.seed(luck)
            Model.world = self
            for module in (ordering, suggestions):
                module.Conversation = Model    # type: ignore[attr-defined]
            ordering.Answering = Nobody        # type: ignore[misc,assignment]
            if kill:
                killed_at(kill)
            status = master.main([f"--config={self.site.config}", "--quiet", "newOrder"])
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)

    def _really(self, moment: float, kill: int) -> Happened:
        for name, authority in self.authorities.items():
            mode = self.outage(name)
            authority.tell({"nonces": "closed"}.get(mode, mode) or "ok", int(self._shift))
        argv = self.site.command("--quiet", "newOrder")
        done: Result[str]
        if kill:
            with self.site.popen("--quiet", "newOrder") as process:
                try:
                    _, error = process.communicate(timeout=kill / 20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    _, error = process.communicate()
            done = subprocess.CompletedProcess(argv, process.returncode, "", error)
            reap()
        else:
            done = run(argv, timeout=300)
        requests = Counter({name: authority.heard()
                            for name, authority in self.authorities.items()})
        return Happened(moment, "real", done.returncode, self.active, done.stderr, requests, 0, 0,
                        done.returncode < 0)

    # --- what became of it ---

    def _look(self) -> None:
        """Read what is installed now, and who was told."""
        now = self.truth()
        for name in self.sections:
            try:
                info = os.stat(self.site.file(name))
            except FileNotFoundError:
                continue
            stamp, before = (info.st_ino, info.st_mtime_ns), self.installed.get(name)
            if before is not None and before.stamp == stamp:
                continue
            leaf = parse_chain(self.site.file(name).read_bytes())[0]
            self.windows[cert_id(leaf)] = leaf.not_before, leaf.not_after
            if before is None or before.certificate.der != leaf.der:
                self.count["installed"] += 1
                self.installed[name] = Installed(leaf, now, stamp)
            else:
                self.installed[name] = before._replace(stamp=stamp)
        path = self.room / "notified"
        if path.exists():
            for name in path.read_text().split():
                self.told[name] = now
            path.unlink()

    def left(self, name: str) -> float:
        """Return the seconds that a section's certificate is valid for yet."""
        return self.installed[name].certificate.not_after - self.truth()

    def life(self, name: str) -> int:
        """Return the lifetime of a section's certificate (seconds), or what the host has seen of
        it: less, if its clock was ahead when it was installed."""
        installed = Journal(str(self.site.lib / "state")).section(name).installed
        return min(lifetime(name), self.installed[name].certificate.not_after - installed)

    def state(self, name: str) -> str:
        """Return what is remembered of a section, for who wonders."""
        journal = Journal(str(self.site.lib / "state"))
        return (f"{journal.section(name)}, it is {self.truth():.0f}, which ends "
                f"{self.installed[name].certificate.not_after}")

    def files(self) -> "tuple[int, int]":
        """Return how many files there are, and how large the state is (bytes)."""
        every = [path for path in self.site.lib.rglob("*") if not path.is_dir()]
        return len(every), sum(path.stat().st_size for path in every
                               if path.is_relative_to(self.site.lib / "state"))


def lifetime(section: str) -> int:
    """Return that of a section's certificates, in seconds."""
    return days(section) * DAY
