"""The signer's conversations: lines piped into the real program, its answers, log and status."""

import base64
import functools
import hashlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from collections.abc import Callable, Iterator
from typing import Any

import pytest

TREE = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
URL = "https://ca.example/acme/new-order"
KID = "https://ca.example/acme/acct/1"
AS_ROOT = os.getuid() == 0


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


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "RSA:2048")


def write_key(tmp_path: Path, kind: str) -> Path:
    """The key of that kind, in a file of mode 0600."""
    path = tmp_path / f"{kind}.pem"
    path.write_bytes(pem(kind))
    path.chmod(0o600)
    return path


def talk(key: Path, data: bytes, *arguments: str) -> tuple[list[bytes], str, int]:
    """Pipe ``data`` into --stdio: the answers after the greeting, the log, the exit status."""
    done = run(f"--privkey=file:{key}", "--stdio", *arguments, data=data)
    lines = done.stdout.split(b"\r\n")
    assert lines.pop() == b"" and lines[0].startswith(b"1 OK {") and lines[1].startswith(b"{")
    assert all(b"\n" not in line for line in lines)
    return lines[2:], done.stderr.decode(), done.returncode


def test_greeting_rsa(key: Path) -> None:
    text = openssl("rsa", "-noout", "-modulus", data=pem("RSA:2048")).decode()
    n = b64(bytes.fromhex(text.strip().removeprefix("Modulus="))).decode()
    jwk = f'{{"e":"AQAB","kty":"RSA","n":"{n}"}}'
    thumbprint = b64(hashlib.sha256(jwk.encode()).digest()).decode()
    done = run(f"--privkey=file:{key}", "--stdio")
    assert done.stdout.decode() == (f'1 OK {{"alg":"RS256","jwk-thumbprint":"{thumbprint}"}}\r\n'
                                    f'{jwk}\r\n')
    assert (done.returncode, done.stderr) == (0, b"")

    done = run(f"--privkey=file:{key}", "--stdio", "--config=" + str(conf(key, f"keyid={KID}")))
    assert done.stdout.decode() == (f'1 OK {{"alg":"RS256","jwk-thumbprint":"{thumbprint}",'
                                    f'"kid":"{KID}"}}\r\n{{}}\r\n')


def conf(key: Path, *lines: str) -> Path:
    """A configuration file beside ``key``."""
    path = key.with_name("accountd.conf")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("kind, alg, size", [("EC:P-256", "ES256", 32), ("EC:P-384", "ES384", 48)])
def test_greeting_ec(kind: str, alg: str, size: int, tmp_path: Path) -> None:
    text = openssl("pkey", "-noout", "-text_pub", data=pem(kind)).decode()
    digits = re.search(r"pub:([0-9a-f:\s]+)", text)
    assert digits
    point = bytes.fromhex(re.sub(r"[:\s]", "", digits.group(1)))[1:]
    x, y = (b64(part).decode() for part in (point[:size], point[size:]))
    jwk = f'{{"crv":"{kind[3:]}","kty":"EC","x":"{x}","y":"{y}"}}'
    thumbprint = b64(hashlib.sha256(jwk.encode()).digest()).decode()
    done = run(f"--privkey=file:{write_key(tmp_path, kind)}", "--stdio")
    assert done.stdout.decode() == (f'1 OK {{"alg":"{alg}","jwk-thumbprint":"{thumbprint}"}}\r\n'
                                    f'{jwk}\r\n')


@pytest.mark.parametrize("kind, alg", [("RSA:2048", "RS256"), ("EC:P-256", "ES256"),
                                       ("EC:P-384", "ES384")])
def test_signatures(kind: str, alg: str, tmp_path: Path) -> None:
    key = write_key(tmp_path, kind)
    jwk = json.loads(run(f"--privkey=file:{key}", "--stdio").stdout.split(b"\r\n")[1])
    lines = [signing_input(request(alg=alg), {"identifiers": [{"type": "dns", "value": "a.b"}]}),
             signing_input(request(alg=alg)),  # POST-as-GET
             signing_input(request(alg=alg), {}),
             signing_input(request(alg=alg, kid=None, jwk=jwk), {"onlyReturnExisting": True})]
    # many: R or S begins with zero bytes now and then
    lines += [signing_input(request(alg=alg, nonce=f"n{number}")) for number in range(20)]
    answers, log, status = talk(key, b"".join(line + b"\r\n" for line in lines))
    assert status == 0 and len(answers) == len(lines)
    assert all(verified(kind, line, answer, tmp_path) for line, answer in zip(lines, answers))
    assert log.count("SIGNED header={") == len(lines)
    assert '"identifiers":[{"type":"dns","value":"a.b"}]' in log
    assert not any(answer.decode() in log for answer in answers)
    # the same again is the same: no random number is involved
    assert talk(key, lines[0] + b"\r\n")[0] == answers[:1]


BAD = {
    "empty": (b"", "not a JWS signing input"),
    "no dot": (b64(b"{}"), "not a JWS signing input"),
    "two dots": (GOOD + b".e30", "not a JWS signing input"),
    "no header": (b"." + b64(b"{}"), "not a JWS signing input"),
    "padding": (b64(b'{"a":1}') + b"=.", "not base64url"),
    "standard base64": (b"ab+/.", "not base64url"),
    "space": (GOOD + b" ", "not base64url"),
    "not ASCII": (GOOD + "é".encode(), "not base64url"),
    "NUL": (GOOD + b"\0", "not base64url"),
    "bits too many": (b"e31.", "not canonical base64url"),
    "impossible length": (b"abcde.", "not base64url"),
    "bare LF": (GOOD[:9] + b"\n" + GOOD[9:], "bare CR or LF"),
    "no JSON": (signing_input(b"alg=RS256"), "protected header is not valid JSON"),
    "array": (signing_input([]), "protected header is not a JSON object"),
    "not UTF-8": (signing_input(b'{"alg":"\xff"}'), "not UTF-8"),
    "duplicate": (signing_input(json.dumps(request())[:-1].encode() + b',"alg":"RS256"}'),
                  "duplicate key"),
    "deep": (signing_input(b'{"alg":' + b"[" * 2000 + b"]" * 2000 + b"}"), "deep"),
    "no alg": (signing_input(request(alg=None)), '"alg" is missing'),
    "other alg": (signing_input(request(alg="ES256")), "alg is not that of the account key"),
    "alg none": (signing_input(request(alg="none")), "alg is not that of the account key"),
    "alg HS256": (signing_input(request(alg="HS256")), "alg is not that of the account key"),
    "alg list": (signing_input(request(alg=["RS256"])), '"alg" is not a string'),
    "no nonce": (signing_input(request(nonce=None)), '"nonce" is missing'),
    "nonce number": (signing_input(request(nonce=7)), '"nonce" is not a string'),
    "nonce empty": (signing_input(request(nonce="")), "nonce is not base64url"),
    "nonce padded": (signing_input(request(nonce="abcd==")), "nonce is not base64url"),
    "nonce newline": (signing_input(request(nonce="abcd\n")), "nonce is not base64url"),
    "no url": (signing_input(request(url=None)), '"url" is missing'),
    "url http": (signing_input(request(url="http://ca.example/")), "url is not an https URL"),
    "url without host": (signing_input(request(url="https:///x")), "url is not an https URL"),
    "url newline": (signing_input(request(url=URL + "\n")), "url is not an https URL"),
    "url space": (signing_input(request(url=URL + " x")), "url is not an https URL"),
    "url long": (signing_input(request(url=URL + "x" * 3000)), '"url" is longer'),
    "no jwk, no kid": (signing_input(request(kid=None)), "neither jwk nor kid"),
    "both": (signing_input(request(jwk={})), "both jwk and kid"),
    "kid null": (signing_input({**request(), "kid": None}), '"kid" is missing'),
    "kid http": (signing_input(request(kid="http://ca.example/1")), "kid is not an https URL"),
    "foreign jwk": (signing_input(request(kid=None, jwk={"kty": "RSA", "e": "AQAB", "n": "AQ"})),
                    "jwk is not the account key's"),
    "jwk string": (signing_input(request(kid=None, jwk="x")), '"jwk" is not an object'),
    "crit": (signing_input(request(crit=["b64"], b64=False)), "that ACME doesn't know"),
    "JWT": (signing_input({"alg": "RS256", "typ": "JWT"}, {"sub": "x"}), "that ACME doesn't know"),
    "key-change": (signing_input(request(nonce=None, kid=None, jwk={}), {"account": KID}),
                   '"nonce" is missing'),
    "payload string": (signing_input(request(), b'"x"'), "payload is not a JSON object"),
    "payload array": (signing_input(request(), []), "payload is not a JSON object"),
    "payload junk": (signing_input(request(), b"csr=x"), "payload is not valid JSON"),
    "payload duplicate": (signing_input(request(), b'{"csr":"a","csr":"b"}'), "duplicate key"),
    "payload not base64url": (signing_input(request()) + b"e30=", "not base64url"),
    "64 kB": (signing_input(request(), {"csr": "x" * 50000}), "longer than 65536 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusal(case: str, key: Path) -> None:
    line, reason = BAD[case]
    answers, log, status = talk(key, GOOD + b"\r\n" + line + b"\r\n" + GOOD + b"\r\n")
    assert len(answers) == 2, "nothing is signed after a refusal"
    assert not answers[0].startswith(b"NOSIGN")
    assert re.fullmatch(rb"NOSIGN [\x20-\x7e]+", answers[1]) and reason in answers[1].decode()
    assert log.count("SIGNED") == 1 and log.count("[stdio] NOSIGN ") == 1
    assert log.isprintable() or not re.search(r"[^\n -~§“”]", log)
    assert status == 1


def test_keyid(key: Path) -> None:
    file = f"--config={conf(key, 'keyid = ' + KID)}"
    assert talk(key, GOOD + b"\r\n", file)[2] == 0
    jwk = json.loads(run(f"--privkey=file:{key}", "--stdio").stdout.split(b"\r\n")[1])
    # what lacme(8) sends for “account” then, and what one that knows the public key could
    for own in ({}, jwk):
        line = signing_input(request(kid=None, jwk=own), {})
        answers, _, status = talk(key, line + b"\r\n", file)
        assert answers == [b"NOSIGN jwk, where a keyid is configured"] and status == 1
    answers, _, _ = talk(key, signing_input(request(kid=KID + "0"), {}) + b"\r\n", file)
    assert answers == [b"NOSIGN kid is not the configured keyid"]


def test_a_keyid_is_no_policy(key: Path) -> None:
    """It takes one way to the account; the account's own URL is another, for who knows it."""
    file = f"--config={conf(key, 'keyid = ' + KID)}"
    for payload in ({"contact": ["mailto:evil@example.org"]}, {"status": "deactivated"}):
        answers, _, status = talk(key, signing_input(request(url=KID), payload) + b"\r\n", file)
        assert status == 0 and len(answers) == 1 and not answers[0].startswith(b"NOSIGN")


def test_each_conversation_counts_for_itself(key: Path) -> None:
    """As behind a forced command of ssh: what was signed an hour ago, nobody remembers."""
    file = conf(key, "[policy p]", "identifiers = *", "origins = https://ca.example",
                "requests-per-hour = 1")
    for _ in range(2):
        answers, _, _ = talk(key, (signing_input(request()) + b"\r\n") * 2, f"--config={file}",
                             "--policy=p")
        assert len(answers) == 2 and not answers[0].startswith(b"NOSIGN")
        assert answers[1].startswith(b"NOSIGN policy")


def test_half_line(key: Path) -> None:
    answers, log, status = talk(key, GOOD + b"\r\n" + GOOD)
    assert len(answers) == 2 and answers[1].startswith(b"NOSIGN the client ended in the middle")
    assert "NOSIGN the client ended in the middle of a line" in log and status == 1


def test_log(key: Path, tmp_path: Path) -> None:
    file = f"--config={conf(key, f'logfile = {tmp_path}/log', 'quiet = yes')}"
    payload = {"csr": "A" * 5000, "contact": ["mailto:\x1b[2J\u202e\x9b"],
               "externalAccountBinding": {"protected": "e30", "signature": "SECRETMAC"}}
    line = signing_input(request(), payload)
    answers, shown, status = talk(key, line + b"\r\nx\r\n", file)
    assert len(answers) == 2 and status == 1
    assert shown.startswith("warning: [stdio] NOSIGN") and shown.count("\n") == 1
    log = (tmp_path / "log").read_text()
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    assert log.count("\n") == 2 and "SIGNED header={" in log and "NOSIGN" in log
    assert "A" * 20 in log and "A" * 200 not in log and "(5000 characters)" in log
    assert "SECRETMAC" not in log and answers[0].decode() not in log
    assert not re.search(r"[^\n -~§]", log) and "\\u001b[2J\\u202e" in log
    assert not any(text in log for text in pem("RSA:2048").decode().split("\n")[1:-2])


def test_stdout_is_for_the_protocol_only(key: Path) -> None:
    done = run("--stdio", f"--privkey=file:{key}.not")
    assert (done.returncode, done.stdout) == (1, b"")
    answers, log, status = talk(key, b"", "--debug")
    assert (answers, status) == ([], 0) and "RSA 2048 bits" in log


def test_closed_descriptors(key: Path, tmp_path: Path) -> None:
    """A log file that got the lowest free descriptor would be sent the signatures."""
    file = conf(key, f"logfile = {tmp_path}/log")
    shell = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command(
        f"--config={file}", f"--privkey=file:{key}", "--stdio")], input=GOOD + b"\r\n",
                           timeout=60)
    assert shell.returncode == 0
    log = (tmp_path / "log").read_text()
    assert "SIGNED" in log and "1 OK" not in log


def test_one_socket_for_both_directions(key: Path) -> None:
    ours, theirs = socket.socketpair()
    with subprocess.Popen(command("--config=/dev/null", f"--privkey=file:{key}", "--stdio"),
                          stdin=theirs.fileno(), stdout=theirs.fileno(),
                          stderr=subprocess.DEVNULL) as process:
        theirs.close()
        with Client(ours) as client:
            signature = client.sign(GOOD)
            for byte in GOOD + b"\r\n":
                client.sock.send(bytes((byte,)))
            assert client.lines.readline() == signature + b"\r\n"
        assert process.wait(20) == 0


def test_stdio_outlives_sigint_but_not_sigterm(key: Path) -> None:
    ours, theirs = socket.socketpair()
    with subprocess.Popen(command("--config=/dev/null", f"--privkey=file:{key}", "--stdio"),
                          stdin=theirs.fileno(), stdout=theirs.fileno(),
                          stderr=subprocess.DEVNULL) as process:
        theirs.close()
        with Client(ours) as client:
            process.send_signal(signal.SIGINT)
            client.sign(GOOD)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


@pytest.mark.parametrize("line, status", [(b"", 0), (GOOD + b"\r\n", 0), (b"junk\r\n", 1)],
                         ids=["nothing", "good", "junk"])
def test_sigterm_when_it_is_over(line: bytes, status: int, key: Path) -> None:
    """The conversation has ended, the interpreter not yet: nothing is said, the status stays."""
    arguments = "--config=/dev/null", f"--privkey=file:{key}", "--stdio", "--confine=no", "--quiet"
    done = subprocess.run(command(*arguments, before="import atexit, os\n"
                                  "atexit.register(os.kill, os.getpid(), 15)"), input=line,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == status and done.stderr.count(b"\n") == (line == b"junk\r\n")
    for number in range(0, 20, 2):
        with subprocess.Popen(command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdout.readline()
            process.stdin.write(line)
            process.stdin.close()
            time.sleep(number / 1000)
            process.terminate()
            assert process.wait(20) in (0, status)   # 0: before it was over
            assert b"Exception" not in process.stderr.read()


class Client:
    """The other end of a conversation: the greeting is read already."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(30)
        self.lines = sock.makefile("rb")
        self.greeting = self.lines.readline(), self.lines.readline()
        assert self.greeting[0].startswith(b"1 OK")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.lines.close()
        self.sock.close()

    def sign(self, line: bytes) -> bytes:
        """Ask for a signature."""
        self.sock.sendall(line + b"\r\n")
        answer = self.lines.readline()
        assert answer.endswith(b"\r\n") and not answer.startswith(b"NOSIGN"), answer
        return answer[:-2]


class Running:
    """The program, listening on a socket."""

    def __init__(self, directory: Path, key: Path, *arguments: str, before: str = "") -> None:
        self.path = directory / "S"
        self.log = directory / "stderr"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command("--config=/dev/null", f"--privkey=file:{key}", f"--socket={self.path}",
                        *arguments, before=before), stderr=log, stdout=subprocess.DEVNULL, umask=0)
        end = time.monotonic() + 20
        while b"listening on" not in self.log.read_bytes():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)

    def connect(self) -> Client:
        """A new conversation."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.path))
        return Client(sock)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture(name="running")
def _running(tmp_path: Path, key: Path) -> Iterator[Running]:
    running = Running(tmp_path, key)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_socket(number: int, running: Running) -> None:
    info = running.path.lstat()
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600
    with running.connect() as client:
        client.sign(GOOD)
        assert running.stop(number) == 0
    assert not running.path.exists()
    log = running.log.read_text()
    assert f"[1] connection of user {os.getuid()}, process {os.getpid()}\n" in log
    assert "[1] SIGNED" in log and "Traceback" not in log and "error" not in log


def test_second_signal(tmp_path: Path, key: Path) -> None:
    """Not even one that a conversation's thread could get keeps the socket from being removed."""
    running = Running(tmp_path, key, "--confine=no", before="import os, time\n"
                      "from letsencrypt_tiny.signer.server import Server\n"
                      "close = Server.server_close\n"
                      "def closing(self):\n"
                      "    os.kill(os.getpid(), 15), os.kill(os.getpid(), 2), time.sleep(0.2)\n"
                      "    close(self)\n"
                      "Server.server_close = closing")
    try:
        with running.connect() as client:
            client.sign(GOOD)
            assert running.stop() == 0
        assert not running.path.exists() and "Exception" not in running.log.read_text()
    finally:
        running.process.kill()
        running.process.wait()


@pytest.mark.skipif(not AS_ROOT, reason="needs another user")
def test_socket_is_for_its_owner_only(key: Path) -> None:
    with Home() as home:
        running = Running(home, key)
        script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(running.path)!r})"

        def connect() -> str:
            return subprocess.run([PYTHON, "-c", script], stderr=subprocess.PIPE, text=True,
                                  timeout=30, **as_nobody()).stderr

        try:
            assert "PermissionError" in connect()
            running.path.chmod(0o666)   # it was the mode, and nothing else
            assert connect() == ""
        finally:
            running.stop()


def test_socket_of_another_is_not_removed(running: Running) -> None:
    running.path.rename(running.path.with_name("moved"))
    running.path.write_text("another")
    assert running.stop() == 0
    assert running.path.read_text() == "another"


def test_concurrent_connections(running: Running) -> None:
    clients = [running.connect() for _ in range(6)]
    signatures: list[bytes] = []

    def use(client: Client) -> None:
        signatures.extend(client.sign(GOOD) for _ in range(5))

    threads = [threading.Thread(target=use, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.__exit__()
    assert len(signatures) == 30 and len(set(signatures)) == 1


def test_many_requests_in_one_write(running: Running) -> None:
    with running.connect() as client:
        signature = client.sign(GOOD)
        client.sock.sendall((GOOD + b"\r\n") * 100)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.lines.read() == (signature + b"\r\n") * 100


def test_endless_line(running: Running) -> None:
    with running.connect() as other, running.connect() as client:
        sent = 0
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while sent < 64 << 20:
                sent += client.sock.send(b"A" * 65536)
        assert sent < 4 << 20
        assert client.lines.readline() == b"NOSIGN line longer than 65536 bytes\r\n"
        other.sign(GOOD)
    assert "NOSIGN line longer than 65536 bytes\n" in running.log.read_text()


def test_half_line_harms_nobody(running: Running) -> None:
    with running.connect() as client:
        client.sock.sendall(GOOD[:20])
    with running.connect() as client:
        client.sign(GOOD)
    assert "NOSIGN the client ended in the middle of a line" in running.log.read_text()


def test_limits(tmp_path: Path, key: Path) -> None:
    """The time for a line; room for new connections is made by idle ones, not by busy ones."""
    running = Running(tmp_path, key, before="from letsencrypt_tiny.signer import server as s\n"
                      "s.MAX_CONNECTIONS, s.IDLE_TIME, s.LINE_TIME = 2, 0.3, 1.5")
    try:
        slow, idle = running.connect(), running.connect()
        idle.sign(GOOD)
        with pytest.raises((AssertionError, ConnectionError)):
            running.connect()  # nobody has been idle for long
        began = time.monotonic()
        slow.sock.sendall(b"A")
        time.sleep(0.4)
        third = running.connect()
        assert idle.lines.readline() == b"", "the idle one has made room"
        slow.sock.sendall(b"A")
        assert slow.lines.readline().startswith(b"NOSIGN no whole line within")
        assert 1.4 < time.monotonic() - began < 4
        third.sign(GOOD)
        for client in (slow, idle, third):
            client.__exit__()
        assert running.stop() == 0
        log = running.log.read_text()
        assert "[3] refused: 2 connections are busy" in log and "error" not in log
    finally:
        running.process.kill()
        running.process.wait()


def test_idle_connection_that_ends_while_it_is_dismissed(tmp_path: Path, key: Path) -> None:
    """Its thread takes it out between the choice and the dismissal: others are served."""
    running = Running(tmp_path, key, before="from letsencrypt_tiny.signer import server as s\n"
                      "s.MAX_CONNECTIONS, s.IDLE_TIME = 1, 0\n"
                      "class Ending(dict):\n"
                      "    def items(self):\n"
                      "        found = list(super().items())\n"
                      "        self.clear()\n"
                      "        return found\n"
                      "init = s.Server.__init__\n"
                      "def changed(self, *arguments):\n"
                      "    init(self, *arguments)\n"
                      "    self._connections = Ending()\n"
                      "s.Server.__init__ = changed")
    try:
        with running.connect() as first:
            first.sign(GOOD)
            time.sleep(0.3)   # until it waits
            with running.connect() as second:
                second.sign(GOOD)
        assert running.stop() == 0 and "error" not in running.log.read_text()
    finally:
        running.process.kill()
        running.process.wait()


def test_connections_beyond_those_that_are_logged(tmp_path: Path, key: Path) -> None:
    """They can't fill the disk; what is signed for them is in the log, and their number."""
    running = Running(tmp_path, key, before="from letsencrypt_tiny.signer import server as s\n"
                      "s.LOGGED, s.HOUR = 3, 6.0")

    def one(*lines: bytes) -> None:
        with running.connect() as client:
            client.sock.sendall(b"".join(line + b"\r\n" for line in lines))
            client.sock.shutdown(socket.SHUT_WR)
            assert client.lines.read().count(b"\r\n") == len(lines)

    try:
        for _ in range(3):
            one(GOOD, b"junk")
        before = running.log.read_text()
        assert before.count("NOSIGN") == before.count("connection of user") == 3
        for _ in range(20):
            one(b"junk")
            one(b"A" * 70000)
        one(GOOD, b"junk")
        added = running.log.read_text()[len(before):]
        assert added.count("more than 3 connections within an hour: of further ones only") == 1
        assert added.count("[44] SIGNED") == 1 and "NOSIGN" not in added
        assert added.count("\n") <= 3   # “end of connection” of the third
        time.sleep(6)
        one(b"junk")
        added = running.log.read_text()[len(before):]
        assert "warning: 41 connections were not logged\n" in added and "[45] NOSIGN" in added
        assert running.stop() == 0
    finally:
        running.process.kill()
        running.process.wait()


def refused_socket(key: Path, path: Path, **options: Any) -> tuple[int, str]:
    """Exit status and message of a program that must not start to listen."""
    done = run(f"--privkey=file:{key}", f"--socket={path}", **options)
    return done.returncode, done.stderr.decode()


def test_existing_path(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "S"
    stale = socket.socket(socket.AF_UNIX)
    makers: list[Callable[[], object]] = [
        lambda: stale.bind(str(path)), lambda: path.symlink_to("nowhere"), path.mkdir,
        lambda: path.write_text("mine")]
    for make in makers:
        make()
        before = path.lstat()
        status, message = refused_socket(key, path)
        assert status == 1 and f"socket {path}: exists already" in message
        assert path.lstat() == before
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    stale.close()


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777, 0o702])
def test_directory_that_others_may_write(mode: int, tmp_path: Path, key: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    status, message = refused_socket(key, place / "S")
    assert status == 2 and f"others may write in {place} (mode {mode:04o})" in message
    assert not list(place.iterdir())


def test_bad_directory(tmp_path: Path, key: Path) -> None:
    status, message = refused_socket(key, tmp_path / "none/S")
    assert status == 2 and f"{tmp_path}/none: No such file or directory" in message
    status, message = refused_socket(key, key / "S")
    assert status == 2 and "Not a directory" in message or "is not a directory" in message
    (tmp_path / ("long" * 30)).mkdir()
    status, message = refused_socket(key, tmp_path / ("long" * 30) / "S")
    assert status == 1 and "AF_UNIX path too long" in message


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
def test_directory_of_another(tmp_path: Path, key: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 65534, -1)
    status, message = refused_socket(key, place / "S")
    assert status == 2 and "belongs to another user (uid 65534)" in message


@pytest.mark.parametrize("arguments, status, message", [
    (["--nonsense"], 2, "option --nonsense not recognized"),
    (["extra"], 2, "“extra” is not an option"),
    (["--socket"], 2, "option --socket requires argument"),
    (["--stdio", "--genkey=rsa:2048"], 2, "--stdio and --genkey exclude each other"),
    ([], 2, "which account key?"),
    (["--privkey="], 2, "which account key?"),
    (["--privkey=/a.key"], 2, "--privkey = /a.key: neither file:PATH nor gpg:PATH"),
    (["--privkey=file:"], 2, "neither file:PATH nor gpg:PATH"),
    (["--privkey=http://a"], 2, "neither file:PATH nor gpg:PATH"),
    (["--privkey=file:%x"], 2, "--privkey: “%x”: %x is not a specifier"),
    (["--privkey=file:/a", "--confine=maybe"], 2, "--confine=maybe: not one of"),
    (["--config=/none.conf"], 2, "/none.conf: cannot read the configuration"),
    (["--config=%q"], 2, "--config: “%q”: %q is not a specifier"),
    (["--privkey=file:/none.key"], 1, "file:/none.key: cannot read the account key: No such file"),
    (["--privkey=file:/"], 1, "file:/: cannot read the account key: Is a directory"),
    (["--privkey=fd:77"], 1, "fd:77: cannot read the account key: Bad file descriptor"),
    (["--privkey=file:/dev/zero"], 1, "not a key in PEM format"),
])
def test_bad_options(arguments: list[str], status: int, message: str) -> None:
    done = run(*arguments)
    text = done.stderr.decode()
    assert message in text and text.startswith("error: ") and text.count("\n") == 1
    assert (done.returncode, done.stdout) == (status, b"")


@pytest.mark.parametrize("lines, message", [
    (["colour = red"], "unknown setting “colour” (valid: confine, gpg, keyid, logfile, privkey,"),
    (["[accountd]", "privkey = file:/a"], "unknown section [accountd]"),
    (["quiet = perhaps"], "quiet = perhaps: neither “yes” nor “no”"),
    (["confine = maybe"], "confine = maybe: not one of auto, required, no"),
    (["keyid = http://ca.example/1"], "keyid = http://ca.example/1: not an https URL"),
    (["privkey = pkcs11:x"], "privkey = pkcs11:x: neither file:PATH nor gpg:PATH"),
    (["privkey = file:%y/x"], "privkey: “%y/x”: %y is not a specifier"),
    (["privkey = file:/x", "logfile = %z"], "logfile: “%z”: %z is not a specifier"),
    (["privkey = file:/x", "logfile = /none/log"], "logfile = /none/log: cannot open it"),
    (["privkey"], "line 1: "),
    ([""], "Neither --privkey nor the setting “privkey” of"),
])
def test_bad_settings(lines: list[str], message: str, tmp_path: Path) -> None:
    file = conf(tmp_path / "key", *lines)
    done = run(f"--config={file}", "--stdio")
    text = done.stderr.decode()
    assert message in text and text.count("\n") == 1
    assert str(file) in text or "logfile" in text
    assert (done.returncode, done.stdout) == (2, b"")


def test_settings_options_and_specifiers(tmp_path: Path, key: Path) -> None:
    directory = {"TMPDIR": str(tmp_path)}
    file = conf(key, "# as lacme's", "privkey = file:%T/RSA:2048.pem", "gpg = gpg --quiet",
                "socket = %T/S", "logfile = %T/log-%U", f"keyid = {KID}", "quiet = No")
    done = run("--config=%T/accountd.conf", "--stdio", data=GOOD + b"\r\n", env=directory)
    assert done.returncode == 0 and b"SIGNED" in done.stderr, done.stderr
    assert f'"kid":"{KID}"'.encode() in done.stdout
    assert "SIGNED" in (tmp_path / f"log-{os.getuid()}").read_text()
    done = run(f"--config={file}", "--stdio", "-q", data=GOOD + b"\r\n", env=directory)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run(f"--config={file}", "--stdio", "--privkey=file:%T/none", env=directory)
    assert done.returncode == 1 and f"file:{tmp_path}/none".encode() in done.stderr


def as_nobody() -> dict[str, Any]:
    """What makes subprocess drop root, if there is root to drop."""
    return {"user": 65534, "group": 65534, "extra_groups": []} if AS_ROOT else {}


@pytest.mark.skipif(not AS_ROOT, reason="writes files for another user")
def test_places_of_a_user_without_privilege(key: Path) -> None:
    """%E and %t of a user, who is not root."""
    with Home() as home:
        (home / "letsencrypt-tiny").mkdir(mode=0o755)
        (home / "account.key").write_bytes(key.read_bytes())
        os.chown(home / "account.key", 65534, 65534)
        (home / "account.key").chmod(0o600)
        file = home / "letsencrypt-tiny/accountd.conf"
        file.write_text(f"privkey = file:{home}/account.key\n")

        def start(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
            return subprocess.run(command(*arguments), env=environment, timeout=60, **as_nobody(),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)

        done = start("--stdio", XDG_CONFIG_HOME=str(home))
        assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(b"1 OK")
        done = start(XDG_CONFIG_HOME=str(home))
        assert done.returncode == 2 and b"socket: \xe2\x80\x9c%t/S.letsencrypt-tiny" in done.stderr
        assert b"is XDG_RUNTIME_DIR set?" in done.stderr
        file.chmod(0o600)  # root's
        done = start("--stdio", XDG_CONFIG_HOME=str(home))
        assert done.returncode == 2 and f"{file}: cannot read".encode() in done.stderr


class Home:
    """A directory that every user may search, unlike pytest's."""

    def __enter__(self) -> Path:
        import tempfile
        self._directory = tempfile.TemporaryDirectory()
        os.chmod(self._directory.name, 0o755)
        return Path(self._directory.name)

    def __exit__(self, *exception: object) -> None:
        self._directory.cleanup()


@pytest.mark.parametrize("option, text", [
    ("--help", "--genkey=KIND"), ("-h", "--stdio"), ("--version", "letsencrypt-tiny-accountd 1.")])
def test_help_and_version(option: str, text: str) -> None:
    done = run(option)
    assert (done.returncode, done.stderr) == (0, b"") and text in done.stdout.decode()


def kernel_status(pid: int) -> dict[str, str] | None:
    """/proc/PID/status as a dictionary."""
    lines = Path(f"/proc/{pid}/status").read_text().split("\n")
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_confined_while_it_serves(running: Running) -> None:
    pytest.importorskip("seccomp")
    status = kernel_status(running.process.pid)
    assert status and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    with running.connect() as client:
        client.sign(GOOD)
    assert running.stop() == 0 and not running.path.exists()
