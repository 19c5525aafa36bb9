"""Which verdicts on a chain are for good, and which may pass."""

import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ca
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.master.pki import verification
from letsencrypt_tiny.master.pki.verification import Arrived, NotNow

OPENSSL = "/usr/bin/openssl"
NAMES = (("dns", "a.example"),)
HOUR = 3600


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ca.CA]:
    """Who issues."""
    yield ca.CA(tmp_path_factory.mktemp("ca"))


KEY = ca.genkey()


def request(*extensions: str) -> str:
    """Return a CSR for a.example with more extensions."""
    return ca.openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-subj", "/",
                      "-addext", "subjectAltName=DNS:a.example",
                      *(word for text in extensions for word in ("-addext", text)),
                      stdin=KEY.encode()).decode()


def arrived(authority: ca.CA, csr: str, root: str = "", ahead: float = -HOUR, days: float = 90,
            chain: str | None = None) -> Arrived:
    """Return what a CA issued, which becomes valid ``ahead`` seconds from now."""
    begin = datetime.datetime.fromtimestamp(time.time() + ahead, datetime.timezone.utc)
    text = authority.issue(csr, None, begin, days)
    parsed = parse_csr(ca.openssl("req", "-outform", "DER", stdin=csr.encode()))
    intermediate = authority.intermediate.read_text() if chain is None else chain
    return Arrived(text + intermediate, parsed.spki, NAMES, root or str(authority.root))


def verdict(*of: Arrived, command: str = OPENSSL) -> list[str]:
    """Return "good", "later" or "never" for each."""
    return ["later" if isinstance(one, NotNow) else "never" if isinstance(one, Error) else "good"
            for one in verification.verify(command, of)]


def test_verdicts(authority: ca.CA, tmp_path: Path) -> None:
    other = ca.CA(tmp_path)
    (tmp_path / "empty").touch()
    plain = request()
    assert verdict(arrived(authority, plain)) == ["good"]
    for root in (str(other.root), str(tmp_path / "empty"), "/nonexistent"):
        assert verdict(arrived(authority, plain, root)) == ["later"]
    assert verdict(arrived(authority, plain, chain="")) == ["later"], "a part of it is missing"
    assert verdict(arrived(authority, plain), command="/nonexistent/openssl") == ["later"]
    assert verdict(arrived(authority, request("extendedKeyUsage=clientAuth"))) == ["never"]
    assert verdict(arrived(authority, plain, ahead=-10 * HOUR, days=9 / 24)) == ["never"]


def test_each_at_its_own_moment(authority: ca.CA) -> None:
    """One that begins soon doesn't make another one expire, nor the other way round."""
    csr = request()
    together = [arrived(authority, csr), arrived(authority, csr, ahead=HOUR - 60),
                arrived(authority, csr, ahead=-HOUR, days=1.5 / 24),
                arrived(authority, csr, ahead=2 * HOUR), arrived(authority, csr, ahead=3)]
    assert verdict(*together) == ["good", "good", "good", "later", "good"]


def test_an_intermediate_from_the_future(tmp_path: Path) -> None:
    """The whole chain's dates count, with the same tolerance; beyond it the next run tries."""
    authority = ca.CA(tmp_path)
    csr = ca.openssl("req", "-new", "-config", "/dev/null", "-key", "intermediate.key",
                     "-subj", "/CN=Throw-away Intermediate",
                     "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
                     "-addext", "keyUsage=critical,keyCertSign,cRLSign", cwd=tmp_path).decode()
    for ahead, expected in ((HOUR - 60, "good"), (2 * HOUR, "later")):
        begin = datetime.datetime.fromtimestamp(time.time() + ahead, datetime.timezone.utc)
        intermediate = authority._sign("root", csr, 1000, None, begin)
        assert verdict(arrived(authority, request(), chain=intermediate)) == [expected]
