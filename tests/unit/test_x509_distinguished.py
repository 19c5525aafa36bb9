"""Names for people, as openssl writes them (RFC 4514)."""

import pytest

from harness import ca
from letsencrypt_tiny.common.x509 import der
from letsencrypt_tiny.common.x509.certificate import parse_certificate
from letsencrypt_tiny.common.x509.distinguished import text


@pytest.mark.parametrize("subject", [
    "/C=US/O=Let's Encrypt/CN=R11", "/CN=a", "/O=x, y; z <\"> \\\\ =/CN=# first and last ",
    "/C=DE/ST=B/L=ü/OU=a\\+b/CN= both ", "/DC=org/DC=example/UID=y", "/O=日本 \u200b/CN=a"])
def test_as_openssl(subject: str) -> None:
    pem = ca.openssl("req", "-x509", "-config", "/dev/null", "-utf8", "-subj", subject, "-newkey",
                     "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null")
    shown = ca.openssl("x509", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb,utf8",
                       stdin=pem).decode().rstrip("\n").removeprefix("subject=")
    if not shown.isprintable():   # which openssl leaves as it is
        shown = shown.replace("\u200b", r"\E2\80\8B")
    found = text(parse_certificate(der.read_block(pem, 0)[1]).subject)
    assert found == shown and found.isprintable()


def test_nobody_and_what_is_malformed() -> None:
    assert text(der.encode(der.SEQUENCE)) == ""
    for data in (b"", b"\x30", b"\x30\x02\x31\x00", b"\x04\x00", b"\x30\x80", b"x" * 9):
        assert text(data) == ""
    parts = [der.encode(der.SEQUENCE, der.encode(der.OID, b"\x55\x04" + kind),
                        der.encode(der.UTF8_STRING, value))
             for kind, value in ((b"\x03", b"x"), (b"\x0b", b"y"))]
    assert text(der.encode(der.SEQUENCE, der.encode(der.SET, *parts))) == "CN=x+OU=y"
    odd = der.encode(der.SEQUENCE, der.encode(der.SET, der.encode(
        der.SEQUENCE, der.encode(der.OID, b"\x2a\x03"), der.encode(b"\x04", b"\x1b["))))
    assert text(odd) == "1.2.3=#1b5b", "a type and a string that have no word"
