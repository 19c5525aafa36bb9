"""Two years of two hundred certificates (``harness/years.py``): none expires, nothing grows.

YEARS_SEED repeats one, YEARS_MONTHS makes it shorter.  What came of it is printed (-s).
"""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.pebble import Pebble
from harness.redated import DAY
from harness.run import Prefix, Site, Users
from harness.years import Happened, World, lifetime
from harness.years_faults import HOUR, Fault
from letsencrypt_tiny.master.plan import renewal

SEED = int(os.environ.get("YEARS_SEED", "15"))
MONTHS = int(os.environ.get("YEARS_MONTHS", "24"))
LOUD = bool(os.environ.get("YEARS_LOUD"))
SECTIONS = int(os.environ.get("YEARS_SECTIONS", "200"))
# Of two hundred; days
LIFETIMES = {6: 20, 45: 60, 90: 60, 398: 60}
PERIOD = 6 * HOUR + 2 * 60     # of the timer, and a minute of accuracy at both ends
# Runs in a row with nothing wrong, in which a section had its chance: backing off may take some
CHANCES = 6
RECENT = 2 * DAY
OUTAGE = ("down", "closed", "nonces")


def names(number: int) -> "list[str]":
    """Return sections of all lifetimes, in the shares of LIFETIMES."""
    order = sorted((position / count, days) for days, count in LIFETIMES.items()
                   for position in range(count))
    return [f"c{index}-{days}" for index, (_, days) in enumerate(order[:number])]


@pytest.fixture(name="world")
def _world(users: Users, pebble: Pebble) -> Iterator[World]:
    prefix = Prefix()    # its programs get another clock
    site = Site(prefix)
    mounted = False
    world = None
    room = Path(prefix.path, "years")
    room.mkdir()
    try:
        # so that it can be full, and no disk is waited for
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "none", site.lib],
                       check=True)
        mounted = True
        _directories(site)
        world = World(room, site, pebble, SEED, names(SECTIONS), MONTHS)
        yield world
    finally:
        if world is not None:
            world.close()
        if mounted:
            subprocess.run(["umount", "-l", site.lib], check=True)
        prefix.remove()


class Book:
    """What is to be held of the runs, run by run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.expired: dict[str, str] = {}      # that were excused: section, moment -> what
        self.wrong: list[str] = []
        self.requests: list[tuple[float, str, int]] = []
        self.ran: Counter[str] = Counter()
        self.memory: list[int] = []
        self.most_files = self.most_state = 0
        self.least = {days: float("inf") for days in LIFETIMES}
        self._spoilt: dict[str, float] = {}    # section -> when it had no chance, last
        self._chances: Counter[str] = Counter()
        self._best: Counter[str] = Counter()   # the most of them in a row, since it was due
        self._unheard = 0

    def after(self, run: Happened) -> None:
        """A run is over."""
        world, before = self.world, len(self.wrong)
        self.ran["killed" if run.killed else run.kind] += 1
        if LOUD:
            print(f"{self.at(run)}: {run.status}, {dict(run.requests)} {run.seconds:.2f} s "
                  f"{run.output[-1500:]}", flush=True)
        self.requests += [(run.moment, name, count) for name, count in run.requests.items()]
        if run.memory:
            self.memory.append(run.memory)
        if "Traceback" in run.output or not (run.killed or run.status in (0, 1)):
            self.wrong.append(f"{self.at(run)}: status {run.status}: {run.output[-2000:]}")
        for name in world.sections:
            self._section(name, run)
        if not run.killed and not any(one.kind in ("full", "notify") for one in run.faults):
            deaf = [name for name, found in world.installed.items()
                    if found.moment > world.told.get(name, 0)]
            if deaf:
                self.wrong.append(f"{self.at(run)}: nobody was told of {deaf[:5]}")
        for line in self.wrong[before:]:
            print(line, flush=True)
        if not run.spoilt():
            files, state = world.files()
            self.most_files = max(self.most_files, files)
            self.most_state = max(self.most_state, state)

    def at(self, run: Happened) -> str:
        """Return which run it was."""
        faults = ", ".join(f"{one.kind} {one.whom}".strip() for one in run.faults
                           if not one.whom.startswith("c"))
        return f"day {run.moment / DAY:.2f}, {run.kind} ({faults})"

    def _section(self, name: str, run: Happened) -> None:
        world = self.world
        down = all(world.outage(one) for one in world.cas(name))
        chance = not (run.spoilt() or down or world.about("refused", name)
                      or world.about("limited", name))
        if not chance and not down:
            self._spoilt[name] = run.moment
        if name not in world.installed:
            if chance and run.moment > RECENT + self._spoilt.get(name, -RECENT):
                self._best[name] += 1
                if self._best[name] > CHANCES:
                    self.wrong.append(f"{self.at(run)}: {name} has no certificate")
                    self._best[name] = 0
            return
        left, due = world.left(name), renewal.margin(world.life(name), None)
        if left > due:
            self._chances[name] = self._best[name] = 0
            return
        self._chances[name] = self._chances[name] + 1 if chance else 0
        self._best[name] = max(self._best[name], self._chances[name])
        if left <= 0:
            what = f"{self.at(run)}: {name} has expired {-left / HOUR:.0f} h ago"
            if self._best[name] >= CHANCES:
                self.wrong.append(f"{what}, after {self._best[name]} chances")
            else:
                self.expired.setdefault(f"{name} {world.installed[name].moment:.0f}", what)
        elif chance and run.moment > RECENT + self._spoilt.get(name, -RECENT):
            # an outage, at most, is what has kept it from being renewed: one run is enough
            self.least[lifetime(name) // DAY] = min(self.least[lifetime(name) // DAY], left)
            if left < renewal.latest(world.life(name)) - PERIOD:
                self.wrong.append(f"{self.at(run)}: {name} has {left / HOUR:.0f} h left, and "
                                  f"nothing is wrong: {world.state(name)}")

    def weeks(self) -> "list[tuple[Fault, int, float]]":
        """Return outages of a day at least, the requests in each, and those by the week."""
        found = []
        for fault in self.world.faults:
            others = [one for one in self.world.faults if one.whom == fault.whom
                      and one is not fault and one.begin < fault.end and fault.begin < one.end]
            if fault.kind in OUTAGE and fault.end - fault.begin >= DAY and not others:
                asked = sum(count for moment, name, count in self.requests
                            if name == fault.whom and fault.at(moment))
                found.append((fault, asked, asked * 7 * DAY / (fault.end - fault.begin)))
        return found


def _directories(site: Site) -> None:
    """What a site has, made once more on another file system."""
    import pwd
    from harness.run import SIGNER_USER
    for name, mode in (("certs", 0o755), ("state", 0o700), ("accountd", 0o700)):
        (site.lib / name).mkdir(mode=mode)
    user = pwd.getpwnam(SIGNER_USER)
    os.chown(site.lib / "accountd", user.pw_uid, user.pw_gid)


def test_two_years(world: World) -> None:
    """… and all that is asserted of them, so that one fault tells of all that came of it."""
    book = Book(world)
    for number, moment in enumerate(world.moments()):
        book.after(world.run(number, moment))
        if len(book.wrong) > 20:
            break
    tell(book)
    assert not book.wrong, "\n".join(book.wrong[:20])

    # the last three weeks were calm: all is as if nothing had been
    assert {name: world.left(name) for name in world.sections} and all(
        world.left(name) > renewal.latest(lifetime(name)) - PERIOD for name in world.sections)
    # files: of a certificate four a version, a state, perhaps a key that waits
    files, state = world.files()
    assert files <= 24 * len(world.sections) + 40, files
    assert book.most_files <= 30 * len(world.sections) + 60
    assert state <= 4096 * len(world.sections) + (1 << 16), state
    # memory: the last tenth of the runs takes no more than the second
    tenth = len(book.memory) // 10
    assert max(book.memory[-tenth:]) <= 1.2 * max(book.memory[tenth:2 * tenth])
    # requests, of several runs at the beginning of an outage
    for fault, asked, _ in book.weeks():
        periods = (fault.end - fault.begin) / PERIOD + 1
        first, each = {"down": (6, 2), "closed": (24, 4), "nonces": (24, 6)}[fault.kind]
        assert asked <= first + each * periods, (fault, asked)
        assert fault.kind != "down" or asked <= 6 + 60 * (fault.end - fault.begin) / (7 * DAY)
    # none is ordered twice
    lost = world.count["order"] - world.count["gone"] - world.count["issued"]
    assert lost <= book.ran["killed"] * 2 + 10, world.count


def tell(book: Book) -> None:
    """Print the figures."""
    world = book.world
    weeks = book.weeks()
    print(f"\nseed {SEED}: {len(world.sections)} certificates, {MONTHS} months, "
          f"runs: {dict(book.ran)}; faults: {dict(Counter(one.kind for one in world.faults))}")
    requests = {name: sum(n for _, ca, n in book.requests if ca == name) for name in "ab"}
    print(f"CAs: {dict(world.count)}; requests: {requests}")
    print(f"expired as a fault lasted longer than what was left: {len(book.expired)}: "
          f"{list(book.expired.values())[:12]}")
    least = {days: f"{left / HOUR:.0f} h" for days, left in book.least.items()}
    print(f"left when a run with nothing wrong had not renewed it: {least}")
    print(f"files: {world.files()[0]} (most {book.most_files}), state: {world.files()[1]} B (most "
          f"{book.most_state}), memory: {max(book.memory)} kB")
    for kind in OUTAGE:
        found = [(asked, week) for fault, asked, week in weeks if fault.kind == kind]
        if found:
            print(f"outages “{kind}” of a day or more: {len(found)}, requests a week at most "
                  f"{max(week for _, week in found):.0f}, {max(asked for asked, _ in found)} in "
                  "one")
