"""Certificates by the clock: n of one name for everybody, one of many names, very many."""

import itertools
import tempfile
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.pebble import Pebble
from harness.run import PARENT, Prefix
from harness.sid import say

from letsencrypt_tiny.master.commands.opening import KIND

from . import measure, signer, verify
from .ground import Counters, WebRoot
from .peers import Job, Program, Tiny, installed

_fresh = itertools.count()


class Sample(NamedTuple):
    """One line of the results: ``certificates`` of ``names`` names each, in one run."""

    program: str
    certificates: int
    names: int
    wall: float                 # seconds
    cpu: float                  # seconds
    connections: float          # accepted on the machine
    acme: float | None          # … by the ACME server
    requests: float             # ACME requests
    runs: int                   # of which this is the median by wall clock
    measured: int               # certificates in the run; extrapolated if < certificates


class Fact(NamedTuple):
    """What is to be known of a program."""

    program: str
    version: str
    scripted: bool
    honours_retry_after: bool
    peak: int                   # bytes of PSS, with one certificate; 0 if not measured
    problem: str                # why there are no results, "" otherwise


class Failed(RuntimeError):
    """A program did not obtain what it was asked for."""


class Bench:
    """All programs on the same ground."""

    def __init__(self, server: Pebble, prefix: Prefix, limit: float, look: bool = True) -> None:
        """``limit``: seconds for one run; ``look`` at each program's memory, too."""
        self._server = server
        self._look = look
        self._limit = limit
        self._roots = server.roots()
        self._counters = Counters(server)
        self._stack = ExitStack()
        self._path = Path(self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="bench-", dir=PARENT)))
        self._path.chmod(0o755)
        self._web = WebRoot(server, self._path)
        self.samples: list[Sample] = []
        self.facts: list[Fact] = []
        self.peaks: dict[int, int] = {}   # ours: certificates -> bytes
        self.tiny = Tiny(server, self._path, self._web.challenges, prefix)
        self._stack.callback(self.tiny.tidy)
        self.tiny.set_up()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ours(self, counts: Sequence[int], repeat: int) -> None:
        """Measure ourselves."""
        self._program(self.tiny, counts, repeat)

    def peers(self, names: Sequence[str] | None, counts: Sequence[int], repeat: int) -> None:
        """Measure the peers that are installed."""
        for kind in installed(names):
            path = self._path / kind.name.replace(" ", "-")
            path.mkdir(mode=0o700)
            peer = kind(self._server, path, self._web.challenges)
            with ExitStack() as stack:
                stack.callback(peer.tidy)
                if peer.web_root:
                    stack.enter_context(self._web)
                try:
                    peer.set_up()
                    self._program(peer, counts, repeat)
                except RuntimeError as exc:
                    say(f"{peer.name}: {exc}")
                    self.facts.append(_fact(peer, 0, str(exc)))

    def many_names(self, names: int, repeat: int) -> None:
        """One certificate of many names, ours."""
        self._measure(self.tiny, 1, names, repeat)

    def by_account_key(self, count: int) -> list[dict[str, Any]]:
        """What so many certificates take us, and their renewals by the same keys, with an account
        key as the peers have it, and with one as ``add`` makes it."""
        return [self._with_account_key(kind, count) for kind in (Tiny.account_kind, KIND)]

    def _with_account_key(self, kind: str, count: int) -> dict[str, Any]:
        tiny = Tiny(self._server, self._path, self._web.challenges, self.tiny.prefix)
        tiny.account_kind = kind
        key, certificates = signer.KINDS[kind], fresh_names(count, 1)
        with ExitStack() as stack:
            stack.callback(tiny.tidy)
            tiny.set_up()
            first = self._check(tiny.job(certificates), certificates)
            self._check(tiny.renewal(), certificates)    # from now on CSRs are kept
            again = self._check(tiny.renewal(), certificates)
        for words, usage in ("certificates", first), ("renewals", again):
            say(f"letsencrypt-tiny: {count} {words}, account key {key}: {usage.wall:.2f} s, "
                f"CPU {usage.cpu:.3f} s")
        return {"key": key, "certificates": count, "first": first.cpu, "renewals": again.cpu}

    def memory(self, count: int) -> None:
        """The peak of our memory with ``count`` orders in a run that isn't timed."""
        usage = self._run(self.tiny, fresh_names(count, 1), look=True)
        say(f"letsencrypt-tiny: {count} orders, peak memory {usage.peak / 2**20:.1f} MiB, "
            f"{usage.wall:.1f} s")
        self.peaks[count] = usage.peak

    def _program(self, program: Program, counts: Sequence[int], repeat: int) -> None:
        last: Sample | None = None
        for count in sorted(counts):
            if program is not self.tiny and last is not None \
                    and last.wall / last.certificates * count > self._limit:
                say(f"{program.name}: {count} certificates would take longer than "
                    f"{self._limit:.0f} s: extrapolated from {last.measured}")
                self.samples.append(_extrapolated(last, count))
                continue
            last = self._measure(program, count, 1, repeat if count == 1 else 1)
        peak = self._run(program, fresh_names(1, 1), look=True).peak if self._look else 0
        self.facts.append(_fact(program, peak, ""))

    def _measure(self, program: Program, count: int, names: int, repeat: int) -> Sample:
        def once() -> Sample:
            usage = self._run(program, fresh_names(count, names))
            counts = self._counters.read()
            say(f"{program.name}: {count} × {names} name{'s'[:names - 1]}: {usage.wall:.2f} s, "
                f"CPU {usage.cpu:.3f} s, {counts.connections} connections, "
                f"{counts.requests} requests")
            return Sample(program.name, count, names, usage.wall, usage.cpu, *counts, repeat,
                          count)
        sample: Sample = measure.median(repeat, once, attrgetter("wall"))
        self.samples.append(sample)
        return sample

    def _run(self, program: Program, certificates: Sequence[Sequence[str]], look: bool = False
             ) -> measure.Usage:
        """Let a program obtain certificates; what it obtained is verified afterwards."""
        job = program.job(certificates)
        self._counters.start()
        return self._check(job, certificates, look)

    def _check(self, job: Job, certificates: Sequence[Sequence[str]], look: bool = False
               ) -> measure.Usage:
        usage = measure.run(job.argv, job.env, 2 * self._limit, look=look)
        faults = verify.faults(job.results, certificates, self._roots)
        if faults or usage.status != 0:
            why = "too slow" if usage.status is None else f"status {usage.status}"
            raise Failed(f"{why}, {len(faults)} of {len(job.results)} certificates are none: "
                         + " / ".join([*faults[:1], *usage.output.strip().splitlines()[-3:]]))
        return usage


def fresh_names(count: int, names: int) -> list[list[str]]:
    """Return lists of names that no earlier run had, a list for each certificate."""
    run = next(_fresh)
    return [[f"n{number}.c{certificate}.r{run}.bench.example" for number in range(names)]
            for certificate in range(count)]


def _extrapolated(last: Sample, count: int) -> Sample:
    factor = count / last.certificates
    return last._replace(
        certificates=count, wall=last.wall * factor, cpu=last.cpu * factor, runs=0,
        connections=last.connections * factor, requests=last.requests * factor,
        acme=None if last.acme is None else last.acme * factor)


def _fact(program: Program, peak: int, problem: str) -> Fact:
    return Fact(program.name, program.version(), program.scripted, program.honours_retry_after,
                peak, problem)
