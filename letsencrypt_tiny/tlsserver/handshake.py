"""TLS as far as a validation needs it: a handshake that shows a certificate, and the end.

OpenSSL is handed bytes and hands bytes back; it has no socket.
"""

import fcntl
import functools
import os
import ssl

from ..common import log
from ..common.wire.responder import Challenge
from . import hello
from .certificate import Key

MAX_BYTES = hello.MAX_BYTES + 16384   # of a client, in all: it sends no certificate

_MAX_PEM = 4096   # bytes of a certificate, of 1 kB, and its key
_CONTEXTS = 1024  # kept, of 25 kB each
_SAMPLE = Challenge("tls-alpn-01", ("dns", "a.example"), "x" * 22, "x" * 43)


class Contexts:
    """Certificates for challenges, of one key, made when somebody asks for them.

    OpenSSL reads both by a path, which is that of an anonymous file: neither ever is on a disk,
    and nobody else can open it (the process isn't dumpable).
    """

    def __init__(self) -> None:
        """To be called before the process confines itself: makes file, key and a first context."""
        self._key = Key()
        self._file = os.memfd_create("certificate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._file, _MAX_PEM)
        fcntl.fcntl(self._file, fcntl.F_ADD_SEALS,
                    fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self._context = functools.lru_cache(_CONTEXTS)(self._make)
        self._make(_SAMPLE)

    def handshake(self, challenge: Challenge) -> "Handshake":
        """Begin one with a client that validates this challenge."""
        return Handshake(self._context(challenge))

    def _make(self, challenge: Challenge) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2   # RFC 8737 §4
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0  # type: ignore[attr-defined]  # nobody comes back
        context.set_alpn_protocols([hello.PROTOCOL.decode("ascii")])
        self._write(self._key.pem() + self._key.certificate(challenge.identifier,
                                                            challenge.digest()))
        try:
            context.load_cert_chain(f"/proc/self/fd/{self._file}")
        finally:
            self._write(b"")
        return context

    def _write(self, pem: bytes) -> None:
        """Replace what is in the file; text after PEM means nothing (RFC 7468 §2)."""
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, pem.ljust(_MAX_PEM, b"\n"))


class Handshake:
    """One with one client."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._left = MAX_BYTES

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Take what the client has sent; return what it is sent, and whether that is all.

        After the handshake no application data is exchanged (RFC 8737 §4): it is closed.
        """
        self._left -= len(data)
        self._incoming.write(data)
        over = self._left < 0
        try:
            self._tls.do_handshake()
            over = True
            self._tls.unwrap()      # sends close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:   # what is to be sent tells the client
            log.debug(f"the handshake failed: {exc.reason}")
            over = True
        return self._outgoing.read(), over
