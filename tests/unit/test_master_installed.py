"""The installed certificate, read where it lies."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from harness.x509 import build, certificate, key, parse, refused, say
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.x509.der import encode_pem
from letsencrypt_tiny.master.store.installed import read_certificate

ROOT = Path(__file__).resolve().parents[2]


def test_read_certificate(tmp_path: Path) -> None:
    """The first one, wherever it begins; the file's name in each complaint."""
    path = tmp_path / "cert.pem"
    leaf, other = certificate("subjectAltName=DNS:example.org"), certificate(kind="rsa:2048")
    long = certificate("subjectAltName=" + ",".join(f"DNS:{n}.example.org" for n in range(900)))
    for text, expected in ((leaf, leaf), (leaf + other, leaf), (key().encode() + leaf, leaf),
                           (say(leaf, "-text").encode() + leaf + other, leaf), (long, long),
                           (b"x" * 100_000 + b"\n" + leaf, leaf), (leaf[:-1], leaf),
                           (leaf.replace(b"\n", b"\r\n") + b"junk", leaf),
                           (b"see -----BEGIN CERTIFICATE-----\n" + other, other)):
        path.write_bytes(text)
        assert read_certificate(str(path)) == parse(expected)
    for text in (b"", b"junk", key().encode(), leaf[:-10], b"x" + leaf, b"\n" * 300_000 + leaf,
                 b"-----END CERTIFICATE-----\n" + leaf[:100], encode_pem(b"junk"),
                 b"-----END CERTIFICATE-----\n" * 100_000, leaf.replace(b"\nM", b"\n M", 1)):
        path.write_bytes(text)
        assert str(path) in refused(lambda _: read_certificate(str(path)), b"")
    with pytest.raises(FileNotFoundError):
        read_certificate(str(tmp_path / "none.pem"))
    with pytest.raises(Error, match="not a plain file"):
        read_certificate(str(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)   # they aren't even opened
    os.write(writer, leaf)
    for name in "fifo", "link":
        with pytest.raises(Error, match="not a plain file"):
            read_certificate(str(tmp_path / name))
    assert os.read(writer, len(leaf) + 1) == leaf
    os.close(writer)
    assert not [name for name in os.listdir("/proc/self/fd") if str(tmp_path) in
                (os.readlink(f"/proc/self/fd/{name}")
                 if os.path.lexists(f"/proc/self/fd/{name}") else "")]


def test_fifty_megabytes(tmp_path: Path) -> None:
    """No more is read than one certificate may be."""
    path = tmp_path / "large.pem"
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + b"A\n" * 25_000_000)
    begun = time.process_time()
    refused(lambda _: read_certificate(str(path)), b"")
    assert time.process_time() - begun < 0.5
    path.write_bytes(encode_pem(build()) + bytes(50_000_000))
    assert read_certificate(str(path)).der == build()


def test_speed(tmp_path: Path) -> None:
    """Ten thousand installed certificates are no burden (60 µs each, with room for slow days).

    The best of many short looks, in processor time: others run beside it.
    """
    path = tmp_path / "cert.pem"
    path.write_bytes(certificate(
        "subjectAltName=DNS:example.org,DNS:www.example.org", "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth", "basicConstraints=critical,CA:FALSE",
        "authorityKeyIdentifier=keyid:always", "certificatePolicies=2.23.140.1.2.1",
        "authorityInfoAccess=caIssuers;URI:http://i.example.org/",
        "crlDistributionPoints=URI:http://c.example.org/1.crl",
        "1.3.6.1.4.1.11129.2.4.2=DER:04:82:01:00" + ":aa" * 256))
    best = 1.0
    for _ in range(50):
        begun = time.process_time()
        for _ in range(40):
            read_certificate(str(path))
        best = min(best, (time.process_time() - begun) / 40)
    print(f"read_certificate: {best * 1e6:.0f} µs")
    assert best < 0.0003


def test_start_up_stays_cheap(tmp_path: Path) -> None:
    """Rare modules come with what needs them, not before."""
    path = tmp_path / "cert.pem"
    path.write_bytes(certificate("subjectAltName=DNS:example.org,IP:192.0.2.1"))
    program = ("import sys; sys.path.insert(0, sys.argv[1])\n"
               "from letsencrypt_tiny.master.store.installed import read_certificate\n"
               "read_certificate(sys.argv[2])\n"
               "print(*sys.modules, sep='\\n')")
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", program, str(ROOT), str(path)],
                          stdout=subprocess.PIPE, check=True)
    loaded = set(done.stdout.decode().split())
    assert "letsencrypt_tiny.common.x509.certificate" in loaded
    assert not loaded & {"ipaddress", "hashlib", "json", "calendar", "datetime", "subprocess",
                         "letsencrypt_tiny.common.wire.jose"}
