"""The TLS server for challenges, the real program on real sockets, and who asks it what."""

import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from letsencrypt_tiny.common.names import Identifier
from letsencrypt_tiny.common.wire import responder as wire
from letsencrypt_tiny.common.wire.responder import Answered, Asked, Challenge, Duty

from .webserver import AS_ROOT, TREE, Address, become_nobody, connect, directory

THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"
NAME, OTHER = ("dns", "a.example"), ("dns", "b.example")
DUTY = Duty(frozenset([NAME, OTHER, ("ip", "192.0.2.1"), ("ip", "2001:db8::1")]),
            frozenset([THUMBPRINT]))
PROTOCOL = "acme-tls/1"


def challenge(identifier: Identifier = NAME, token: str = TOKEN, thumbprint: str = THUMBPRINT,
              kind: str = "tls-alpn-01") -> Challenge:
    """Return one of which the server may be asked."""
    return Challenge(kind, identifier, token, thumbprint)


class Client:
    """The other end of a door."""

    def __init__(self, sock: socket.socket, timeout: float = 5) -> None:
        self.sock = sock
        self.sock.settimeout(timeout)
        self._lines = wire.Lines()
        self._heard: list[bytes] = []

    def say(self, message: Asked) -> None:
        self.sock.sendall(wire.format_line(message))

    def hear(self) -> Answered:
        """Return the next answer; raises EOFError at the end."""
        while not self._heard:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._heard += self._lines.feed(data)
        return wire.parse_answered(self._heard.pop(0))

    def present(self, about: Challenge) -> Answered:
        self.say(wire.Present(about))
        return self.hear()

    def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing is said for a while."""
        self.sock.settimeout(seconds)
        try:
            return not self.sock.recv(1, socket.MSG_PEEK) and not self._heard
        except socket.timeout:
            return not self._heard
        finally:
            self.sock.settimeout(5)


class TlsServer:
    """The program, started as ``nobody``."""

    def __init__(self, base: Path, confine: str = "auto", doors: int = 2, duty: Duty = DUTY
                 ) -> None:
        self.listeners = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.bind((address, 0))
            self.listeners.append(sock)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(base / "tls.socket"))
        self.listeners.append(sock)
        for sock in self.listeners:
            sock.listen(1024)
        self.addresses: list[Address] = [s.getsockname() for s in self.listeners]
        program = base / "tlsserver"
        program.write_text((TREE / "programs/tlsserver").read_text().replace(
            '"/usr/share/letsencrypt-tiny"', repr(str(TREE))))
        program.chmod(0o755)
        (base / "duty").write_text(json.dumps(wire.format_duty(duty)))
        self.log = base / "log"
        pairs = [socket.socketpair() for _ in range(doors)]
        self.clients = [Client(ours) for ours, _ in pairs]
        with open(self.log, "wb") as log, open(base / "duty", "rb") as told:
            fds = [told.fileno(), *(theirs.fileno() for _, theirs in pairs),
                   *(s.fileno() for s in self.listeners)]
            self.process = subprocess.Popen(
                [str(program), "--debug", f"--confine={confine}", f"--duty={fds[0]}",
                 *(f"--door={fd}" for fd in fds[1:doors + 1]), *map(str, fds[doors + 1:])],
                pass_fds=fds, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                preexec_fn=become_nobody if AS_ROOT else None)
        for _, theirs in pairs:
            theirs.close()

    def stop(self) -> None:
        """Kill what still runs, close everything."""
        self.process.kill()
        self.process.wait()
        for client in self.clients:
            client.sock.close()
        for sock in self.listeners:
            sock.close()


@contextmanager
def running(confine: str = "auto", doors: int = 2, duty: Duty = DUTY) -> Iterator[TlsServer]:
    """A TLS server of its own, ended afterwards."""
    with directory() as base:
        server = TlsServer(base, confine, doors, duty)
        try:
            yield server
        finally:
            server.stop()


class Seen(NamedTuple):
    """What a validation sees."""

    certificate: bytes      # DER
    protocol: str | None    # that was agreed on
    rest: bytes             # application data


def context(protocols: Sequence[str] = (PROTOCOL,)) -> ssl.SSLContext:
    """Return that of a client who trusts anybody."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made


def validate(address: Address, name: str, client: ssl.SSLContext | None = None,
             source: str = "") -> Seen:
    """Ask as a validating server does; raises OSError (ssl.SSLError) for an alert."""
    with connect(address, source=source) as plain, (client or context()).wrap_socket(
            plain, server_hostname=name or None) as sock:
        certificate = sock.getpeercert(binary_form=True)
        assert certificate
        return Seen(certificate, sock.selected_alpn_protocol(), sock.recv(100))


def alert(address: Address, name: str, client: ssl.SSLContext) -> str:
    """Return the reason that OpenSSL has for the alert that it got."""
    try:
        validate(address, name, client)
    except ssl.SSLError as exc:
        return exc.reason or ""
    return "none"


def check_serving(server: TlsServer, about: Challenge, name: str) -> None:
    """A validation succeeds, within two seconds."""
    start = time.monotonic()
    assert about.digest() in validate(server.addresses[0], name).certificate
    assert time.monotonic() - start < 2


def left_open(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))
