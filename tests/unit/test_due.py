"""Is it time?  Every row of the table, with real certificates and keys where they lie."""

import datetime
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from harness import ca
from letsencrypt_tiny.common.clock import DAY, when
from letsencrypt_tiny.master.commands import due
from letsencrypt_tiny.master.pki import keys as pki_keys
from letsencrypt_tiny.master.settings import main as config
from letsencrypt_tiny.master.settings.certificates import Section
from letsencrypt_tiny.master.store import pairs
from letsencrypt_tiny.master.store.installed import Installed
from letsencrypt_tiny.master.store.journal import SectionState
from letsencrypt_tiny.master.store.vicinity import Vicinity

HOUR = DAY / 24
START = int(time.time())
NAMES = ("a.example", "192.0.2.1", "2001:db8::1")


class Verdict(NamedTuple):
    """What was decided, and when the certificate that is installed ends."""

    due: bool
    reason: str
    not_after: int | None


class Site:
    """A certificate in place, and what is decided about it."""

    def __init__(self, path: Path, authority: ca.CA) -> None:
        self.path = path
        self._authority = authority
        (path / "main.conf").touch()
        self.config = config.load(str(path / "main.conf"))
        self.key = ca.genkey()
        self._write("key", self.key)
        self.section = Section(
            "a", "F", (("dns", "a.example"), ("ip", "2001:db8::1"), ("ip", "192.0.2.1")),
            f"{path}/key", f"{path}/cert", f"{path}/chain", f"{path}/full", (), "ec:P-256", None,
            "", "", (), (), None, 0o644, "")

    def _write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o600)

    def install(self, days: float = 90, names: Sequence[str] = NAMES, start: int = START,
                prefix: str = "") -> None:
        """Put a certificate in place that is valid for ``days`` from ``start``."""
        before = datetime.datetime.fromtimestamp(start, datetime.timezone.utc)
        text = self._authority.issue(ca.request(names, self.key), None, before, days)
        for name in ("cert", "chain", "full"):
            self._write(name, prefix + text)

    def due(self, now: float = START, min_days: int | None = None,
            state: SectionState = SectionState(), section: Section | None = None,
            **changes: Any) -> Verdict:
        """Decide, ``now`` being a Unix time."""
        with Vicinity() as vicinity:
            found = due.Judge(self.config, vicinity).decide(
                (section or self.section)._replace(**changes), state, now, min_days)
        return Verdict(found.due, found.reason, found.certificate and found.certificate.not_after)

    def turns_due_at(self, seconds: float, **more: Any) -> None:
        """Check that it is due from ``seconds`` after its beginning on, and not before."""
        before, at = self.due(START + seconds - 2, **more), self.due(START + seconds + 2, **more)
        assert not before.due and before.reason.startswith("valid until ")
        assert at.due and at.reason.startswith("it expire")


@pytest.fixture(scope="module")
def authority() -> Iterator[ca.CA]:
    """Who issues."""
    with tempfile.TemporaryDirectory() as directory:
        yield ca.CA(Path(directory))


@pytest.fixture
def site(authority: ca.CA) -> Iterator[Site]:
    """A directory for a certificate, not below a sticky one."""
    path = Path(tempfile.mkdtemp(prefix="test-renewal-", dir="/srv" if os.getuid() == 0 else None))
    yield Site(path, authority)
    shutil.rmtree(path)


@pytest.mark.parametrize("days, left", [
    (90, 30), (45, 15), (365, 365 / 3), (10, 10 / 3),       # a third of the lifetime …
    (6, 3), (160 / 24, 80 / 24), (9.9, 4.95), (2, 1),       # … a half under ten days …
    (1, 2 / 3), (1.5, 1)])                                  # … two thirds under two days
def test_by_lifetime(site: Site, days: float, left: float) -> None:
    site.install(days)
    site.turns_due_at((days - left) * DAY)


@pytest.mark.parametrize("min_days", [0, 1, 21, 89])
def test_by_days_left(site: Site, min_days: int) -> None:
    site.install(90)
    site.turns_due_at((90 - min_days) * DAY, min_days=min_days)
    # the option beats the setting, as in lacme
    site.turns_due_at((90 - min_days) * DAY, section=site.section._replace(min_days=7),
                      min_days=min_days)
    setting = site.section._replace(min_days=min_days)
    assert site.due(START + (90 - min_days) * DAY + 2, section=setting).due
    assert not site.due(START + (90 - min_days) * DAY - 2, section=setting).due
    setting = site.section._replace(min_days=90 - min_days)
    assert not site.due(START + 89 * DAY, 0, section=setting).due


def test_more_days_than_the_lifetime(site: Site) -> None:
    site.install(6)
    assert site.due(min_days=21).due


def test_forced(site: Site) -> None:
    site.install(90)
    setting = site.section._replace(min_days=-1)
    for found in site.due(min_days=-1), site.due(section=setting):
        assert found == (True, "forced", START + 90 * DAY)
    assert not site.due(min_days=21, section=setting).due


def test_what_is_told(site: Site) -> None:
    site.install(90, start=1700000000)
    end = 1700000000 + 90 * DAY
    now = 1700000000 + DAY
    assert site.due(now) == (False, "valid until 2024-02-12 22:13 UTC", end)
    assert site.due(end - DAY) == (True, "it expires 2024-02-12 22:13 UTC", end)
    for seconds in (0, 1, 1000 * DAY):
        assert site.due(end + seconds) == (True, "it expired 2024-02-12 22:13 UTC", end)
        assert site.due(end + seconds, min_days=0).due
    assert not site.due(end - 1, min_days=0).due


def test_not_yet_valid(site: Site) -> None:
    site.install(90, start=START + 5 * 86400)
    assert not site.due().due


def test_outputs_that_are_missing(site: Site) -> None:
    assert site.due() == (True, "there is no certificate yet", None)
    site.install()
    assert not site.due().due
    for name in ("cert", "chain"):
        (site.path / name).rename(site.path / "x")
        assert site.due()[:2] == (True, f"{site.path}/{name} is missing")
        (site.path / "x").rename(site.path / name)
    (site.path / "full").unlink()
    assert site.due() == (True, "there is no certificate yet", None)
    # what isn't wanted needn't be there
    assert not site.due(fullchain="").due
    (site.path / "chain").unlink()
    assert not site.due(fullchain="", chain="").due
    (site.path / "full").symlink_to("cert")
    assert not site.due(chain="").due


@pytest.mark.parametrize("text", [
    "", "junk", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nAAAA\n"
    "-----END CERTIFICATE-----\n", "\0" * 100000])
def test_what_is_no_certificate(site: Site, text: str) -> None:
    site.install()
    (site.path / "full").write_text(text)
    found = site.due()
    assert found.due and found.not_after is None
    assert re.match("the installed certificate is not valid ", found.reason)


def test_what_cannot_be_read(site: Site) -> None:
    site.install()
    (site.path / "full").unlink()
    (site.path / "full").mkdir()
    assert site.due() == (True, "the installed certificate cannot be read "
                          f"({site.path}/full: not a plain file)", None)
    (site.path / "full").rmdir()
    (site.path / "full").symlink_to("full")
    assert "too many symbolic links" in site.due().reason
    (site.path / "full").unlink()
    os.mkfifo(site.path / "full")
    start = time.monotonic()
    assert site.due().due and time.monotonic() - start < 5


def test_text_before_the_certificate(site: Site) -> None:
    site.install(prefix="Certificate:\n    Data:\n" + "x" * 100000 + "\n")
    assert not site.due().due


@pytest.mark.parametrize("identifiers", [
    (), (("dns", "a.example"),), (("dns", "a.example"), ("ip", "192.0.2.1")),
    (("dns", "b.example"), ("ip", "2001:db8::1"), ("ip", "192.0.2.1")),
    (("dns", "a.example"), ("ip", "2001:db8::1"), ("ip", "192.0.2.1"), ("dns", "b.example")),
    (("dns", "a.example"), ("ip", "2001:db8::1"), ("dns", "192.0.2.1"))])
def test_other_names(site: Site, identifiers: Any) -> None:
    site.install()
    assert site.due(identifiers=identifiers)[:2] == (True, "its names have changed")
    assert site.due(min_days=-1, identifiers=identifiers).reason == "forced"


def test_same_names_in_another_order_or_case(site: Site) -> None:
    site.install(names=("2001:0DB8:0:0::1", "A.Example", "192.0.2.1", "a.example"))
    assert not site.due().due


def test_interrupted_installation(site: Site) -> None:
    site.install()
    assert site.due(state=SectionState(installing=True))[:2] == \
        (True, "its installation was interrupted")
    # what else is remembered doesn't matter here
    assert not site.due(state=SectionState("d", "a", "o", "k", False, True, START + 100)).due


@pytest.mark.root
def test_the_key_was_changed(site: Site) -> None:
    site.install()
    time.sleep(0.02)   # the resolution of ctime
    (site.path / "key").write_text(site.key)
    assert not site.due().due, "written again, but the same"
    (site.path / "key").write_text(ca.genkey("rsa:2048"))
    assert site.due()[:2] == (True, f"it is not for the private key {site.path}/key")
    (site.path / "key").unlink()
    assert site.due()[:2] == (True, f"its private key {site.path}/key is missing")


@pytest.mark.root
def test_a_key_that_is_older_than_the_certificate(site: Site) -> None:
    """As one replaced while the certificate was, or from a backup: nothing says so but the key."""
    (site.path / "key").write_text(ca.genkey("rsa:2048"))
    time.sleep(0.02)
    site.install()
    assert (site.path / "key").stat().st_ctime_ns < (site.path / "cert").stat().st_ctime_ns
    assert site.due()[:2] == (True, f"it is not for the private key {site.path}/key")


@pytest.mark.root
def test_pairs_are_remembered(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is compared once; and again whenever one of its files is another one."""
    site.install()
    site.config = site.config._replace(library_directory=str(site.path))
    compared: list[str] = []
    compare = pki_keys.compare

    def counting(command: str, section: Section, found: Installed, near: Vicinity) -> Installed:
        compared.append(section.name)
        return compare(command, section, found, near)
    monkeypatch.setattr(pki_keys, "compare", counting)

    def look() -> bool:
        with Vicinity() as vicinity:
            judge = due.Judge(site.config, vicinity, complete=False)
            found = judge.decide(site.section, SectionState(), START)
            judge.keep()
        return found.due
    for _ in range(2):   # both changed a moment ago: they may change again and look the same
        assert not look()
    assert len(compared) == 2 and not (site.path / "state").exists()
    monkeypatch.setattr(pairs, "SETTLED", -10)   # as ten seconds later
    for _ in range(3):
        assert not look()
    assert len(compared) == 3
    for _ in range(2):
        key = site.path / "key"
        info = key.stat()
        text = site.key if compared[4:] else ca.genkey()
        assert len(text) == info.st_size
        key.write_text(text)
        os.utime(key, ns=(info.st_atime_ns, info.st_mtime_ns))   # ctime it can't set
        assert [look(), look()] == [text != site.key] * 2
    # what doesn't fit is compared each time
    assert len(compared) == 3 + 2 + 1


@pytest.mark.root
def test_a_key_that_cannot_be_used_is_no_reason_to_order(site: Site) -> None:
    site.install()
    time.sleep(0.02)
    for text, mode in (("junk", 0o600), ("", 0o600), (site.key, 0o666)):
        (site.path / "key").write_text(text)
        (site.path / "key").chmod(mode)
        assert not site.due().due


def test_nothing_is_executed_where_nothing_changed(site: Site) -> None:
    site.install()
    site.config = site.config._replace(openssl="/no/such/program")
    assert not site.due().due and site.due(START + 80 * DAY).due


def test_moments() -> None:
    assert when(0) == "1970-01-01 00:00 UTC"
    assert when(1 << 40) == "36812-02-20 00:36 UTC", "whatever is remembered"


@pytest.mark.parametrize("days, min_days, taken", [
    (90, 100, False), (90, 90, False), (90 - 1 / DAY, 90, False), (90, 89, True), (90, 30, True),
    (6, 21, False), (6, 5, True), (1, 1, False), (1.5, 1, False), (0.5, 0, True)])
def test_min_days_that_would_renew_at_each_run(days: float, min_days: int, taken: bool, site: Site,
                                               capfd: pytest.CaptureFixture[str]) -> None:
    """It is warned about, and the default holds; the option is somebody's express wish."""
    site.install(days)
    setting = site.section._replace(min_days=min_days)
    assert site.due(START + 2, section=setting).due is False
    assert (f"F, [a]: min-days = {min_days}: " in capfd.readouterr().err) is not taken
    if not taken:
        assert site.due(START + (days - 0.1 * days) * DAY, section=setting).due
        capfd.readouterr()
        assert site.due(START + 2, min_days, section=setting).due is (min_days >= days)
        assert capfd.readouterr().err == ""
