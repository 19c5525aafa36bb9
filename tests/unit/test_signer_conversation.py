"""The signer's conversations: lines piped into the real program, its answers, log and status."""

import hashlib
import json
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from harness import soak
from harness.accountd import (GOOD, HELLO, KID, URL, Client, b64, command, conf, openssl, pem,
                              request, run, signing_input, talk, verified, write_key)


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "RSA:2048")


def test_greeting_rsa(key: Path) -> None:
    text = openssl("rsa", "-noout", "-modulus", data=pem("RSA:2048")).decode()
    n = b64(bytes.fromhex(text.strip().removeprefix("Modulus="))).decode()
    jwk = f'{{"e":"AQAB","kty":"RSA","n":"{n}"}}'
    thumbprint = b64(hashlib.sha256(jwk.encode()).digest()).decode()
    done = run(f"--privkey=file:{key}", "--stdio")
    assert done.stdout.decode() == (f'1 OK {{"alg":"RS256","jwk-thumbprint":"{thumbprint}",'
                                    f'"refusals":true}}\r\n{jwk}\r\n')
    assert (done.returncode, done.stderr) == (0, b"")

    done = run(f"--privkey=file:{key}", "--stdio", "--config=" + str(conf(key, f"keyid={KID}")))
    assert done.stdout.decode() == (f'1 OK {{"alg":"RS256","jwk-thumbprint":"{thumbprint}",'
                                    f'"kid":"{KID}","refusals":true}}\r\n{{}}\r\n')


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
    assert done.stdout.decode() == (f'1 OK {{"alg":"{alg}","jwk-thumbprint":"{thumbprint}",'
                                    f'"refusals":true}}\r\n{jwk}\r\n')


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
    "66 kB": (signing_input(request(), {"csr": "x" * 50000}), "longer than 65544 bytes"),
    "64 kB": (GOOD + b"A" * (65544 - len(GOOD)), "longer than 65536 bytes"),
}


NO_LINE = ("bare LF", "66 kB")   # nobody knows where the next one begins


@pytest.mark.parametrize("case", soak.some(BAD, 2))
def test_refusal(case: str, key: Path) -> None:
    """Who does not say that it knows what a refusal is hears nothing more."""
    line, reason = BAD[case]
    lines = GOOD + b"\r\n" + line + b"\r\n" + GOOD + b"\r\n"
    answers, log, status = talk(key, lines)
    assert len(answers) == 1 and not answers[0].startswith(b"NOSIGN")
    assert log.count("SIGNED") == 1 and log.count("[stdio] NOSIGN ") == 1
    assert reason in log.translate({ord("“"): '"', ord("”"): '"'})
    assert log.isprintable() or not re.search(r"[^\n -~§“”]", log)
    assert status == 1
    # who does, hears of it and goes on
    heard, log, status = talk(key, HELLO + lines)
    assert re.fullmatch(rb"NOSIGN [\x20-\x7e]+", heard[1]) and reason in heard[1].decode()
    assert [heard[0], *heard[2:]] == answers * (1 if case in NO_LINE else 2)
    assert log.count("SIGNED") == len(heard) - 1 and log.count("[stdio] NOSIGN ") == 1
    assert status == 1


def test_keyid(key: Path) -> None:
    file = f"--config={conf(key, 'keyid = ' + KID)}"
    assert talk(key, GOOD + b"\r\n", file)[2] == 0
    jwk = json.loads(run(f"--privkey=file:{key}", "--stdio").stdout.split(b"\r\n")[1])
    # what lacme(8) sends for “account” then, and what one that knows the public key could
    for own in ({}, jwk):
        line = signing_input(request(kid=None, jwk=own), {})
        answers, _, status = talk(key, HELLO + line + b"\r\n", file)
        assert answers == [b"NOSIGN jwk, where a keyid is configured"] and status == 1
    line = signing_input(request(kid=KID + "0"), {})
    answers, _, _ = talk(key, HELLO + line + b"\r\n", file)
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
        answers, _, _ = talk(key, HELLO + (signing_input(request()) + b"\r\n") * 2,
                             f"--config={file}", "--policy=p")
        assert len(answers) == 2 and not answers[0].startswith(b"NOSIGN")
        assert answers[1].startswith(b"NOSIGN policy")


def test_half_line(key: Path) -> None:
    answers, log, status = talk(key, HELLO + GOOD + b"\r\n" + GOOD)
    assert len(answers) == 2 and answers[1].startswith(b"NOSIGN the client ended in the middle")
    assert "NOSIGN the client ended in the middle of a line" in log and status == 1
    assert talk(key, GOOD + b"\r\n" + GOOD) == (answers[:1], log, 1)


def test_log(key: Path, tmp_path: Path) -> None:
    file = f"--config={conf(key, f'logfile = {tmp_path}/log', 'quiet = yes')}"
    payload = {"csr": "A" * 5000, "contact": ["mailto:\x1b[2J\u202e\x9b"],
               "externalAccountBinding": {"protected": "e30", "signature": "SECRETMAC"}}
    line = signing_input(request(), payload)
    answers, shown, status = talk(key, HELLO + line + b"\r\nx\r\n", file)
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
