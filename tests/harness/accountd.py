"""Our account key manager and its keys, and a stand-in for its client: lines of any kind.

``talk`` pipes lines into --stdio, ``running`` lets it listen on a socket, and a ``Client`` is at
the other end of that.  What is to be signed is put together here, by nothing of ours.
"""

import base64
import functools
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
URL = "https://ca.example/acme/new-order"
KID = "https://ca.example/acme/acct/1"
AS_ROOT = os.getuid() == 0
HELLO = b"NOSIGN\r\n"   # of a client that knows what a refusal is; no answer to it


def command(*arguments: str, before: str = "") -> list[str]:
    """The program with the modules of this tree; ``before`` is run first, to change constants."""
    return [PYTHON, "-IB", "-c", f"import sys; sys.path.insert(0, {str(TREE)!r})\n{before}\n"
            "from letsencrypt_tiny.signer.main import main; sys.exit(main())", *arguments]


def run(*arguments: str, data: bytes = b"", **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run the program to its end.  Reads no configuration of this machine, has no terminal."""
    if not any(argument.startswith("--config") for argument in arguments):
        arguments = ("--config=/dev/null", *arguments)
    done = subprocess.run(command(*arguments), input=data, stdout=subprocess.PIPE, timeout=60,
                          stderr=subprocess.PIPE, start_new_session=True, **options)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


@functools.lru_cache(None)
def pem(kind: str) -> bytes:
    """A private key in PKCS#8, by openssl: ``EC:P-256``, ``ED25519``, ``RSA:2048:other`` …"""
    algorithm, parameter, *_ = [*kind.split(":"), ""]
    option = {"RSA": "rsa_keygen_bits", "EC": "ec_paramgen_curve"}.get(algorithm)
    options = ["-pkeyopt", f"{option}:{parameter}"] if option else []
    return openssl("genpkey", "-algorithm", algorithm, *options)


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    """The output of an openssl subcommand."""
    return subprocess.run(["openssl", *arguments], input=data, check=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def b64(data: bytes) -> bytes:
    """Unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def b64_text(data: bytes) -> str:
    """The same, as a string."""
    return b64(data).decode()


def unb64(text: bytes) -> bytes:
    """What ``b64`` made ``text`` of."""
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def signing_input(header: Any, payload: Any = None) -> bytes:
    """A JWS signing input; bytes are taken as they are, None is the empty payload."""
    def part(value: Any) -> bytes:
        if value is None:
            return b""
        return b64(value if isinstance(value, bytes) else json.dumps(value).encode())
    return part(header) + b"." + part(payload)


def request(**changes: Any) -> dict[str, Any]:
    """The header of a good request in kid form for an RSA key, with changes (None: without)."""
    header = {"alg": "RS256", "nonce": "b64url_nonce-1", "url": URL, "kid": KID, **changes}
    return {name: value for name, value in header.items() if value is not None}


GOOD = signing_input(request(), {"csr": "x"})


def verified(kind: str, line: bytes, answer: bytes, tmp_path: Path) -> bool:
    """True if ``answer`` is the signature of ``line``, in openssl's opinion."""
    signature = unb64(answer)
    digest = "-sha384" if kind == "EC:P-384" else "-sha256"
    if kind.startswith("EC"):
        size = {"EC:P-256": 32, "EC:P-384": 48}[kind]
        assert len(signature) == 2 * size  # RFC 7518 §3.4
        signature = der_sequence(signature[:size], signature[size:])
    (tmp_path / "pub").write_bytes(openssl("pkey", "-pubout", data=pem(kind)))
    (tmp_path / "sig").write_bytes(signature)
    done = subprocess.run(["openssl", "dgst", digest, "-verify", tmp_path / "pub", "-signature",
                           tmp_path / "sig"], input=line, stdout=subprocess.PIPE)
    return done.returncode == 0


def der_sequence(*numbers: bytes) -> bytes:
    """A DER SEQUENCE of unsigned INTEGERs of less than 128 bytes in all."""
    body = b""
    for number in numbers:
        number = number.lstrip(b"\0")
        if number[0] & 0x80:
            number = b"\0" + number
        body += bytes((2, len(number))) + number
    return bytes((0x30, len(body))) + body


def write_key(tmp_path: Path, kind: str) -> Path:
    """The key of that kind, in a file of mode 0600."""
    path = tmp_path / f"{kind}.pem"
    path.write_bytes(pem(kind))
    path.chmod(0o600)
    return path


def conf(key: Path, *lines: str) -> Path:
    """A configuration file beside ``key``."""
    path = key.with_name("accountd.conf")
    path.write_text("\n".join(lines) + "\n")
    return path


def talk(key: Path, data: bytes, *arguments: str) -> tuple[list[bytes], str, int]:
    """Pipe ``data`` into --stdio: the answers after the greeting, the log, the exit status."""
    done = run(f"--privkey=file:{key}", "--stdio", *arguments, data=data)
    lines = done.stdout.split(b"\r\n")
    assert lines.pop() == b"" and lines[0].startswith(b"1 OK {") and lines[1].startswith(b"{")
    assert all(b"\n" not in line for line in lines)
    return lines[2:], done.stderr.decode(), done.returncode


class Client:
    """The other end of a conversation: the greeting is read already, HELLO said if asked to."""

    def __init__(self, sock: socket.socket, hello: bool = False) -> None:
        self.sock = sock
        sock.settimeout(30)
        self.lines = sock.makefile("rb")
        self.greeting = self.lines.readline(), self.lines.readline()
        assert self.greeting[0].startswith(b"1 OK")
        if hello:
            sock.sendall(HELLO)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.lines.close()
        self.sock.close()

    def ask(self, line: bytes) -> bytes:
        """Send a line; the answer, empty at the end of the conversation."""
        try:
            self.sock.sendall(line + b"\r\n")
            answer = self.lines.readline()
        except (BrokenPipeError, ConnectionResetError):   # it closed with something unread
            answer = b""
        assert not answer or answer.endswith(b"\r\n"), answer
        return answer[:-2]

    def sign(self, line: bytes) -> bytes:
        """Ask for a signature."""
        answer = self.ask(line)
        assert answer and not answer.startswith(b"NOSIGN"), answer
        return answer

    def rest(self) -> bytes:
        """All that still comes."""
        try:
            return self.lines.read()
        except ConnectionResetError:
            return b""


class Running:
    """The program, listening on a socket, until the end of a with block at the latest."""

    def __init__(self, directory: Path, key: Path, *arguments: str, before: str = "") -> None:
        self.path = directory / "S"
        self.log = directory / "stderr"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command("--config=/dev/null", f"--privkey=file:{key}", f"--socket={self.path}",
                        *arguments, before=before), stderr=log, stdout=subprocess.DEVNULL, umask=0)
        self.wait_for("listening on")

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()

    def connect(self, hello: bool = False) -> Client:
        """A new conversation."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.path))
        return Client(sock, hello)

    def wait_for(self, text: str) -> None:
        """Wait until the log has ``text``."""
        end = time.monotonic() + 20
        while text not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(20)


def as_nobody() -> dict[str, Any]:
    """What makes subprocess drop root, if there is root to drop."""
    return {"user": 65534, "group": 65534, "extra_groups": []} if AS_ROOT else {}


class Home:
    """A directory that every user may search, unlike pytest's."""

    def __enter__(self) -> Path:
        self._directory = tempfile.TemporaryDirectory()
        os.chmod(self._directory.name, 0o755)
        return Path(self._directory.name)

    def __exit__(self, *exception: object) -> None:
        self._directory.cleanup()
