"""Files that nobody has touched since are not read again; whatever is done to one is seen at once.
"""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from collections.abc import Callable, Iterator

import pytest

from harness import ca
from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.common.x509 import summary
from letsencrypt_tiny.common.x509.summary import Summary
from letsencrypt_tiny.master.commands import due
from letsencrypt_tiny.master.plan.renewal import Due
from letsencrypt_tiny.master.settings import main as config
from letsencrypt_tiny.master.settings.certificates import Section
from letsencrypt_tiny.master.store import installed, pairs
from letsencrypt_tiny.master.store.journal import Journal, SectionState
from letsencrypt_tiny.master.store.renewals import NOTHING, Renewal
from letsencrypt_tiny.master.store.vicinity import Vicinity

pytestmark = pytest.mark.root

SAYS = Summary(1, 2, "aki.serial", (("dns", "a.example"), ("ip", "2001:db8::1")))


class Site:
    """A certificate that is in place for long, as far as this is about it; each look is a run's."""

    def __init__(self, path: Path, authority: ca.CA, monkeypatch: pytest.MonkeyPatch) -> None:
        (path / "main.conf").touch()
        self.config = config.load(str(path / "main.conf"))._replace(library_directory=str(path))
        self.path = path / "certs"
        self.state = path / "state/pairs"
        self.path.mkdir()
        self.key, self._authority = ca.genkey(), authority
        self._write("key", self.key)
        self.text = self.issued()
        for name in ("full", "cert", "chain"):
            self._write(name, self.text)
        self.section = Section(
            "a", "F", (("dns", "a.example"),), f"{self.path}/key", f"{self.path}/cert",
            f"{self.path}/chain", f"{self.path}/full", (), "ec:P-256", None, "", "", (), (), None,
            0o644, "")
        self.read: list[str] = []
        certificate = installed._certificate

        def reading(descriptor: int, path: str) -> object:
            self.read.append(path)
            return certificate(descriptor, path)
        monkeypatch.setattr(installed, "_certificate", reading)
        monkeypatch.setattr(pairs, "SETTLED", -10)   # as ten seconds later

    def issued(self, name: str = "a.example") -> str:
        """Return a certificate for its key."""
        return self._authority.issue(ca.request([name], self.key))

    def _write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o600)

    def look(self, state: SectionState = SectionState(), known: Renewal = NOTHING,
             later: float = 0, **changes: object) -> Due:
        """Decide, as the next run does."""
        del self.read[:]
        with Vicinity() as vicinity:
            judge = due.Judge(self.config, vicinity, complete=False)
            found = judge.decide(self.section._replace(**changes), state, time.time() + later,
                                 renewal_known=known)
            judge.keep()
        return found

    def edit(self, name: str, text: str) -> None:
        """Write into a file, and put back what of its times can be."""
        time.sleep(0.02)   # the resolution of ctime
        info = (self.path / name).stat()
        (self.path / name).write_text(text)
        os.utime(self.path / name, ns=(info.st_atime_ns, info.st_mtime_ns))

    def put(self, name: str, text: str) -> None:
        """Rename a file over another."""
        self._write("new", text)
        (self.path / "new").rename(self.path / name)


@pytest.fixture(scope="module")
def authority() -> Iterator[ca.CA]:
    """Who issues."""
    with tempfile.TemporaryDirectory() as directory:
        yield ca.CA(Path(directory))


@pytest.fixture
def site(authority: ca.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A certificate of which everything is known."""
    path = Path(tempfile.mkdtemp(prefix="test-unchanged-", dir="/srv"))
    path.chmod(0o755)
    made = Site(path, authority, monkeypatch)
    assert not made.look().due and len(made.read) == 1
    yield made
    shutil.rmtree(path)


def test_it_is_read_once(site: Site) -> None:
    first = site.look()
    assert not first.due and site.read == [] and first.timely
    site.state.unlink()
    again = site.look()
    assert site.read and (again.reason, again.access, again.enough) == \
        (first.reason, first.access, first.enough)
    assert first.certificate is not None and again.certificate is not None
    assert first.certificate.not_after == again.certificate.not_after


OTHER_KEY = ca.genkey()
DONE: dict[str, tuple[Callable[[Site], object], str]] = {
    "edited": (lambda site: site.edit("full", site.issued("b.example")), "its names have changed"),
    "replaced": (lambda site: site.put("full", site.issued("b.example")), "its names have changed"),
    "cut short": (lambda site: os.truncate(site.path / "full", 100), "is not valid"),
    "emptied": (lambda site: os.truncate(site.path / "full", 0), "is not valid"),
    "removed": (lambda site: (site.path / "full").unlink(), "there is no certificate yet"),
    "a link": (lambda site: (site.put("other", site.issued("b.example")),
                             (site.path / "full").unlink(),
                             (site.path / "full").symlink_to("other")), "its names have changed"),
    "another key": (lambda site: site.put("key", OTHER_KEY), "it is not for the private key"),
    "an edited key": (lambda site: site.edit("key", OTHER_KEY), "it is not for the private key"),
    "no key": (lambda site: (site.path / "key").unlink(), "its private key .* is missing"),
    "no chain": (lambda site: (site.path / "chain").unlink(), "chain is missing"),
    "a directory that others may write": (lambda site: site.path.chmod(0o777), "cannot be read"),
    "a directory of somebody's": (lambda site: os.chown(site.path, 65534, 65534), "cannot be read")}


@pytest.mark.parametrize("what", DONE)
def test_whatever_is_done_is_seen_at_once(what: str, site: Site) -> None:
    action, reason = DONE[what]
    assert not site.look().due and not site.read
    action(site)
    found = site.look()
    assert found.due and re.search(reason, found.reason), found.reason


def test_what_was_touched_is_read_again(site: Site) -> None:
    for name in ("full", "key"):
        time.sleep(0.02)
        (site.path / name).touch()
        assert not site.look().due and site.read, name
        assert not site.look().due and not site.read, name


def test_a_moment_ago(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may change again and look the same is read each time."""
    monkeypatch.setattr(pairs, "SETTLED", 10)
    site.put("full", site.text)
    for _ in range(3):
        assert not site.look().due and site.read


def test_what_is_wanted_is_compared_with_what_is_remembered(site: Site) -> None:
    key_type = SectionState(key_type="rsa:2048", issuer="https://other.example/dir")
    window = Renewal(summary.called(site.look().certificate or SAYS), 2**40, 1, 2, 1)
    assert not site.read
    for found, why in ((site.look(identifiers=(("dns", "b.example"),)), "its names have changed"),
                       (site.look(later=3000 * DAY), "it expired"),
                       (site.look(known=window), "its CA wants it renewed"),
                       (site.look(SectionState(installing=True)), "was interrupted"),
                       (site.look(key_type), "its CA has changed")):
        assert found.due and why in found.reason and site.read
    # the setting was changed, to what it is
    assert not site.look(key_type._replace(issuer=None)).due and site.read


def test_what_we_had_revoked(site: Site) -> None:
    """Who revokes tells nobody else: what was remembered before that is not believed."""
    journal = Journal(str(site.state.parent))
    certificate = installed.read_certificate(site.section.fullchain)
    journal.remember_revoked(b"another")
    assert not site.look().due and site.read and not site.look().due and not site.read
    journal.remember_revoked(certificate.der)
    for _ in range(2):
        assert site.look().reason == "it was revoked"
    journal.forget_revoked(certificate.der)
    assert not site.look().due and site.read and not site.look().due and not site.read


@pytest.mark.parametrize("words", [
    [], ["x"], ["1", "2"], ["1", "2", "x", "a.example"], ["-1", "2", "x", "dns:a.example"],
    ["1", "9" * 13, "x", "dns:a.example"], ["1", "²", "x", "dns:a.example"],
    ["1", "2", "x", "dns:a.example"],                        # long ago
    ["1", "99999999999", "x", "dns:b.example"]])             # another's
def test_what_is_damaged_or_older_is_no_reason_to_order(words: list[str], site: Site) -> None:
    """Nothing is done because of what is remembered: the certificate is read, then."""
    first, line = site.state.read_text().splitlines()
    pair, bar, says = line.partition("|")
    assert len(pair.split()) == 10 and bar and says
    site.state.write_text(f"{first}\n{pair}|{' '.join(words)}\n")
    assert not site.look().due and site.read
    assert not site.look().due and not site.read, "and is remembered again"


def test_what_somebody_else_could_have_written_is_not_believed(site: Site) -> None:
    site.state.chmod(0o666)
    assert not site.look().due and site.read


@pytest.mark.parametrize("says", [SAYS, SAYS._replace(cert_id="", names=()),
                                  SAYS._replace(names=(("other", "ab"), ("dns", "*.a.example")))])
def test_a_text_and_back(says: Summary) -> None:
    assert summary.parse(summary.text(says)) == says


def test_many_names_are_not_remembered() -> None:
    assert summary.text(SAYS._replace(names=SAYS.names * 100)) == ""


def test_the_file_does_not_grow_without_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MAX_SIZE", 2000)
    known = pairs.Pairs(str(site.state.parent))
    for number in range(50):
        known.seen(f"1 {number}", 0, 99, SAYS)
    known.keep()
    assert 1500 < site.state.stat().st_size < 2000
    again = pairs.Pairs(str(site.state.parent))
    assert again.fits("1 49") and not again.fits("1 0")
