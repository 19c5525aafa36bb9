"""What openssl made is what it was asked for: keys and requests, read in process."""

import time
from pathlib import Path

import pytest

from harness import ca, soak
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.common.x509.der import pem_blocks
from letsencrypt_tiny.master.peers import bounded
from letsencrypt_tiny.master.pki import check
from letsencrypt_tiny.master.settings.certificates import Section

SECTION = Section("a", "F", (("dns", "a.example"),), "/k", "/c", "", "", (), "ec:P-256",
                  None, "", "", (), (), None, 0o644, "")
KINDS = soak.kinds(["ec:P-256", "ec:P-384", "rsa:2048", "rsa:3072"])


def public(pem: str) -> bytes:
    """What openssl says of it."""
    return ca.openssl("pkey", "-pubout", "-outform", "DER", stdin=pem.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_the_public_key_in_a_private_one(kind: str) -> None:
    pem = ca.genkey(kind)
    assert check.public_key(pem.encode()) == public(pem)
    # as openssl wrote it of old
    old = ca.openssl("pkey", "-traditional", stdin=pem.encode())
    assert b"PRIVATE KEY" in old and b"BEGIN PRIVATE" not in old
    assert check.public_key(old) == public(pem)
    # with parameters before it, as “openssl ecparam -genkey” has them
    assert check.public_key(b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
                            b"-----END EC PARAMETERS-----\n" + old) == public(pem)


def test_keys_of_which_nothing_is_known() -> None:
    assert check.public_key(ca.openssl("genpkey", "-algorithm", "ED25519")) is None
    for pem in (b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                b"-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n",
                b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"):
        assert check.public_key(pem) is None
    # without its public key (RFC 5915 §3)
    alone = ca.openssl("ec", "-no_public", stdin=ca.genkey().encode())
    assert check.public_key(alone) is None


@pytest.mark.parametrize("kind", KINDS)
def test_requests(kind: str) -> None:
    pem = ca.genkey(kind)
    csr = parse_csr(pem_blocks(ca.request(["a.example"], pem).encode())[0][1])
    check.check_request(csr, SECTION, pem.encode())
    check.check_request(csr, SECTION, b"of which nothing is known")
    with pytest.raises(Error, match="another key"):
        check.check_request(csr, SECTION, ca.genkey(kind).encode())
    with pytest.raises(Error, match="other names"):
        check.check_request(csr, SECTION._replace(identifiers=(("dns", "b.example"),)),
                            pem.encode())
    check.check_new_key(csr, SECTION._replace(key_type=kind), pem.encode())
    for other in ca.genkey(kind), pem[:100], "":
        with pytest.raises(Error, match="made no private key"):
            check.check_new_key(csr, SECTION._replace(key_type=kind), other.encode())
    with pytest.raises(Error, match=f"of type {kind}, not ec:P-521"):
        check.check_new_key(csr, SECTION._replace(key_type="ec:P-521"), pem.encode())


def shell(script: str, seconds: float = 10) -> bounded.Done:
    return bounded.run(["/bin/sh", "-c", script], "the script", seconds, {"PATH": "/usr/bin:/bin"})


def test_output_has_a_limit() -> None:
    done = shell("echo out; echo err >&2; exit 3")
    assert done == (3, b"out\n", b"err\n") and done.signal == ""
    half = bounded.LIMIT // 2
    assert len(shell(f"head -c {half} /dev/zero").stdout) == half
    for where in ("", " >&2"):
        began = time.monotonic()
        with pytest.raises(Error, match=f"^the script wrote more than {bounded.LIMIT} bytes$"):
            shell(f"cat /dev/zero{where}")
        assert time.monotonic() - began < 10


def test_both_outputs_are_read() -> None:
    """A pipe takes 64 kB: who reads one of them to its end first waits for ever."""
    done = shell("head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; echo >&2")
    assert (len(done.stdout), len(done.stderr)) == (300000, 300001)


@pytest.mark.parametrize("script", ["sleep 100", "exec >&- 2>&-; sleep 100",
                                    "sleep 100 & echo $! >PID; exit 0",
                                    "trap '' TERM; while :; do sleep 1; done"])
def test_time_has_a_limit(script: str, tmp_path: Path) -> None:
    """… for all that it has started."""
    began = time.monotonic()
    with pytest.raises(bounded.TooLong, match="^the script took longer than 1 seconds$"):
        shell(f"cd {tmp_path}; {script}", 1)
    assert time.monotonic() - began < 8
    if (tmp_path / "PID").exists():
        child = int((tmp_path / "PID").read_text())
        for _ in range(100):
            stat = Path(f"/proc/{child}/stat")
            if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.05)
        else:
            pytest.fail("what it has started runs on")


def test_who_was_ended_by_a_signal() -> None:
    assert shell("kill -SEGV $$").signal == "SIGSEGV"
    assert shell("kill -40 $$").signal == "signal 40"
