"""Two trees of this project side by side: every figure measured alternately from both.

What one run shows is a ratio, and that the other tree was measured a moment before and after.
Each figure is a cost, the less the better.  Of the pairs the median ratio is told, and the ratio
of the two minima, which a busy machine disturbs least; a figure has become worse only where both
say so.
"""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from harness.pebble import Pebble
from harness.run import ENVIRONMENT, PARENT, ROOT, Prefix, Site
from harness.sid import say

from letsencrypt_tiny.master.commands.opening import KIND

from . import issuance, measure, scan, signer, verify
from .peers import Job, Tiny

PARTS = ("startup", "scan", "issuance", "signer", "memory")
WORSE = 1.03          # more than that, and it has to be explained
SECTIONS = 1000       # of which none is due
ORDERS = 500          # whose memory is looked at
MANY = 200            # certificates, with an account key as “add” makes it
LIMIT = 600.0         # seconds for one run

Once = Callable[[], dict[str, float]]   # measures: {what: how much}


class Figure(NamedTuple):
    """What was measured of both trees, pair by pair."""

    name: str
    unit: str
    then: list[float]   # of the other tree
    now: list[float]    # of this one

    @property
    def pairs(self) -> float:
        """The median ratio of now to then."""
        return statistics.median(now / then for then, now in zip(self.then, self.now))

    @property
    def least(self) -> float:
        """The ratio of the minima."""
        return min(self.now) / min(self.then)

    @property
    def verdict(self) -> str:
        """Whether it has become worse."""
        worse = [ratio > WORSE for ratio in (self.pairs, self.least)]
        return "**worse**" if all(worse) else "unclear" if any(worse) else ""


class Two(NamedTuple):
    """Something of the other tree and of this one."""

    then: Any
    now: Any


def compare(other: Path, server: Pebble, parts: Sequence[str], runs: int | None, quick: bool
            ) -> list[Figure]:
    """Install both trees and measure the ``parts``; ``runs`` pairs, or as many as suit each."""
    measurements = {"startup": _startup, "scan": _scan, "issuance": _issuance,
                    "signer": _signer, "memory": _memory}
    figures: list[Figure] = []
    with ExitStack() as stack:
        prefixes = []
        for root in other, ROOT:
            prefixes.append(Prefix(root.resolve()))
            stack.callback(prefixes[-1].remove)
        for part in PARTS:
            if part in parts:
                with measurements[part](Two(*prefixes), server, quick) as todo:
                    for name, usual, both in todo:
                        figures += _alternate(name, runs or (3 if quick else usual), both)
    return figures


Todo = Iterator[list[tuple[str, int, Two]]]   # a name, pairs, and two Once


def _alternate(name: str, runs: int, both: Two) -> list[Figure]:
    """Measure now and then in turn, each as often the first of a pair as the other."""
    found: dict[str, Two] = {}
    for number in range(-1, runs):
        order = (0, 1) if number % 2 else (1, 0)
        for which in order:
            for unit, value in both[which]().items():
                if number >= 0:   # the first pair warms up
                    found.setdefault(unit, Two([], []))[which].append(value)
    figures = [Figure(name, unit, *values) for unit, values in found.items()]
    for figure in figures:
        say(f"{name}: {figure.unit}: {statistics.median(figure.then):.4g} before, "
            f"{statistics.median(figure.now):.4g} now; ratio {figure.pairs:.3f}, "
            f"of the least {figure.least:.3f}")
    return figures


def _command(argv: Sequence[str], statuses: Sequence[int] = (0,)) -> Once:
    def once() -> dict[str, float]:
        usage = measure.run(argv, ENVIRONMENT, LIMIT)
        if usage.status not in statuses:
            raise RuntimeError(f"{' '.join(argv)}: status {usage.status}: {usage.output[-500:]}")
        return {"wall, ms": 1000 * usage.wall, "CPU, ms": 1000 * usage.cpu}
    return once


@contextlib.contextmanager
def _startup(prefixes: Two, _server: Pebble, _quick: bool) -> Todo:
    """Of each program, to the point where it knows its arguments: all that it imports."""
    programs = {
        "master": ("master", ["--version"]), "signer": ("accountd", ["--version"]),
        "client": ("client", []), "web server": ("webserver", [])}
    yield [(f"start of the {name}", 41, Two(*[
        _command([str(getattr(prefix, attribute)), *arguments], (0, 2)) for prefix in prefixes]))
        for name, (attribute, arguments) in programs.items()]


@contextlib.contextmanager
def _scan(prefixes: Two, server: Pebble, quick: bool) -> Todo:
    size = SECTIONS // 10 if quick else SECTIONS
    with _sites(prefixes) as sites, \
            tempfile.TemporaryDirectory(prefix="scan-", dir=PARENT) as directory:
        make = scan.Certificates(Path(directory))
        yield [(f"nothing due in {size} sections", 21, Two(*(
            _command(scan.nothing_due(site, server, make, size)) for site in sites)))]


@contextlib.contextmanager
def _issuance(prefixes: Two, server: Pebble, quick: bool) -> Todo:
    many = MANY // 20 if quick else MANY
    with _programs(prefixes, server) as both, _programs(prefixes, server, KIND) as added:
        yield [*((f"{count} certificate{'s'[:count - 1]}", 21 if count == 1 else 11, Two(*(
            _certificates(tiny, count, False) for tiny in both)))
            for count in ((1,) if quick else (1, 10))),
            (f"{many} certificates, account key {signer.KINDS[KIND]}", 5, Two(*(
                _certificates(tiny, many, False) for tiny in added))),
            ("… renewals by the same keys", 5, Two(*(_renewals(tiny) for tiny in added)))]


@contextlib.contextmanager
def _memory(prefixes: Two, server: Pebble, quick: bool) -> Todo:
    count = 20 if quick else ORDERS
    with _programs(prefixes, server) as both:
        yield [(f"{count} orders", 3, Two(*(_certificates(tiny, count, True) for tiny in both)))]


@contextlib.contextmanager
def _signer(prefixes: Two, _server: Pebble, quick: bool) -> Todo:
    with ExitStack() as stack:
        todo = []
        for kind, name in signer.KINDS.items():
            sites = stack.enter_context(_sites(prefixes))
            signers: list[tuple[int, Path]] = []
            for site in sites:
                site.genkey(kind)
                path = signer.socket_directory(site) / "S"
                pid = stack.enter_context(
                    signer.serving(site.signer(f"--socket={path}", "--quiet"), path))
                signers.append((pid, path))
            total = signer.amount(signers[0][1], 0.3 if quick else 1.0)
            todo += [(f"a signature by {name}, {connections} at once", 15, Two(*(
                _signatures(*at, connections, total // connections) for at in signers)))
                for connections in (1, 4)]
        yield todo


def _signatures(pid: int, path: Path, connections: int, amount: int) -> Once:
    def once() -> dict[str, float]:
        before = measure.cpu_of(pid)
        wall = 1 / signer.rate(path, connections, amount)
        cpu = (measure.cpu_of(pid) - before) / (amount * connections)
        return {"wall, ms": 1000 * wall, "CPU, ms": 1000 * cpu}
    return once


def _certificates(tiny: Tiny, count: int, look: bool) -> Once:
    def once() -> dict[str, float]:
        usage = _checked(tiny.job(issuance.fresh_names(count, 1)), look)
        if look:
            return {"peak, MiB": usage.peak / 2**20}
        return {"wall, ms": 1000 * usage.wall, "CPU, ms": 1000 * usage.cpu}
    return once


def _renewals(tiny: Tiny) -> Once:
    """Once more all of the last certificates; from the first time on CSRs are kept."""
    def once() -> dict[str, float]:
        usage = _checked(tiny.renewal())
        return {"wall, ms": 1000 * usage.wall, "CPU, ms": 1000 * usage.cpu}
    return once


def _checked(job: Job, look: bool = False) -> measure.Usage:
    usage = measure.run(job.argv, job.env, LIMIT, look=look)
    if usage.status != 0 or not all(map(verify.is_certificate, job.results)):
        raise RuntimeError(f"status {usage.status}: {usage.output[-500:]}")
    return usage


@contextlib.contextmanager
def _sites(prefixes: Two) -> Iterator[Two]:
    sites = Two(*(Site(prefix) for prefix in prefixes))
    try:
        yield sites
    finally:
        for site in sites:
            site.remove()


@contextlib.contextmanager
def _programs(prefixes: Two, server: Pebble, kind: str = Tiny.account_kind) -> Iterator[Two]:
    both = Two(*(Tiny(server, prefix.path, prefix.path, prefix) for prefix in prefixes))
    try:
        for tiny in both:
            tiny.account_kind = kind
            tiny.set_up()
        yield both
    finally:
        for tiny in both:
            tiny.tidy()


def rows(figures: Sequence[Figure]) -> list[list[str]]:
    """Return a table's rows: medians, their ratio pair by pair, minima, and their ratio."""
    return [[figure.name, figure.unit,
             *(f"{statistics.median(values):.4g}" for values in (figure.then, figure.now)),
             f"{figure.pairs:.3f}", *(f"{min(values):.4g}" for values in (figure.then, figure.now)),
             f"{figure.least:.3f}", str(len(figure.now)), figure.verdict] for figure in figures]


HEAD = ["", "unit", "other", "this", "ratio", "least: other", "this", "ratio", "pairs", ""]
ALIGN = "llrrrrrrrl"
