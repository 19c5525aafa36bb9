"""Through hell: a case is a run of the installed programs while something is wrong, and one after.

Three sections: ``alpha`` has a certificate and wants another, for one name more; ``bravo`` has
none; ``carol`` has all it wants.  What is wrong is bound to one of the first two, where requests
are a section's.
"""

import asyncio
import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import ca, hell_guard
from .hell import COMMON, LONG, Proxy, Rule
from .hell_faults import CONNECTIONS, EVERY, FAULTS
from .hell_judge import (SECONDS, Run, ended_badly, installed, inventory, litter, mismatch,
                         unclear)
from .pebble import Pebble
from .run import ENVIRONMENT, Prefix, Site

WANTING = ("alpha", "bravo")
SECTIONS = (*WANTING, "carol")
FIRSTS = (1, 2, 3, 5, 8)       # connections that something happens to
_KEPT = ("expired", "no intermediate")
_LATER = ("Retry-After", "429", "503")    # faults after which somebody may be told to wait


class Case(NamedTuple):
    """What goes wrong."""

    name: str
    rules: tuple[Rule, ...]

    def about(self, section: str) -> list[Rule]:
        """Return the rules that a section may meet: its own, and those of all; that a nonce is
        refused again and again is about nobody's order, so one finds it out for all."""
        return [rule for rule in self.rules if rule.section in ("", section)
                or (rule.kind, rule.fault) == ("newOrder", "badNonce")]


class Verdict(NamedTuple):
    """What became of a case; ``wrong`` is empty if it was what it should be."""

    case: Case
    runs: tuple[Run, ...]
    wrong: tuple[str, ...]
    asked: tuple[str, ...] = ()     # what was asked for, if anything is wrong

    def __str__(self) -> str:
        told = [f"asked: {', '.join(self.asked)}"] if self.asked else []
        told += [line for run in self.runs for line in run.stderr.splitlines()]
        return "\n    ".join([f"{self.case.name}: {'; '.join(self.wrong)}", *told])


def singles() -> Iterator[Case]:
    """Each fault alone at each request that it makes sense at, once and for ever."""
    number = 0
    for fault in CONNECTIONS:
        for first in FIRSTS:
            for times in 1, LONG:
                yield Case(f"connection {first}-{fault}-{_often(times)}",
                           (Rule("connection", fault, "", first, times),))
    for fault, row in FAULTS.items():
        for kind in row.kinds:
            for times in 1, LONG:
                number += 1
                section = "" if kind in (*COMMON, "renewalInfo") else WANTING[number // 2 % 2]
                yield Case(f"{kind}-{fault}-{_often(times)}", (Rule(kind, fault, section, 1,
                                                                    times),))


def mixes(count: int, seed: int = 14) -> Iterator[Case]:
    """Random mixes of two to four faults; equal seeds are equal mixes."""
    for number in range(count):
        chance = random.Random(seed * 1_000_000 + number)
        rules = []
        for _ in range(chance.randint(2, 4)):
            kind = chance.choice(("connection", *EVERY))
            fault = chance.choice(CONNECTIONS if kind == "connection" else [
                name for name, row in FAULTS.items() if kind in row.kinds])
            rules.append(Rule(kind, fault, "" if kind in (*COMMON, "renewalInfo") else
                              chance.choice(("", *WANTING)), chance.randint(1, 3),
                              chance.choice((1, 1, 2, LONG))))
        yield Case(f"mix {seed}/{number}: " + ", ".join(
            f"{rule.kind}-{rule.fault}-{_often(rule.times)}" for rule in rules), tuple(rules))


def _is_harmless(rule: Rule) -> bool:
    """Say whether nobody may be kept from a certificate by it; what is said of renewals keeps
    nobody."""
    return rule.kind == "renewalInfo" or rule.fault in FAULTS and FAULTS[rule.fault].harmless


def _often(times: int) -> str:
    return "ever" if times == LONG else str(times)


class Ground:
    """A host and its server, for one case after the other."""

    def __init__(self, prefix: Prefix, proxy: Proxy) -> None:
        self._proxy = proxy
        self._site = Site(prefix)
        self._saved = self._site.path / "saved"

    async def prepare(self) -> None:
        """Have an account and certificates."""
        site = self._site
        site.use(self._proxy)
        site.genkey()
        for name in "alpha", "carol":
            site.certificate(name, [f"{name}.example"])
        site.main["client"].update({"timeout": "5", "answer-timeout": "3"})
        for words in ["account", "--register", "--tos-agreed"], ["--quiet", "newOrder"]:
            done = await self._run(*words)
            if (done.status, done.stderr) != (0, "") and "newOrder" in words:
                raise RuntimeError(f"no ground: {done}")
        for name in "certs", "state":
            shutil.copytree(site.lib / name, self._saved / name, symlinks=True)
        self._inventory = inventory(site)
        for name in WANTING:
            site.certificate(name, _names(name))

    def remove(self) -> None:
        """Remove the host."""
        self._site.remove()

    async def meet(self, case: Case) -> Verdict:
        """Go through a case."""
        await asyncio.to_thread(self._begin, case)
        proxy, site = self._proxy, self._site
        proxy.clear()
        proxy.tell(*case.rules)
        before = {name: installed(site, name) for name in SECTIONS}
        first = await self._run("--quiet", "newOrder")
        state, wrong = await asyncio.to_thread(self._installed, before)
        failed = [name for name in WANTING if not state[name]]
        wrong += [*unclear(first, failed, SECTIONS, f"127.0.0.1:{proxy.port}"),
                  *ended_badly(first, failed)]
        wrong += [f"{name} failed, which nothing was wrong with" for name in failed
                  if all(map(_is_harmless, case.about(name)))]
        if len(case.rules) == 1 and case.rules[0].kind != "connection" and not proxy.met:
            wrong.append("nothing has gone wrong")
        proxy.tell()
        runs = [first]
        if failed:
            if any(rule.fault in _KEPT for rule in case.rules):
                await asyncio.to_thread(self._days_later)
            # who was told to wait does, unless it is named
            named = any(word in rule.fault for word in _LATER for rule in case.rules)
            runs.append(await self._run("--quiet", "newOrder", *(failed if named else ())))
            state, more = await asyncio.to_thread(self._installed, before)
            wrong += more + [f"{name} fails still" for name in WANTING if not state[name]]
            wrong += [f"afterwards: {word}" for word in ended_badly(runs[-1], ())]
            wrong += [f"afterwards: {line}" for line in runs[-1].stderr.splitlines()]
        for name in WANTING:
            most = 1 + sum(rule.fault in FAULTS and FAULTS[rule.fault].dead
                           for rule in case.about(name))
            if len(proxy.made.get(name, ())) > most:
                wrong.append(f"{len(proxy.made[name])} orders for {name}")
        wrong += [f"litter: {path}" for path in litter(site, self._inventory)]
        asked = tuple(f"{kind} {section}".strip() for kind, section in proxy.seen) if wrong else ()
        return Verdict(case, tuple(runs), tuple(wrong), asked)

    def _begin(self, case: Case) -> None:
        """Have everything as it was prepared."""
        for name in "certs", "state":
            shutil.rmtree(self._site.lib / name)
            shutil.copytree(self._saved / name, self._site.lib / name, symlinks=True)
        kinds = {rule.kind for rule in case.rules}
        for kind, file in ("newAccount", "accounts.json"), ("renewalInfo", "renewals.json"):
            if kind in kinds:
                (self._site.lib / "state" / file).unlink(missing_ok=True)

    def _days_later(self) -> None:
        """What was issued is kept as long as it may be our clock, or our CAfile, that is wrong."""
        for path in (self._site.lib / "state").glob("cert-*.json"):
            state = json.loads(path.read_text())
            if state.get("kept"):
                path.write_text(json.dumps({**state, "kept": state["kept"] - 8 * 86400}))

    def _installed(self, before: dict[str, dict[str, bytes]]) -> tuple[dict[str, bool], list[str]]:
        """Return which sections have what they want, and what is wrong with what they have."""
        state, wrong = {}, []
        for name in SECTIONS:
            found = installed(self._site, name)
            state[name] = name in WANTING and bool(found) and found != before[name] \
                and set(found) != {"privkey.pem"}
            if state[name]:
                why = mismatch(found, _names(name), self._proxy.roots())
                wrong += [f"{name}: {why}"] if why else []
            elif found != before[name] and set(found) != {"privkey.pem"}:
                wrong.append(f"{name} has changed")
        return state, wrong

    async def _run(self, *words: str) -> Run:
        report = self._site.path / "report"
        argv = await asyncio.to_thread(self._site.command, *words)
        process = await asyncio.create_subprocess_exec(
            "/usr/bin/python3", "-IS", str(Path(hell_guard.__file__)), str(report),
            str(2 * SECONDS), *argv, env=ENVIRONMENT, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
        _, stderr = await process.communicate()
        found = json.loads(report.read_text())
        return Run(found["status"], stderr.decode(errors="backslashreplace"), found["seconds"],
                   found["memory"], tuple(found["left"]))


def _names(section: str) -> list[str]:
    return [f"{section}.example", f"www.{section}.example"]


def go_through(prefix: Prefix, cases: Iterable[Case], jobs: int) -> list[Verdict]:
    """Go through all cases, ``jobs`` at a time, each on a host of its own.

    The environment may choose: HELL, a regular expression of their names; HELL_EVERY, each n-th
    of those; HELL_JOBS; and HELL_REPORT, a file that each verdict is appended to at once.
    """
    jobs = int(os.environ.get("HELL_JOBS", jobs))
    wanted = re.compile(os.environ.get("HELL", ""))
    cases = [case for case in cases if wanted.search(case.name)]
    cases = cases[::int(os.environ.get("HELL_EVERY", 1))]
    # its list of orders, all of one account, in one page
    with Pebble(nosleep=True, noncereject=0, authzreuse=0, always_valid=True,
                env={"PEBBLE_WFE_ORDERS_PER_PAGE": "100000"}) as pebble, \
            tempfile.TemporaryDirectory(prefix="hell-") as directory:
        path = Path(directory)
        path.chmod(0o755)
        for name in "hell", "stranger":
            (path / name).mkdir()
            (path / name).chmod(0o755)
        authority = ca.CA(path / "hell", "Hell")
        roots = path / "roots.pem"
        roots.write_bytes(pebble.roots().read_bytes() + authority.root.read_bytes())
        proxies = [Proxy(pebble, authority, ca.CA(path / "stranger", "Stranger"), roots)
                   for _ in range(jobs)]
        return asyncio.run(_all(prefix, proxies, list(cases)))


async def _all(prefix: Prefix, proxies: Sequence[Proxy], cases: list[Case]) -> list[Verdict]:
    left = list(reversed(cases))
    verdicts: list[Verdict] = []

    async def work(proxy: Proxy) -> None:
        async with proxy:
            ground = Ground(prefix, proxy)
            try:
                await ground.prepare()
                while left:
                    verdicts.append(await ground.meet(left.pop()))
                    _report(verdicts[-1])
            finally:
                ground.remove()
    await asyncio.gather(*map(work, proxies))
    return verdicts


def _report(verdict: Verdict) -> None:
    path = os.environ.get("HELL_REPORT")
    if path:
        took = " + ".join(f"{run.seconds:.1f} s, {run.memory >> 10} MiB" for run in verdict.runs)
        with open(path, "a", encoding="utf-8") as file:
            print("BAD" if verdict.wrong else "good", f"({took})", verdict, file=file, flush=True)


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return the figures."""
    runs = [run for verdict in verdicts for run in verdict.runs]
    return (f"{len(verdicts)} cases, {len(runs)} runs, "
            f"{sum(bool(verdict.wrong) for verdict in verdicts)} bad, "
            f"{sum(len(verdict.runs) == 1 for verdict in verdicts)} well in the first run, "
            f"longest {max(run.seconds for run in runs):.1f} s, "
            f"most memory {max(run.memory for run in runs) / 1024:.0f} MiB")
