"""openssl: requests read back by openssl itself, and nothing of the environment believed."""

import datetime
import os
import subprocess
import tempfile
import time
from pathlib import Path
from collections.abc import Iterator
from typing import Any

import pytest

from harness import ca, soak
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.pki import openssl
from letsencrypt_tiny.master.settings import certificates as certs, identifiers
from letsencrypt_tiny.master.settings.certificates import Section
from letsencrypt_tiny.master.settings.keys import KEY_TYPES

OPENSSL = "/usr/bin/openssl"
PLAIN = Section("a", "F", (("dns", "a.example"),), "/k", "/c", "", "", (), "ec:P-256",
                None, "", "", (), (), None, 0o644, "")


@pytest.fixture(scope="module")
def authority() -> Iterator[ca.CA]:
    """Who issues."""
    with tempfile.TemporaryDirectory() as directory:
        yield ca.CA(Path(directory))


@pytest.fixture(scope="module")
def key() -> Iterator[int]:
    """A descriptor of an EC key."""
    descriptor = openssl._memory(openssl.generate_key(OPENSSL, "ec:P-256"))
    yield descriptor
    os.close(descriptor)


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Each descriptor that was opened is closed again."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) == before


def text_of(der: bytes) -> str:
    """Return what openssl says of a request, its signature verified."""
    done = subprocess.run([OPENSSL, "req", "-inform", "DER", "-noout", "-text", "-verify",
                           "-nameopt", "utf8,sep_multiline"], input=der, capture_output=True,
                          check=True)
    assert b"OK" in done.stderr or b"OK" in done.stdout
    return done.stdout.decode()


def values(text: str, heading: str) -> str:
    """Return the line below the one with ``heading``."""
    lines = [line.strip() for line in text.splitlines()]
    at = [number for number, line in enumerate(lines) if line.startswith(heading)]
    return lines[at[0] + 1] if at else ""


@pytest.mark.parametrize("kind", soak.kinds(KEY_TYPES))
def test_keys_and_requests_of_each_type(kind: str) -> None:
    pem = openssl.generate_key(OPENSSL, kind)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n"), "PKCS#8"
    descriptor = openssl._memory(pem)
    try:
        der = openssl.request(OPENSSL, descriptor, PLAIN)
        spki = openssl.public_key(OPENSSL, descriptor)
    finally:
        os.close(descriptor)
    text = text_of(der)
    assert values(text, "X509v3 Subject Alternative Name") == "DNS:a.example"
    name, _, size = kind.partition(":")
    assert f"NIST CURVE: {size}" in text if name == "ec" else f"({size} bit)" in text
    found = parse_csr(der)
    assert found.spki == spki

    # … and both at once
    made, der = openssl.request_with_new_key(OPENSSL, PLAIN._replace(key_type=kind))
    text_of(der)    # which looks at its signature
    assert made.startswith(b"-----BEGIN PRIVATE KEY-----\n") and made != pem
    descriptor = openssl._memory(made)
    try:
        again = parse_csr(openssl.request(OPENSSL, descriptor, PLAIN))
    finally:
        os.close(descriptor)
    assert parse_csr(der) == again._replace(der=der)
    assert found.names == (("dns", "a.example"),) and found.common_names == ()


def test_names(key: int) -> None:
    names: tuple[tuple[str, str], ...] = (
        ("dns", "b.example"), ("ip", "192.0.2.1"), ("ip", "2001:db8::1"), ("dns", "xn--a.example"))
    der = openssl.request(OPENSSL, key, PLAIN._replace(identifiers=names))
    text = text_of(der)
    assert parse_csr(der).names == names
    assert values(text, "X509v3 Subject Alternative Name") == (
        "DNS:b.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, DNS:xn--a.example")
    # RFC 5280 §4.2.1.6: critical where the subject is empty
    assert "X509v3 Subject Alternative Name: critical" in text
    assert parse_csr(der).subject == b"0\0"


def test_a_thousand_names(key: int) -> None:
    names = tuple(("dns", f"{n:04}.{'x' * 40}.example") for n in range(certs.MAX_NAMES))
    der = openssl.request(OPENSSL, key, PLAIN._replace(identifiers=names))
    assert parse_csr(der).names == names


def test_subject(key: int) -> None:
    subject = identifiers.parse_subject("/C=DE/O=Ü & Söhne, (1) 'x' * ! ?: @-_./OU=日本/CN=a.example"
                                        "/emailAddress=a@b.example")
    text = text_of(openssl.request(OPENSSL, key, PLAIN._replace(subject=subject)))
    for line in ("C=DE", "O=Ü & Söhne\\, (1) 'x' * ! ?: @-_.", "OU=日本", "CN=a.example",
                 "emailAddress=a@b.example"):
        assert line.replace("\\,", ",") in text.replace("\\,", ",")
    assert "X509v3 Subject Alternative Name: critical" not in text


@pytest.mark.parametrize("kind", identifiers.SUBJECT_TYPES)
def test_every_subject_type_is_openssl_s_own(key: int, kind: str) -> None:
    """openssl skips an unknown one silently."""
    value = "DE" if kind in ("C", "jurisdictionC") else "a.example"
    der = openssl.request(OPENSSL, key, PLAIN._replace(subject=identifiers.parse_subject(
        f"/{kind}={value}")))
    assert value in text_of(der).split("Subject Public Key")[0]


@pytest.mark.parametrize("usage", certs.KEY_USAGES)
def test_every_key_usage(key: int, usage: str) -> None:
    text = text_of(openssl.request(OPENSSL, key, PLAIN._replace(key_usage=(usage,))))
    assert "X509v3 Key Usage: critical" in text and values(text, "X509v3 Key Usage: critical")


def test_extensions(key: int) -> None:
    text = text_of(openssl.request(OPENSSL, key, PLAIN._replace(
        key_usage=("digitalSignature", "keyEncipherment"), tls_feature=certs.TLS_FEATURES)))
    assert values(text, "X509v3 Key Usage: critical") == "Digital Signature, Key Encipherment"
    assert values(text, "TLS Feature") == "status_request, status_request_v2"
    text = text_of(openssl.request(OPENSSL, key, PLAIN))
    assert "Key Usage" not in text and "TLS Feature" not in text


@pytest.mark.parametrize("name", certs.HASHES)
def test_every_hash(name: str) -> None:
    descriptor = openssl._memory(ca.genkey("rsa:2048").encode())
    try:
        text = text_of(openssl.request(OPENSSL, descriptor, PLAIN._replace(hash=name)))
    finally:
        os.close(descriptor)
    algorithm = {"rmd160": "ripemd160"}.get(name, name)
    assert f"Signature Algorithm: {algorithm}WithRSA" in text.replace("ripemd160WithRSA",
                                                                      "ripemd160WithRSA")


def test_nothing_of_the_environment(key: int, monkeypatch: pytest.MonkeyPatch,
                                    tmp_path: Path) -> None:
    config = tmp_path / "openssl.cnf"
    config.write_text("openssl_conf = evil\n[evil]\nengines = e\n[e]\nx = x\n[x]\n"
                      "dynamic_path = /no/such.so\ninit = 1\n[req]\nreq_extensions = v\n"
                      "default_md = md5\n[v]\nsubjectAltName = DNS:evil.example\n")
    for name in ("OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "SSLEAY_CONF"):
        monkeypatch.setenv(name, str(config))
    for name in ("OPENSSL_MODULES", "OPENSSL_ENGINES", "LD_LIBRARY_PATH", "SSL_CERT_FILE",
                 "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "none.so"))
    text = text_of(openssl.request(OPENSSL, key, PLAIN))
    assert "evil" not in text and "with-SHA256" in text
    assert openssl.run("/usr/bin/env", ["-u", "X"]) == \
        b"PATH=/usr/bin:/bin\nOPENSSL_CONF=/dev/null\nLANG=C.UTF-8\n"


def test_what_it_inherits(key: int) -> None:
    """Standard descriptors and the key's: nothing else, and no terminal to ask on."""
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        found = openssl.run("/bin/sh", ["-c", "ls /proc/self/fd; pwd; cat"], (key,)).split()
    finally:
        os.close(extra)
    assert found.pop() == b"/" and str(extra).encode() not in found
    assert set(found) - {b"0", b"1", b"2", b"3", str(key).encode()} == set()


@pytest.mark.parametrize("traditional", [False, True])
def test_an_encrypted_key_is_refused_without_a_question(traditional: bool) -> None:
    options = ["-traditional"] if traditional else []
    pem = ca.openssl("rsa", "-aes128", "-passout", "pass:x", *options,
                     stdin=ca.genkey("rsa:2048").encode())
    assert b"ENCRYPTED" in pem
    descriptor = openssl._memory(pem)
    start = time.monotonic()
    try:
        with pytest.raises(Error, match="^the private key is encrypted"):
            openssl.request(OPENSSL, descriptor, PLAIN)
        for work in (lambda: openssl.request(OPENSSL, descriptor, PLAIN),
                     lambda: openssl.public_key(OPENSSL, descriptor)):
            with pytest.raises(Error) as caught:
                work()
            assert str(caught.value).isprintable()
            assert "encrypted" in str(caught.value) or "openssl pkey failed: " in str(caught.value)
    finally:
        os.close(descriptor)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("junk", [
    b"", b"junk", b"\0" * 1000, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    b"\x1b[31m" * 100])
def test_what_is_no_key(junk: bytes) -> None:
    descriptor = openssl._memory(junk)
    try:
        with pytest.raises(Error, match="^openssl req failed: ") as caught:
            openssl.request(OPENSSL, descriptor, PLAIN)
    finally:
        os.close(descriptor)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_openssl_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for path, match in (("/no/such", "^/no/such: cannot run it: No such file"),
                        ("/etc/passwd", "cannot run it: Permission denied")):
        with pytest.raises(Error, match=match):
            openssl.generate_key(path, "ec:P-256")
    with pytest.raises(Error, match="openssl -c failed: error: it is broken$"):
        openssl.run("/bin/sh", ["-c", "echo one; echo two >&2; echo error: it is broken >&2; "
                                "exit 3"])
    with pytest.raises(Error, match=r"^/bin/sh -c was ended by SIGKILL: a\\x1b\[2Jb$"):
        openssl.run("/bin/sh", ["-c", r"printf 'a\033[2Jb\ntwo\n' >&2; kill -9 $$"])
    with pytest.raises(Error, match=r"failed: It failed: XYZ \(string too long\)$"):
        openssl.run("/bin/sh", ["-c", "echo 40B7:error:068097:asn1:f:string too long:a.c:1: >&2; "
                                "echo It failed: XYZ >&2; exit 1"])
    with pytest.raises(Error, match="no reason given"):
        openssl.run("/bin/false", ["x"])
    monkeypatch.setattr(openssl, "TIMEOUT", 0.2)
    with pytest.raises(Error, match="took longer than 0.2 seconds"):
        openssl.run("/bin/sleep", ["60"])


def chain(authority: ca.CA, **issue: Any) -> tuple[bytes, bytes]:
    """Return a new certificate and the intermediate, both PEM."""
    leaf = authority.issue(ca.request(["a.example"], ca.genkey()), **issue)
    return leaf.encode(), authority.intermediate.read_bytes()


def test_verify(authority: ca.CA) -> None:
    leaf, intermediate = chain(authority)
    openssl.verify(OPENSSL, [leaf], intermediate, str(authority.root))
    openssl.verify(OPENSSL, [leaf], intermediate * 3, str(authority.root))


def test_verify_each_finds_the_bad_ones(authority: ca.CA,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """One process where all are good; where some are not, each gets its own reason."""
    leaf, intermediate = chain(authority)
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=10)
    expired, _ = chain(authority, not_before=past, days=5)
    root = str(authority.root)
    runs = []
    run = openssl.run
    monkeypatch.setattr(openssl, "run", lambda *arguments: runs.append(arguments) or run(
        *arguments))
    assert openssl.verify_each(OPENSSL, [leaf] * 70, intermediate, root) == [None] * 70
    assert len(runs) == 2   # 64 and 6
    verdicts = openssl.verify_each(OPENSSL, [leaf, expired, b"junk", leaf], intermediate, root)
    assert verdicts[0] is None and verdicts[3] is None
    assert "expired" in str(verdicts[1]) and verdicts[2] is not None
    assert openssl.verify_each(OPENSSL, [], intermediate, root) == []


def test_verify_refuses(authority: ca.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf, intermediate = chain(authority)
    root = str(authority.root)
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=10)
    expired, _ = chain(authority, not_before=past, days=5)
    early, _ = chain(authority, not_before=past + datetime.timedelta(days=20))
    monkeypatch.setenv("SSL_CERT_FILE", root)
    with tempfile.TemporaryDirectory() as directory:
        other = ca.CA(Path(directory), "Other")
        empty = Path(directory, "empty")
        empty.touch()
        ca_leaf = authority.intermediate.read_bytes()
        for arguments, match in (
                ((leaf, b"", root), "unable to get local issuer"),
                ((leaf, other.intermediate.read_bytes(), root), "unable to get local issuer"),
                ((leaf, intermediate, str(other.root)), "unable to get"),
                ((leaf, intermediate, str(empty)), "[Ee]rror"),
                ((leaf, intermediate, f"{directory}/none"), "/none .No such file or directory"),
                ((expired, intermediate, root), "expired"),
                ((early, intermediate, root), "not yet valid"),
                # intermediates are never trusted, not even one that signed itself
                ((leaf, intermediate + authority.root.read_bytes(), str(other.root)),
                 "self.signed"),
                ((b"junk", intermediate, root), "Could not (read|find)|[Uu]nable"),
                ((ca_leaf, b"", str(other.root)), "unable to get")):
            with pytest.raises(Error, match=match):
                openssl.verify(OPENSSL, [arguments[0]], *arguments[1:])


@pytest.mark.parametrize("before", [
    "RSA key of www (NOT ENCRYPTED)\n", "# Proc-Type: 4,ENCRYPTED, once\n",
    "x" * 5000 + "\n"])
def test_what_is_written_before_a_key_does_not_encrypt_it(before: str) -> None:
    descriptor = openssl._memory((before + ca.genkey()).encode())
    try:
        assert openssl.request(OPENSSL, descriptor, PLAIN)
    finally:
        os.close(descriptor)
    encrypted = ca.openssl("pkey", "-aes128", "-passout", "pass:x", stdin=ca.genkey().encode())
    descriptor = openssl._memory(before.encode() + encrypted)
    try:
        with pytest.raises(Error, match="^the private key is encrypted"):
            openssl.request(OPENSSL, descriptor, PLAIN)
    finally:
        os.close(descriptor)
