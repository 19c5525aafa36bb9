"""Readers of what we have written ourselves, once: whatever a power cut, an older version or an
administrator has made of it since, it is read, or is as good as nothing, and is written again.

Each lets its file be read, has something remembered, and looks whether that, and what has nothing
to do with it, is there afterwards.  One in ``REAL`` is a file; the others are held in memory, as a
million files each would take hours.
"""

import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from letsencrypt_tiny.common.wire.jsonfields import dump
from letsencrypt_tiny.common.wire.order import Directory
from letsencrypt_tiny.common.x509.summary import Summary, text
from letsencrypt_tiny.dns import journal as published
from letsencrypt_tiny.master.store import files as written
from letsencrypt_tiny.master.store.entry import Entries, Entry, Step
from letsencrypt_tiny.master.store.journal import Journal, SectionState, filename_of
from letsencrypt_tiny.master.store.outages import Outage, Outages
from letsencrypt_tiny.master.store.pairs import Pairs
from letsencrypt_tiny.master.store.pauses import Pause, Pauses
from letsencrypt_tiny.master.store.renewals import Renewal, Renewals
from letsencrypt_tiny.master.store.requests import Requests
from letsencrypt_tiny.master.store.statefile import StateFile
from letsencrypt_tiny.master.store.tally import Tally
from letsencrypt_tiny.master.store.told import Failing, Failure
from letsencrypt_tiny.master.store.troubles import Trouble, Troubles

URL, OTHER = "https://ca.example/dir", "https://other.example/dir"
NOW = 1_800_000_000
REAL = 50
DIGEST = "A" * 43
STATE = SectionState(URL, DIGEST, f"{URL}/o/1", "ab" * 32, True, True, 7, failures=2, failed=NOW,
                     why="no", wish="12345678")
PAUSE = Pause("down", NOW + 60, 60)
RENEWAL = Renewal("aki.serial", NOW + 900, NOW, NOW + 60, NOW + 30, NOW + 7, 0, 0, 0, f"{URL}/why")
PAIR, OTHER_PAIR = "1 2 3 4 5 6 7 8 9 10", "1 2 3 4 5 6 7 8 9 11"
SAYS = Summary(NOW - 60, NOW + 60, "aki.serial", (("dns", "a.example"), ("ip", "2001:db8::1")))

# What reads a file in a state directory: afterwards it returns what was there
Look = Callable[[str], object]


def _agree(after: object, expected: object) -> None:
    if after != expected:
        raise AssertionError(f"{expected!r} was remembered, {after!r} is read")


def _section(room: str) -> object:
    """Nothing is remembered of what is empty: for us both are the same."""
    found = Journal(room).section("a")
    Journal(room).remember("a", found)
    _agree([value or None for value in Journal(room).section("a")],
           [value or None for value in found])
    return found != SectionState()


def _accounts(room: str) -> object:
    journal = Journal(room)
    found = {url: journal.accounts(url) for url in journal.directories()}
    for url, accounts in found.items():
        for key in accounts:
            _agree(accounts[journal.heir(url, key)], accounts[key])
    journal.remember_account(URL, DIGEST, f"{URL}/new")
    _agree(Journal(room).accounts(URL), {**found.get(URL, {}), DIGEST: f"{URL}/new"})
    _agree(Journal(room).accounts(OTHER), found.get(OTHER, {}))
    return found


def _directories(room: str) -> object:
    journal = Journal(room)
    found, other = (journal.issuers(URL), journal.suggests(URL)), journal.issuers(OTHER)
    journal.learn_directory(URL, Directory(("b.example",), True))
    _agree((journal.issuers(URL), journal.suggests(URL)), (("b.example",), True))
    _agree(journal.issuers(OTHER), other)
    return found[0] and found[1] is not None


def _revoked(room: str) -> object:
    found = Journal(room).revoked()
    Journal(room).forget_revoked(b"x")
    _agree(Journal(room).revoked(), found._replace(
        certificates=found.certificates - {hashlib.sha256(b"x").hexdigest()}))
    return found.certificates and found.keys


def _outages(room: str) -> object:
    found, other = Outages(room).of(URL), Outages(room).of(OTHER)
    made = Outages(room).failed(URL, "no", NOW)
    _agree(Outages(room).of(URL), made)
    _agree((made.last, made.why, Outages(room).of(OTHER)), (NOW, "no", other))
    Outages(room).well(URL)
    _agree(Outages(room).of(URL), None)
    return found


def _pauses(room: str) -> object:
    found = Pauses(room).of(URL, "a")
    Pauses(room).begin(URL, "a", PAUSE, NOW)
    _agree(Pauses(room).of(URL, "a"), PAUSE)
    Pauses(room).end(URL, "a")
    _agree(Pauses(room).of(URL, "a"), None)
    return found


def _renewals(room: str) -> object:
    found = Renewals(room).of("a")
    Renewals(room).remember({"a": RENEWAL}, NOW)
    _agree(Renewals(room).of("a"), RENEWAL)
    return found.certificate


def _tally(room: str) -> object:
    found = Tally(room).of(URL, "names", "a")
    Tally(room).set(URL, "names", "a", NOW + 60, NOW)
    _agree(Tally(room).of(URL, "names", "a"), NOW + 60)
    return found


def _troubles(room: str) -> object:
    found, other = Troubles(room).of("a"), Troubles(room).of("b")
    Troubles(room).learn({"a": "no"}, (), NOW)
    made = Troubles(room).of("a")
    _agree((made and (made.last, made.why)), (NOW, "no"))
    if other is not None and other.last > NOW - 86400:
        _agree(Troubles(room).of("b"), other)
    Troubles(room).learn({}, Troubles(room).known(), NOW)
    _agree(Troubles(room).known(), set())
    return found


def _told(room: str) -> object:
    found = Failing(room).all()
    Failing(room).settle({"a": Failure(NOW, "no")}, ["b"], ["a"])
    _agree({name: value for name, value in Failing(room).all().items() if name not in ("", "a")},
           {name: value for name, value in found.items() if name not in ("", "a")})
    Failing(room).told(NOW)
    _agree(Failing(room).untold(NOW + 1), False)
    _agree(Failing(room).fresh(["a line"], NOW) and Failing(room).fresh(["a line"], NOW), [])
    return found.get("a")


def _pairs(room: str) -> object:
    pairs = Pairs(room)
    found = pairs.fits(PAIR), pairs.summary(PAIR)
    pairs.seen(OTHER_PAIR, NOW - 60, NOW, SAYS)
    pairs.keep()
    again = Pairs(room)
    _agree((again.fits(OTHER_PAIR), again.summary(OTHER_PAIR)), (True, SAYS))
    _agree((again.fits(PAIR), again.summary(PAIR)), found)
    return found[0] and found[1] is not None


def _requests(room: str) -> object:
    found = Requests(room).kept("a", b"key", ["req"])
    if found not in (b"", b"a request"):
        raise AssertionError("what was not made with these arguments")
    Requests(room).keep("a", b"key", ["req", "-new"], b"another")
    _agree(Requests(room).kept("a", b"key", ["req", "-new"]), b"another")
    return found


def _entries(room: str) -> object:
    found = Entries(room).all()
    for step in (step for entry in found.values() for step in entry.steps):
        if os.path.dirname(step.version) or not os.path.isabs(step.place):
            raise AssertionError("a step that leads elsewhere")
        os.path.lexists(step.place)    # for the system, it is a path
    entry = Entry((Step("/b/cert.pem", digest="0"), Step("/b/key.pem", digest="1")), 3, 2, True)
    Entries(room).write("b", entry)
    _agree(Entries(room).all(), {**found, "b": entry})
    Entries(room).remove("b")
    _agree(Entries(room).all(), {name: value for name, value in found.items() if name != "b"})
    return found.get("a")


def _records(room: str) -> object:
    """The journal of the DNS updater: only whole lines stay, and they say the same again."""
    path = Path(room, "records")
    before = path.read_bytes()
    found = [_left(path) for _ in range(2)]
    _agree(found[1], found[0])
    _agree(path.read_bytes(), before[:before.rfind(b"\n") + 1])
    return found[0]


def _left(path: Path) -> object:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        return published.Journal(descriptor, 0).left
    finally:
        os.close(descriptor)


@contextmanager
def _held(path: str, data: bytes) -> Iterator[None]:
    """State files are in memory meanwhile; there is one."""
    files = {path: data}
    text, write, remove = StateFile.text, StateFile.write_text, written.remove

    def instead(self: StateFile, data: bytes, durable: bool = False) -> None:
        files[self.path] = data
    StateFile.text = lambda self: files.get(self.path, b"")    # type: ignore[method-assign]
    StateFile.write_text = instead                             # type: ignore[method-assign]
    written.remove = lambda path: files.pop(path, None)        # type: ignore[assignment]
    try:
        yield
    finally:
        StateFile.text, StateFile.write_text = text, write     # type: ignore[method-assign]
        written.remove = remove


def _reader(filename: str, look: Look) -> Callable[[bytes], object]:
    """Return what lets ``look`` find bytes in a file, in a directory that lasts as long as it."""
    room = tempfile.TemporaryDirectory(prefix="fuzz-")
    path = Path(room.name, filename)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    count = itertools.count()

    def read(data: bytes) -> object:
        if look is not _records and next(count) % REAL:
            with _held(str(path), data):
                return look(room.name)
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
        return look(room.name)
    return read


def _published(what: str, name: str) -> bytes:
    return dump({"is": what, "name": name, "value": DIGEST, "zone": "a.example", "how": ""}) + b"\n"


def _kept() -> bytes:
    with tempfile.TemporaryDirectory() as room:
        Requests(room).keep("a", b"key", ["req"], b"a request")
        return Path(room, "requests", filename_of("a", "csr-")).read_bytes()


def files() -> dict[str, tuple[Callable[[bytes], object], Sequence[bytes]]]:
    """Return name -> reader, which may raise nothing and says whether there was something, and
    seeds, in which there is."""
    rows: list[tuple[str, str, Look, list[bytes]]] = [
        ("state of a section", filename_of("a"), _section, [
            dump({key: value for key, value in STATE._asdict().items() if value})]),
        ("state of accounts", "accounts.json", _accounts, [
            dump({URL: {DIGEST: f"{URL}/a/1"}, OTHER: {"k": "v", "l": "v"}}),
            dump({URL: {"url": f"{URL}/a/1", "key": DIGEST}})]),     # of 1.0
        ("state of directories", "directories.json", _directories, [
            dump({URL: {"issuers": ["ca.example"], "renewal_info": False}})]),
        ("state of revocations", "revoked.json", _revoked, [
            dump({"certificates": [hashlib.sha256(b"x").hexdigest()], "keys": ["ab" * 32]})]),
        ("state of outages", "outages.json", _outages, [
            dump({url: Outage(NOW - 60, NOW - 6, 3, "x")._asdict() for url in (URL, OTHER)})]),
        ("state of pauses", "pauses.json", _pauses, [
            dump({URL: {"a": PAUSE._asdict(), "": PAUSE._asdict()}})]),
        ("state of renewals", "renewals.json", _renewals, [
            dump({"a": " ".join(map(str, RENEWAL)), "b": " ".join(map(str, RENEWAL))})]),
        ("state of limits", "tally.json", _tally, [
            dump({URL: {"names": {"a": NOW + 9, "b": NOW - 9}}})]),
        ("state of troubles", "troubles.json", _troubles, [
            dump({name: Trouble(NOW - 60, NOW - 6, 3, "x")._asdict() for name in "ab"})]),
        ("state of what was told", "told.json", _told, [
            dump({"sections": {name: Failure(NOW - 60, "x", NOW - 6, NOW)._asdict()
                               for name in ("", "a", "b")}, "lines": {"a#": NOW - 9}})]),
        ("state of pairs", "pairs", _pairs, [
            f"revoked\n{PAIR}|{text(SAYS)}\n{OTHER_PAIR}|\n".encode()]),
        ("state of requests", f"requests/{filename_of('a', 'csr-')}", _requests, [_kept()]),
        ("state of what takes its place", "installing.json", _entries, [
            dump({name: {**Entry((), 0, 3, True)._asdict(), "steps": [
                {"place": f"/{name}/cert.pem", "version": "2026-11-25T012644Z"},
                {"place": f"/{name}/key.pem", "digest": "ab" * 32}]} for name in "ab"})]),
        ("records published", "records", _records, [
            _published("published", "_acme-challenge.a.example")
            + _published("published", "_acme-challenge.b.example")
            + _published("gone", "_acme-challenge.a.example") + b'{"is":'])]
    return {name: (_reader(filename, look), seeds) for name, filename, look, seeds in rows}
