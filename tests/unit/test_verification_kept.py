"""Which verdicts on a chain are for good, and which may pass; what of it is installed."""

import datetime
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness import ca
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.x509.certificate import parse_chain
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
    assert verdict(arrived(authority, plain, ahead=-10 * HOUR, days=9 / 24)) == ["later"]


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


# --- what comes with it ---------------------------------------------------------------------------

class Certificates(NamedTuple):
    """Who certifies whom: leaf < lower < upper < root; ``cross``: upper by another root."""

    request: str
    leaf: str
    lower: str
    upper: str
    root: str
    cross: str
    itself: str      # … and by itself
    other: str       # that other root
    stranger: str    # certifies nothing here, though it bears upper's name
    files: Path


def _signed(directory: Path, name: str, issuer: str, subject: str = "", key: str = "") -> str:
    """Return a CA's certificate for ``name``, by ``issuer`` (itself: a root); its key is kept."""
    key_file = directory / f"{key or name}.key"
    if not key_file.exists():
        key_file.write_text(ca.genkey())
    (directory / "ext").write_text("basicConstraints=critical,CA:TRUE\n"
                                   "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    csr = ca.openssl("req", "-new", "-config", "/dev/null", "-key", str(key_file),
                     "-subj", f"/CN={subject or name}")
    by = ["-signkey", str(key_file)] if issuer == name else [
        "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"]
    text = ca.openssl("x509", "-req", *by, "-days", "99", "-extfile", "ext", stdin=csr,
                      cwd=directory).decode()
    (directory / f"{name}.pem").write_text(text)
    return text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    files = tmp_path_factory.mktemp("chains")
    root, other = _signed(files, "root", "root"), _signed(files, "other", "other")
    upper, lower = _signed(files, "upper", "root"), _signed(files, "lower", "upper")
    (files / "leaf-ext").write_text("subjectAltName=DNS:a.example\nauthorityKeyIdentifier=keyid\n")
    leaf = ca.openssl("x509", "-req", "-CA", "lower.pem", "-CAkey", "lower.key", "-days", "9",
                      "-extfile", "leaf-ext", stdin=request().encode(), cwd=files).decode()
    return Certificates(request(), leaf, lower, upper, root,
                        _signed(files, "cross", "other", "upper", "upper"),
                        _signed(files, "itself", "itself", "upper", "upper"), other,
                        _signed(files, "stranger", "other", "upper"), files)


@pytest.mark.parametrize("came, expected", [
    ("leaf lower upper", "leaf lower upper"),
    ("leaf lower upper root", "leaf lower upper root"),
    ("leaf leaf lower lower upper lower", "leaf lower upper"),               # repeats
    ("upper lower leaf", "leaf lower upper"),                                # upside down
    ("root lower leaf upper", "leaf lower upper root"),
    ("leaf other lower stranger upper", "leaf lower upper"),                 # strangers
    ("stranger leaf lower stranger upper", "leaf lower upper"),
    ("leaf lower upper other", "leaf lower upper"),
    ("leaf lower cross upper root", "leaf lower cross"),                     # it is either
    ("leaf lower cross other upper root", "leaf lower cross other"),
    ("leaf lower itself cross", "leaf lower cross"),                         # a root last
])
def test_each_certifies_the_one_before(made: Certificates, came: str, expected: str) -> None:
    """The leaf first, strangers and repeats left out."""
    def text(words: str) -> str:
        return "".join(getattr(made, word) for word in words.split())
    spki = parse_csr(ca.openssl("req", "-outform", "DER", stdin=made.request.encode())).spki
    roots = ["", str(made.files / "root.pem")] if "cross" not in came else [
        "", str(made.files / "other.pem")]
    for root in roots:
        chain, = verification.verify(OPENSSL, [Arrived(text(came), spki, NAMES, root)])
        assert not isinstance(chain, Error), chain
        assert [item.der for item in chain] == [item.der for item in
                                                parse_chain(text(expected).encode())]


@pytest.mark.parametrize("came, root, why", [
    ("leaf upper root", "root", "does not chain to .*unable to get local issuer certificate"),
    ("leaf lower stranger", "root", "does not chain to "),
    ("leaf lower upper", "other", "does not chain to "),
    ("leaf upper root", "", "none of the certificates that came with it certifies it"),
    ("leaf stranger", "", "none of the certificates that came with it certifies it"),
])
def test_no_chain_can_be_made(made: Certificates, came: str, root: str, why: str) -> None:
    """One line, which says why; it is kept."""
    spki = parse_csr(ca.openssl("req", "-outform", "DER", stdin=made.request.encode())).spki
    text = "".join(getattr(made, word) for word in came.split())
    problem, = verification.verify(OPENSSL, [Arrived(
        text, spki, NAMES, str(made.files / f"{root}.pem") if root else "")])
    assert isinstance(problem, NotNow) and re.search(why, str(problem)), problem
    assert str(problem).isprintable()


def test_a_forged_issuer(made: Certificates) -> None:
    """It bears name and key identifier of the one that there is, and has another key."""
    (made.files / "forged.key").write_text(ca.genkey())
    identifier = parse_chain(made.lower.encode())[0].ski
    assert identifier is not None
    (made.files / "ext").write_text("basicConstraints=critical,CA:TRUE\n"
                                    f"subjectKeyIdentifier={identifier.hex()}\n")
    csr = ca.openssl("req", "-new", "-config", "/dev/null", "-key", "forged.key",
                     "-subj", "/CN=lower", cwd=made.files)
    forged = ca.openssl("x509", "-req", "-CA", "upper.pem", "-CAkey", "upper.key", "-days", "9",
                        "-extfile", "ext", stdin=csr, cwd=made.files).decode()
    spki = parse_csr(ca.openssl("req", "-outform", "DER", stdin=made.request.encode())).spki
    problem, = verification.verify(OPENSSL, [Arrived(
        made.leaf + forged + made.upper, spki, NAMES, str(made.files / "root.pem"))])
    assert isinstance(problem, NotNow) and "signature failure" in str(problem), problem
