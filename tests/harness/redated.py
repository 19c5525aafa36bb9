"""A real CA by a virtual clock: a proxy before Pebble that dates its certificates anew.

The programs see the CA as of their own time; Pebble lives in ours.  What it has issued is signed
again by an authority of the test's, for the lifetime that the name has: ``c7-90.example`` is
certified for 90 days.

    python3 -m harness.redated PORT UPSTREAM ROOM

ROOM has the files of ``prepare``, and ``requests``, to which a line is added for each request;
``mode`` says what the proxy does, and by how much the clock is ahead (seconds).
"""

import http.client
import http.server
import re
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from Cryptodome.Hash import SHA1, SHA256
from Cryptodome.PublicKey import ECC
from Cryptodome.Signature import DSS

from letsencrypt_tiny.common.x509.certificate import Certificate, parse_chain

from . import ca
from .x509 import ALGORITHM, V3, ext, tlv

DAY = 86400
BACKDATED = 3600     # seconds, as Let's Encrypt does
HEADERS = ("content-type", "location", "link", "replay-nonce", "retry-after")


def days(name: str) -> int:
    """Return what a certificate with that name is valid for."""
    return int(name.partition(".")[0].rpartition("-")[2])


class Dater:
    """Signs certificates for whatever time, by the intermediate of a CA: quickly, P-256."""

    def __init__(self, authority: ca.CA) -> None:
        text = authority.intermediate.read_text()
        (issuer,) = parse_chain(text.encode())
        key = ECC.import_key((authority.intermediate.parent / "intermediate.key").read_text())
        self._signer = DSS.new(key, "fips-186-3", encoding="binary")
        self._intermediate, self._subject = text, issuer.subject
        self.aki = SHA1.new(issuer.spki[-65:]).digest()    # of its point (RFC 5280 §4.2.1.2)
        self._number = 0

    def issue(self, spki: bytes, names: "list[str]", now: float) -> str:
        """Return a chain (PEM) for a key, valid from an hour before ``now``."""
        begin = int(now) - BACKDATED
        self._number += 1
        serial = b"\x01" + time.time_ns().to_bytes(8, "big") + self._number.to_bytes(4, "big")
        extensions = tlv(0xa3, tlv(
            0x30, ext("2.5.29.17", tlv(0x30, *(tlv(0x82, name.encode()) for name in names))),
            ext("2.5.29.35", tlv(0x30, tlv(0x80, self.aki))),
            ext("2.5.29.37", tlv(0x30, b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"))))
        body = tlv(0x30, V3, tlv(2, serial), ALGORITHM, self._subject,
                   tlv(0x30, _moment(begin), _moment(begin + days(names[0]) * DAY)),
                   tlv(0x30), spki, extensions)
        both = self._signer.sign(SHA256.new(body))
        signature = tlv(0x30, *(_integer(both[at:at + 32]) for at in (0, 32)))
        der = tlv(0x30, body, ALGORITHM, tlv(3, b"\0" + signature))
        return ca.pem(der, "CERTIFICATE") + self._intermediate

    def again(self, chain: bytes, now: float) -> bytes:
        """Return another certificate for what one is for, which leads ``chain``."""
        leaf: Certificate = parse_chain(chain)[0]
        return self.issue(leaf.spki, [name for _, name in leaf.names], now).encode()


def _integer(octets: bytes) -> bytes:
    number = int.from_bytes(octets, "big")
    return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _moment(moment: int) -> bytes:
    return tlv(0x17, time.strftime("%y%m%d%H%M%SZ", time.gmtime(moment)).encode())


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dater: Dater
    room: Path
    upstream: str

    def _answer(self) -> None:
        mode, offset = (self.room / "mode").read_text().split()
        with open(self.room / "requests", "a", encoding="ascii", errors="replace") as file:
            file.write(f"{self.command} {self.path}\n")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        newest = re.search("(order|nonce)", self.path)
        if mode == "down" or mode == "closed" and newest:
            self.close_connection = True    # it breaks
            return
        url = urlsplit(self.upstream)
        context = ssl.create_default_context(cafile=str(self.room / "upstream.pem"))
        connection = http.client.HTTPSConnection(url.netloc, timeout=60, context=context)
        try:
            connection.request(self.command, self.path, body or None, {
                "Host": self.headers["Host"],
                **{name: self.headers[name] for name in ("Content-Type",) if name in self.headers}})
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if "pem-certificate-chain" in response.getheader("Content-Type", ""):
            data = self.dater.again(data, time.time() + int(offset))
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() in HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = _answer    # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """It is written down already."""


def main() -> None:
    """See the module."""
    port, upstream, room = sys.argv[1:]
    _Handler.room, _Handler.upstream = Path(room), upstream
    authority = ca.CA.existing(room)
    _Handler.dater = Dater(authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(room, "server.pem"), Path(room, "server.key"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), _Handler,
                                             bind_and_activate=False)
    server.allow_reuse_address = True
    server.request_queue_size = 64
    server.server_bind()
    server.server_activate()
    server.socket = context.wrap_socket(server.socket, server_side=True,
                                        do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
