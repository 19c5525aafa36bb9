"""Years of one host, by a virtual clock: the timer as it is shipped, two CAs, and random faults.

One run in ``REAL`` is of the installed programs, their clocks set ahead, with Pebble behind
``redated``.  The others are of this tree's master in a forked process over the same files, with a
model in the place of its clients: what is said on the wire is formatted and parsed as it is.

>>> world = World(room, site, pebble, seed=1, sections=names)
>>> for moment in world.moments(months=24):
...     world.run(moment)
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
from typing import Any, ClassVar, NamedTuple

from letsencrypt_tiny.common.wire import order as wire
from letsencrypt_tiny.common.wire.renewal import RenewalInfo, RenewalQuery
from letsencrypt_tiny.common.wire.signer import Greeting
from letsencrypt_tiny.common.x509.certid import cert_id
from letsencrypt_tiny.common.x509.certificate import Certificate, parse_chain
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.master import main as master
from letsencrypt_tiny.master.commands import ordering, suggestions
from letsencrypt_tiny.master.peers.conversation import Answered, Ended

from . import ca, daemon, schedule
from .net import free_port
from .pebble import Pebble
from .redated import DAY, Dater, days
from .run import ROOT, Result, Site, run

HOUR = 3600
MONTH = 365 * DAY // 12
REAL = 20
CALM = 20 * DAY          # at the end, so that all that was late has come
# Seconds that the host's clock is wrong by
SKEWS = (-400 * DAY, -3 * DAY, -2 * HOUR, 2 * HOUR, 3 * DAY, 400 * DAY)
# Calls that a run is killed at
CALLS = ("rename", "replace", "fsync", "write", "unlink", "link", "mkdir", "open")

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


class Fault(NamedTuple):
    """Something is wrong for some time (moments since the epoch of the simulation)."""

    kind: str       # down, closed, nonces: a CA; refused, limited: a section; full, clock, notify
    begin: float
    end: float
    whom: str = ""  # CA or section
    by: int = 0     # of a clock

    def at(self, moment: float) -> bool:
        return self.begin <= moment < self.end


def faults(dice: random.Random, cas: Sequence[str], sections: Sequence[str], length: float
           ) -> list[Fault]:
    """Draw what goes wrong in ``length`` seconds."""
    found: list[Fault] = []

    def draw(kind: str, every: float, shortest: float, longest: float, whom: str = "",
             by: int = 0) -> None:
        begin = dice.expovariate(1 / every)
        while begin < length - CALM:
            # as many of some hours as of some days
            seconds = shortest * (longest / shortest) ** dice.random()
            found.append(Fault(kind, begin, min(begin + seconds, length - CALM), whom, by))
            begin += seconds + dice.expovariate(1 / every)

    for name in cas:
        draw("down", 30 * DAY, HOUR, 7 * DAY, name)
        draw("closed", 60 * DAY, HOUR, 3 * DAY, name)
        draw("nonces", 60 * DAY, HOUR, DAY, name)
    for name in sections:
        draw("refused", 400 * DAY, HOUR, 6 * DAY, name)
        draw("limited", 400 * DAY, HOUR, 2 * DAY, name)
    draw("full", 45 * DAY, HOUR, 2 * DAY)
    draw("notify", 20 * DAY, HOUR, 3 * DAY)
    for by in SKEWS:
        draw("clock", 180 * DAY, HOUR, DAY, by=by)
    return sorted(found, key=lambda fault: fault.begin)


class Authority:
    """What a CA's client would say, and the CA behind it."""

    def __init__(self, world: "World", name: str, room: Path, upstream: str) -> None:
        room.mkdir()
        room.chmod(0o755)
        self.name, self.room, self._world = name, room, world
        self.ca = ca.CA(room, f"CA {name}")
        chain, key = self.ca.server()
        (room / "server.pem").write_bytes(chain.read_bytes())
        (room / "server.key").write_bytes(key.read_bytes())
        self.dater = Dater(self.ca)
        self.port = free_port()
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        self.tell("ok", 0)
        (room / "requests").touch()
        self._daemon = daemon.Daemon(
            ["/usr/bin/python3", "-B", "-m", "harness.redated", str(self.port), upstream,
             str(room)], room / f"redated-{name}.log", [self.port],
            {"PYTHONPATH": f"{ROOT}:{ROOT}/tests"})

    def stop(self) -> None:
        self._daemon.stop()

    def tell(self, mode: str, offset: int) -> None:
        """Let real clients find the CA so."""
        (self.room / "mode").write_text(f"{mode} {offset}")

    def heard(self) -> int:
        """Return how many requests real clients have made since."""
        text = (self.room / "requests").read_text()
        (self.room / "requests").write_text("")
        return text.count("\n")

    # --- in the place of a client ---

    def answers(self, requests: Sequence[Any], doubted: bool, written: "dict[str, bool]"
                ) -> Iterator[Any]:
        """What its client would say; requests are counted as the real one makes them
        (integration/test_outage.py)."""
        fault = self._world.outage(self.name)
        about = all(isinstance(request, RenewalQuery) for request in requests)
        if fault == "down":
            self._count(1 if doubted or about else 3)
            for request in requests:
                yield wire.Failed(request.section, "127.0.0.1: connection refused", "lost",
                                  elsewhere="down")
            return
        self._count(1)
        yield wire.Directory((), self.name == "a")
        if about:
            for request in requests:
                self._count(1)
                yield self._world.window(request)
            return
        self._count(1)
        if fault:
            self._count({"closed": (13, 1), "nonces": (29, 6)}[fault][doubted])
            for request in requests:
                yield wire.Failed(request.section, "127.0.0.1: closed",
                                  "busy" if fault == "closed" else "unfinished",
                                  None if fault == "closed" else "badNonce", elsewhere="down")
            return
        for request in requests:
            yield from self._order(request, written)

    def _order(self, request: wire.Order, written: "dict[str, bool]") -> Iterator[Any]:
        world, section = self._world, request.section
        url = request.url if request.url in world.orders else None
        if request.url is not None or request.asked:
            self._count(1)
        if url is None and request.asked and self.name == "a":   # the other has no list
            url = next((found for found, (names, _) in world.orders.items()
                        if names == section and found.startswith(self.directory)), None)
        if url is None:
            self._count(1)
            if world.about("limited", section):
                yield wire.Failed(section, "too many", "busy", "rateLimited",
                                  world.dice.choice((None, 60, 7200, 40000)), "limited")
                return
            url = f"{self.directory}/order/{os.urandom(8).hex()}"
            world.tell(order=url, section=section)
        yield wire.Progress(section, "pending", url, 0, f"{url}/finalize")
        if not written.get(url):
            yield wire.Failed(section, "not written down", "unfinished")
            return
        self._count(5)
        if world.about("refused", section):
            world.tell(gone=url)
            yield wire.Failed(section, "no", "refused", "unauthorized")
            return
        if world.dice.random() < 0.02:
            yield wire.Failed(section, "the order is still processing", "unfinished",
                              retry_after=world.dice.choice((None, 600, 30000)))
            return
        self._count(2)
        csr = parse_csr(request.csr)
        before = world.orders.get(url, ("", ""))[1]
        chain = before or self.dater.issue(csr.spki, [name for _, name in csr.names],
                                           world.truth())
        world.tell(issued=url, section=section, chain=chain)
        yield wire.Progress(section, "valid", url, 0, f"{url}/finalize")
        yield wire.Issued(section, chain)

    def _count(self, number: int) -> None:
        self._world.tell(requests=number, whom=self.name)


class Model:
    """In the place of ``Conversation``: the client and the signer of one CA."""

    world: ClassVar["World"]

    def __init__(self, loop: Any, _messages: Any, _config: Any, issuer: Any) -> None:
        self.issuer, self._loop = issuer, loop
        self.error = None
        self.awaited = self.runs = False
        self.heard = self.greeting = self.world.greeting
        self._requests: list[Any] = []
        self._written: dict[str, bool] = {}
        self._descriptor = -1
        self._answers: Iterator[Any] = iter(())

    def start_signer(self, *_: Any) -> None:
        """It needs none."""

    def start_client(self, requests: Sequence[Any], *_: Any) -> None:
        self._requests = [wire.parse_request(wire.format_request(request)[:-1])
                          for request in requests]

    def begin(self, _account: str, *_: Any, doubted: bool = False, **__: Any) -> None:
        authority = next(one for one in self.world.authorities.values()
                         if one.directory == self.issuer.directory)
        self._answers = authority.answers(self._requests, doubted, self._written)
        self._descriptor, writer = os.pipe()
        os.close(writer)     # there is always something to read
        self.runs = True
        self._loop.add(self)

    def acknowledge(self, _section: str, url: str, kept: bool) -> None:
        self._written[url] = kept

    def fileno(self) -> int:
        return self._descriptor

    def deadline(self) -> float:
        return float("inf")

    def expire(self) -> "tuple[()]":
        return ()

    def receive(self) -> Iterator[object]:
        answer = next(self._answers, None)
        if answer is None:
            self.runs = False
            self._loop.remove(self)
            yield Ended(self, None)    # type: ignore[arg-type]
        else:
            yield Answered(self, wire.parse_answer(wire.format_answer(answer)[:-1])
                           )    # type: ignore[arg-type]

    def tick(self) -> None:
        """What is told arrives."""

    def interrupt(self) -> None:
        """It is at its end soon."""

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove(self)
            os.close(self._descriptor)
            self._descriptor = -1


class Nobody:
    """In the place of ``Answering``: the model asks for no answer."""

    def __init__(self, *_: Any) -> None:
        pass

    def directories(self, clients: int) -> "list[str]":
        return ["/"] * clients

    def doors(self, *_: Any) -> "tuple[()]":
        return ()

    why = doors

    def nothing(self, *_: Any) -> None:
        pass

    open = serve = check = explain = close = nothing


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
            _fill(filler)
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
            _reap()
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
                _killed_at(kill)
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
            _reap()
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

    def files(self) -> "tuple[int, int]":
        """Return how many files there are, and how large the state is (bytes)."""
        every = [path for path in self.site.lib.rglob("*") if not path.is_dir()]
        return len(every), sum(path.stat().st_size for path in every
                               if path.is_relative_to(self.site.lib / "state"))


def lifetime(section: str) -> int:
    """Return that of a section's certificates, in seconds."""
    return days(section) * DAY


def _fill(path: Path) -> None:
    """Leave no byte to others."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def _killed_at(number: int) -> None:
    """Have this process killed at that call of those that change files."""
    left = [number]

    def counted(call: Any) -> Any:
        def instead(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **more)
        return instead
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def _reap() -> None:
    """Whoever outlives a run that was killed is ours: wait for them to end."""
    end = time.monotonic() + 20
    while daemon.strays() and time.monotonic() < end:
        for pid in daemon.strays():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        time.sleep(0.01)
